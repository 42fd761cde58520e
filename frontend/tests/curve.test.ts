import { expect, test } from "vitest";
import { drawdown, outline, thinned } from "../src/charts/curve";

test("a thinned curve keeps its ends and extremes", () => {
  const times = Array.from({ length: 50_000 }, (_, index) => index);
  const values = times.map((time) => Math.sin(time / 700) * time);
  values[31_234] = 1e6;
  values[41_234] = -1e6;
  const kept = thinned(times, values, 2000);
  expect(kept.length).toBeLessThanOrEqual(2000);
  expect(kept[0]?.ms).toBe(0);
  expect(kept.at(-1)?.ms).toBe(49_999);
  expect(kept.map((point) => point.value)).toEqual(expect.arrayContaining([1e6, -1e6]));
  expect(kept.every((point, index) => index === 0 || point.ms > (kept[index - 1]?.ms ?? 0))).toBe(true);
});

test("drawdown counts from the highest so far, the first cash included", () => {
  expect([...drawdown([90, 120, 60, 120], 100)]).toEqual([expect.closeTo(-10), 0, -50, 0]);
});

test("an outline goes through every extreme, in order and once", () => {
  const values = Array.from({ length: 10_000 }, (_, index) => Math.sin(index / 9));
  values[4_321] = 7;
  values[4_322] = -7;
  const kept = outline(values, 1_000, 9_000, 400);
  expect(kept.length).toBeLessThanOrEqual(400);
  expect([kept[0], kept.at(-1)]).toEqual([1_000, 8_999]);
  expect(kept).toEqual([...new Set(kept)].sort((a, b) => a - b));
  expect(kept).toEqual(expect.arrayContaining([4_321, 4_322]));
  expect(outline(values, 5, 8, 400)).toEqual([5, 6, 7]);
  expect(outline(values, 8, 5, 400)).toEqual([]);
});
