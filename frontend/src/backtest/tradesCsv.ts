import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import { settingsText } from "../instant/settingsText";
import type { ShownTrade } from "./shownTrade";

const HEAD = "number,side,quantity,entry_time,entry_price,exit_time,exit_price,fees,pnl,exit_reason,ambiguous";

/** Under which rules trades were made, by name; `parameters` are those of the run that made them. */
export function rulesOf(backtest: Backtest, parameters: Readonly<Record<string, string>>): Record<string, string> {
  const settings = backtest.settings ? settingsText(backtest.settings) : {};
  return {
    name: backtest.name,
    artefact: backtest.artefactHash,
    data: backtest.dataHash,
    ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)])),
    ...Object.fromEntries(Object.entries(parameters).map(([name, value]) => [`parameter ${name}`, value])),
  };
}

/** Trades a line each, below the rules they were made under as comments. */
export function csvOf(trades: readonly ShownTrade[], rules: Readonly<Record<string, string>>): string {
  const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());
  const comments = Object.entries(rules).map(([name, value]) => `# ${name}: ${value}`);
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
  return `${[...comments, HEAD, ...lines].join("\n")}\n`;
}
