// Curves in as many points as a screen shows.

import type { Point } from "./PriceChart";

const POINTS = 2000;

/** Thins a curve out, keeping the first and last point and the extremes of every part. */
export function thinned(times: readonly number[], values: ArrayLike<number>, most = POINTS): Point[] {
  const count = Math.min(times.length, values.length);
  const at = (index: number): Point => ({ ms: times[index] ?? 0, value: values[index] ?? 0 });
  if (count <= most) return Array.from({ length: count }, (_, index) => at(index));
  const kept = new Set([0, count - 1]);
  const parts = Math.floor(most / 2) - 1;
  for (let part = 0; part < parts; part++) {
    const from = Math.floor((part * count) / parts);
    const to = Math.floor(((part + 1) * count) / parts);
    let low = from;
    let high = from;
    for (let index = from; index < to; index++) {
      if ((values[index] ?? 0) < (values[low] ?? 0)) low = index;
      if ((values[index] ?? 0) > (values[high] ?? 0)) high = index;
    }
    kept.add(low).add(high);
  }
  return [...kept].sort((a, b) => a - b).map(at);
}

/** Percent below the highest value so far, of which `first` is one. */
export function drawdown(equity: ArrayLike<number>, first: number): Float64Array {
  let peak = first;
  return Float64Array.from(equity, (value) => {
    peak = Math.max(peak, value);
    return (value / peak - 1) * 100;
  });
}
