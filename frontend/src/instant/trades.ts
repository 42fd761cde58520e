// From an artefact's events to trades: one row an exit portion, and last the position that is still open.

export const EVENT_BYTES = 104;

const ENTRY = 1;
const EXIT = 2;
const REJECTION = 3;
const AMBIGUOUS = 4;
const HALT = 5;

const REASONS: Readonly<Record<number, string>> = {
  1: "stop_loss",
  2: "take_profit",
  3: "flatten",
  4: "trailing_stop",
  5: "break_even",
  6: "forced_close",
  16: "insufficient_cash",
  17: "below_min_notional",
  18: "position_limit",
  19: "halted",
  20: "stale_data",
  21: "warming_up",
  22: "already_long",
  23: "already_short",
  24: "short_not_allowed",
  25: "no_entry",
  26: "no_stop",
  27: "no_level",
  28: "daily_loss_limit",
  29: "max_trades_per_day",
  30: "expired",
  31: "cancelled",
  32: "amount_overflow",
};

/** Amounts in units of 1e-8, times in nanoseconds. */
export interface Trade {
  side: "long" | "short";
  quantity: bigint;
  entryTs: bigint;
  entryPrice: bigint;
  exitTs: bigint | null;
  exitPrice: bigint | null;
  fees: bigint;
  pnl: bigint | null;
  exitReason: string | null;
  ambiguous: boolean;
}

/** A change of what is held: from the bar of `ts` on, so much cash and quantity. */
export interface Fill {
  ts: bigint;
  cash: bigint;
  quantity: bigint;
}

export interface Book {
  trades: Trade[];
  rejections: Record<string, number>;
  halted: string;
}

export function fillsOf(events: DataView): Fill[] {
  const fills: Fill[] = [];
  let held = 0n;
  for (let at = 0; at < events.byteLength; at += EVENT_BYTES) {
    const { kind, ts, quantity, cash } = eventAt(events, at);
    if (kind !== ENTRY && kind !== EXIT) continue;
    held += kind === ENTRY ? quantity : -quantity;
    fills.push({ ts, cash, quantity: held });
  }
  return fills;
}

export function bookOf(events: DataView, nodes: readonly { type: string }[]): Book {
  const closed: Trade[] = [];
  const rejections: Record<string, number> = {};
  let open: Trade | undefined;
  let halted = "";
  for (let at = 0; at < events.byteLength; at += EVENT_BYTES) {
    const event = eventAt(events, at);
    const reason = REASONS[event.reason] ?? "";
    const size = event.quantity < 0n ? -event.quantity : event.quantity;
    if (event.kind === REJECTION) rejections[reason] = (rejections[reason] ?? 0) + 1;
    else if (event.kind === HALT) halted = reason;
    else if (event.kind === ENTRY) {
      open = entered(event, size);
    } else if (event.kind === EXIT && open) {
      const why = event.reason === 0 ? (nodes[event.node]?.type ?? "") : reason;
      closed.push({
        ...open,
        quantity: size,
        exitTs: event.ts,
        exitPrice: event.price,
        fees: event.fee + event.entryFee,
        pnl: event.pnl,
        exitReason: why,
      });
      const left: bigint = open.quantity - size;
      open = left > 0n ? { ...open, quantity: left, fees: open.fees - event.entryFee } : undefined;
    } else if (event.kind === AMBIGUOUS) {
      const last = closed.at(-1);
      if (last) last.ambiguous = true;
    }
  }
  return { trades: open ? [...closed, open] : closed, rejections, halted };
}

type Event = ReturnType<typeof eventAt>;

function eventAt(view: DataView, at: number) {
  const whole = (offset: number) => view.getInt32(at + offset, true);
  const amount = (offset: number) => view.getBigInt64(at + offset, true);
  return {
    kind: whole(4),
    node: whole(8),
    reason: whole(12),
    ts: amount(24),
    price: amount(40),
    quantity: amount(48),
    fee: amount(64),
    entryFee: amount(80),
    pnl: amount(88),
    cash: amount(96),
  };
}

function entered(event: Event, quantity: bigint): Trade {
  return {
    side: event.quantity < 0n ? "short" : "long",
    quantity,
    entryTs: event.ts,
    entryPrice: event.price,
    exitTs: null,
    exitPrice: null,
    fees: event.fee,
    pnl: null,
    exitReason: null,
    ambiguous: false,
  };
}
