import { type Session, SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import type { SessionValue } from "../generated/algotrade/v1/realtime_service_pb";

/** A session as it was read, with what the stream has said since. */
export function renewed(session: Session, value: SessionValue | undefined, status: SessionStatus | undefined): Session {
  const { mark } = value ?? {};
  const newer = mark && value && mark.bars >= session.bars;
  const traded = newer && value.quantity !== session.quantity; // since it was read, so its average price is another
  return {
    ...session,
    status: status ?? session.status,
    ...(newer && {
      cash: value.cash,
      quantity: value.quantity,
      realizedPnl: value.realizedPnl,
      lastPrice: mark.lastPrice,
      equity: mark.equity,
      bars: mark.bars,
      ...(traded && { averagePrice: "" }),
    }),
  };
}

export const isOver = (status: SessionStatus) => status === SessionStatus.STOPPED || status === SessionStatus.HALTED;
