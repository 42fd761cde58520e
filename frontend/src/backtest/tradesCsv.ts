import type { ShownTrade } from "./shownTrade";

const HEAD = "number,side,quantity,entry_time,entry_price,exit_time,exit_price,fees,pnl,exit_reason,ambiguous";

export function csvOf(trades: readonly ShownTrade[]): string {
  const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());
  const lines = trades.map((trade) =>
    [
      trade.number,
      trade.side,
      trade.quantity,
      time(trade.entryMs),
      trade.entryPrice,
      time(trade.exitMs),
      trade.exitPrice,
      trade.fees,
      trade.pnl,
      trade.exitReason,
      trade.ambiguous,
    ].join(","),
  );
  return `${[HEAD, ...lines].join("\n")}\n`;
}
