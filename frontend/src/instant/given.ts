// What a run is made of, read once a tab: bars by their hash.

import { backtests } from "../api/clients";
import { queries } from "../api/queries";
import { records } from "./bars";

const KEPT_MS = 10 * 60_000; // after the last page that shows them; 100,000 bars are 5 MB

/** The bars of a run as an artefact reads them. */
export function barsOf(dataHash: string): Promise<Uint8Array<ArrayBuffer>> {
  return queries.fetchQuery({
    queryKey: ["bars", dataHash],
    queryFn: async () => {
      const { bars } = await backtests.getBars({ data: { case: "dataHash", value: dataHash } });
      if (!bars) throw new Error("an answer without bars");
      return records(bars);
    },
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: KEPT_MS,
  });
}
