import { expect, test } from "vitest";
import { BarsError, readBars } from "../src/backtest/csv";

const HEAD = "timestamp,open,high,low,close,volume";
const row = (stamp: string) => `${stamp},1,2,0.5,1.5,10`;

test("columns in any order, rows by time", () => {
  const bars = readBars("close,Volume,low,high,open,timestamp\n1.5,10,0.5,2,1,2024-01-03\n1.25,7,1,2,1,2024-01-02\n");
  expect(bars.timesNanos).toEqual([1_704_153_600_000_000_000n, 1_704_240_000_000_000_000n]);
  expect(bars.closesE8).toEqual([125_000_000n, 150_000_000n]);
  expect(bars.volumes).toEqual([7, 10]);
});

test.each([
  "1704153600",
  "1704153600000",
  "1704153600000000",
  "1704153600000000000",
  "2024-01-02T00:00:00Z",
  "2024-01-02 00:00",
  "2024-01-02",
])("%s is the beginning of a day, UTC", (stamp) => {
  expect(readBars(`${HEAD}\n${row(stamp)}`).timesNanos).toEqual([1_704_153_600_000_000_000n]);
});

test("what is wrong is named by its line", () => {
  const text = [
    HEAD,
    row("2024-01-02"),
    row("yesterday"),
    "2024-01-04,1,2,0.5,,10",
    row("2024-01-05").replace(",10", ",-1"),
  ].join("\n");
  expect(() => readBars(text)).toThrow(/line 3: yesterday.*line 4: .*line 5: -1/);
});

test("a file without its columns, or without bars, is refused", () => {
  expect(() => readBars("time,open\n1,2")).toThrow(/timestamp, high, low, close, volume/);
  expect(() => readBars(HEAD)).toThrow(BarsError);
});
