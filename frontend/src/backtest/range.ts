// A stretch of the past of a symbol, as a form has it.

import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { market } from "../api/clients";

const DAY_MS = 86_400_000;
const PAGE = 6000; // lengths of a bar

/** Dates are those of UTC, `to` included. */
export interface Range {
  provider: string;
  symbol: string;
  interval: string;
  from: string;
  to: string;
}

export const emptyRange: Range = { provider: "", symbol: "", interval: "", from: "", to: "" };

export const isWhole = ({ to: _, ...rest }: Range) => Object.values(rest).every((text) => text !== "");

/** The range as the API has it. */
export function historyOf({ provider, symbol, interval, from, to }: Range) {
  return {
    $typeName: "algotrade.v1.HistoryRange",
    provider,
    symbol: symbol.trim().toUpperCase(),
    interval,
    startTime: timestampFromMs(Date.parse(from)),
    endTime: to ? timestampFromMs(Date.parse(to) + DAY_MS) : undefined,
  } as const;
}

/** Has the platform fetch what it lacks of a range; `tell` hears how much of it is there, from 0 to 1. */
export async function fetchRange(range: Range, nowMs: number, tell: (share: number) => void): Promise<void> {
  const history = historyOf(range);
  const begin = timestampMs(history.startTime);
  const length = Math.max(1, (history.endTime ? timestampMs(history.endTime) : nowMs) - begin);
  let pageToken = "";
  do {
    const page = await market.listHistory({ history, pageSize: PAGE, pageToken, omitBars: true });
    pageToken = page.nextPageToken;
    if (page.coveredTime) tell(Math.min(1, (timestampMs(page.coveredTime) - begin) / length));
  } while (pageToken);
}
