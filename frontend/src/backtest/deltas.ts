// Bars in differences, of which three times as many fit into a message.

import type { Bars } from "./csv";

/** What BarDeltas says of bars by time, of which there is one at least. */
export function deltasOf({ timesNanos, opensE8, highsE8, lowsE8, closesE8, volumes }: Bars) {
  const steps = timesNanos.slice(1).map((time, bar) => time - (timesNanos[bar] ?? 0n));
  const timeUnitNanos = divisor(steps);
  const priceUnitE8 = divisor(opensE8, highsE8, lowsE8, closesE8);
  const overOpen = (prices: readonly bigint[]) =>
    prices.map((price, bar) => (price - (opensE8[bar] ?? 0n)) / priceUnitE8);
  return {
    $typeName: "algotrade.v1.BarDeltas",
    firstTimeNanos: timesNanos[0] ?? 0n,
    timeUnitNanos,
    priceUnitE8,
    timeSteps: steps.map((step) => step / timeUnitNanos),
    opens: opensE8.map((open, bar) => (open - (closesE8[bar - 1] ?? 0n)) / priceUnitE8),
    highs: overOpen(highsE8),
    lows: overOpen(lowsE8),
    closes: overOpen(closesE8),
    volumes,
  } as const;
}

/** The greatest that divides all of them; 1 where there is none. */
function divisor(...columns: readonly (readonly bigint[])[]): bigint {
  let found = 0n;
  for (const column of columns) {
    for (const value of column) {
      for (let rest = value; rest !== 0n; ) [found, rest] = [rest, found % rest];
      if (found === 1n) return found;
    }
  }
  return found || 1n;
}
