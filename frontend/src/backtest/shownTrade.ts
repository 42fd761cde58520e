// A trade as tables and charts show it, whoever made it: the server, or the artefact in the browser.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Mark } from "../charts/PriceChart";
import type { BacktestTrade } from "../generated/algotrade/v1/backtest_service_pb";
import { type Trade as SessionTrade, TradeSide } from "../generated/algotrade/v1/forward_test_service_pb";
import type { Trade } from "../instant/trades";
import { decimal } from "../instant/units";

/** Amounts are decimal strings, empty while open. */
export interface ShownTrade {
  number: number;
  side: "long" | "short";
  quantity: string;
  entryMs: number;
  entryPrice: string;
  exitMs?: number;
  exitPrice: string;
  fees: string;
  pnl: string;
  exitReason: string;
  ambiguous: boolean;
}

export function served(trade: BacktestTrade | SessionTrade, index: number): ShownTrade {
  return {
    number: index + 1,
    side: trade.side === TradeSide.SHORT ? "short" : "long",
    quantity: trade.quantity,
    entryMs: trade.entryTime ? timestampMs(trade.entryTime) : 0,
    entryPrice: trade.entryPrice,
    exitMs: trade.exitTime && timestampMs(trade.exitTime),
    exitPrice: trade.exitPrice,
    fees: trade.fees,
    pnl: trade.pnl,
    exitReason: trade.exitReason,
    ambiguous: trade.ambiguous,
  };
}

const NANOS_A_MS = 1_000_000n;

export function computed(trade: Trade, index: number): ShownTrade {
  const text = (value: bigint | null) => (value === null ? "" : decimal(value));
  return {
    number: index + 1,
    side: trade.side,
    quantity: decimal(trade.quantity),
    entryMs: Number(trade.entryTs / NANOS_A_MS),
    entryPrice: decimal(trade.entryPrice),
    exitMs: trade.exitTs === null ? undefined : Number(trade.exitTs / NANOS_A_MS),
    exitPrice: text(trade.exitPrice),
    fees: decimal(trade.fees),
    pnl: text(trade.pnl),
    exitReason: trade.exitReason ?? "",
    ambiguous: trade.ambiguous,
  };
}

/** Entries and exits, each at its time; those of the chosen trade say what they were. */
export function marksOf(trades: readonly ShownTrade[], chosen?: number): Mark[] {
  const marks = trades.flatMap((trade): Mark[] => {
    const long = trade.side === "long";
    const mine = trade.number === chosen;
    const entry: Mark = {
      ms: trade.entryMs,
      side: long ? "buy" : "sell",
      text: `#${trade.number} ${trade.entryPrice}`,
      chosen: mine,
    };
    if (trade.exitMs === undefined) return [entry];
    const exit: Mark = {
      ms: trade.exitMs,
      side: long ? "sell" : "buy",
      text: `${trade.exitReason} ${trade.exitPrice}`,
      chosen: mine,
    };
    return [entry, exit];
  });
  return marks.sort((a, b) => a.ms - b.ms);
}

/** The span of a trade with as much again on either side. */
export function spanOf({ entryMs, exitMs = entryMs }: ShownTrade): { from: number; to: number } {
  const margin = Math.max(exitMs - entryMs, 1000 * 60);
  return { from: entryMs - margin, to: exitMs + margin };
}
