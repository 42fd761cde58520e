// Curves in as many points as a screen shows.

import type { Point } from "./PriceChart";

const POINTS = 2000;

/** Where to go through a curve from one index up to another: its first and last point and the extremes of every part. */
export function outline(values: ArrayLike<number>, from: number, to: number, most: number): number[] {
  const count = to - from;
  if (count <= most) return Array.from({ length: Math.max(0, count) }, (_, index) => from + index);
  const kept = [from];
  const keep = (index: number) => kept.at(-1) === index || kept.push(index);
  const parts = Math.floor(most / 2) - 1;
  for (let part = 0; part < parts; part++) {
    const first = from + Math.floor((part * count) / parts);
    const end = from + Math.floor(((part + 1) * count) / parts);
    let low = first;
    let high = first;
    for (let index = first; index < end; index++) {
      if ((values[index] ?? 0) < (values[low] ?? 0)) low = index;
      if ((values[index] ?? 0) > (values[high] ?? 0)) high = index;
    }
    keep(Math.min(low, high));
    keep(Math.max(low, high));
  }
  keep(to - 1);
  return kept;
}

/** Thins a curve out, keeping the first and last point and the extremes of every part. */
export function thinned(times: readonly number[], values: ArrayLike<number>, most = POINTS): Point[] {
  const kept = outline(values, 0, Math.min(times.length, values.length), most);
  return kept.map((index) => ({ ms: times[index] ?? 0, value: values[index] ?? 0 }));
}

/** Percent below the highest value so far, of which `first` is one. */
export function drawdown(equity: ArrayLike<number>, first: number): Float64Array {
  let peak = first;
  return Float64Array.from(equity, (value) => {
    peak = Math.max(peak, value);
    return (value / peak - 1) * 100;
  });
}
