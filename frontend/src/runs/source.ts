// Where the prices of a run are from, in words beside its settings.

import { DataOrigin, type DataSource } from "../generated/algotrade/v1/backtest_service_pb";

/** Of a session: the providers that fed it, joined by a plus where others stood in for the first. */
export function fedBy(source: string): string {
  const providers = source.split("+").filter(Boolean);
  if (providers.length === 0) return "";
  const mixed = providers.length > 1 ? ", mixed" : "";
  return `ticks of ${providers.join(" and ")}${mixed}`;
}

/** Of a backtest. */
export function barsFrom(source: DataSource | undefined): string {
  switch (source?.origin) {
    case DataOrigin.SAMPLE:
      return "bars of the sample";
    case DataOrigin.UPLOADED:
      return "bars of a file";
    case DataOrigin.HISTORY:
      return source.history ? `bars of ${source.history.provider}` : "";
    default:
      return "";
  }
}
