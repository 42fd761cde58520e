import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { deltasOf } from "../src/backtest/deltas";
import { BarDeltasSchema } from "../src/generated/algotrade/v1/types_pb";
import { madeUpBars } from "./bench/material";

const MOST_BYTES = 2 * 1024 * 1024;

test("differences are whole numbers of the units they share", () => {
  const deltas = deltasOf({
    timesNanos: [60n, 120n, 300n],
    opensE8: [1000n, 1100n, 900n],
    highsE8: [1200n, 1100n, 950n],
    lowsE8: [1000n, 900n, 900n],
    closesE8: [1050n, 900n, 950n],
    volumes: [1, 2, 3],
  });
  expect(deltas).toMatchObject({
    firstTimeNanos: 60n,
    timeUnitNanos: 60n,
    priceUnitE8: 50n,
    timeSteps: [1n, 3n],
    opens: [20n, 1n, 0n],
    highs: [4n, 0n, 1n],
    lows: [0n, -4n, 0n],
    closes: [1n, -4n, 1n],
  });
});

test("one bar has no step", () => {
  const one = { timesNanos: [5n], opensE8: [3n], highsE8: [3n], lowsE8: [3n], closesE8: [3n], volumes: [0] };
  expect(deltasOf(one)).toMatchObject({ timeUnitNanos: 1n, priceUnitE8: 3n, timeSteps: [], opens: [1n] });
});

test("100,000 bars of a minute fit into a message", () => {
  const message = create(BarDeltasSchema, deltasOf(madeUpBars(100_000)));
  expect(toBinary(BarDeltasSchema, message).length).toBeLessThan(MOST_BYTES);
});
