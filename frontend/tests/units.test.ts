import { expect, test } from "vitest";
import { decimal, parameterText, units } from "../src/instant/units";

test.each([
  ["0", 0n],
  ["10000", 1_000_000_000_000n],
  ["0.00000001", 1n],
  ["-3.5", -350_000_000n],
  ["92233720368.54775807", 2n ** 63n - 1n],
])("%s is %d units, there and back", (text, value) => {
  expect(units(text)).toBe(value);
  expect(decimal(value)).toBe(text);
});

test.each(["", "-", ".", "1e3", "1,000", "0.000000001", "NaN"])("%j is no amount", (text) => {
  expect(() => units(text)).toThrow(RangeError);
});

test.each([
  [20, "int", "20"],
  [2, "float", "2.0"],
  [2.25, "float", "2.25"],
  [1.5e-7, "float", "0.00000015"],
  [1e21, "float", "1000000000000000000000.0"],
] as const)("%d as %s is written %s", (value, type, text) => {
  expect(parameterText(value, type)).toBe(text);
});
