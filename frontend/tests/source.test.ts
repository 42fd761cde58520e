import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { DataOrigin, DataSourceSchema } from "../src/generated/algotrade/v1/backtest_service_pb";
import { barsFrom, fedBy } from "../src/runs/source";

test.each([
  ["", ""],
  ["coinbase", "ticks of coinbase"],
  ["coinbase+ccxt.kraken", "ticks of coinbase and ccxt.kraken, mixed"],
])("a session fed by %j", (source, words) => {
  expect(fedBy(source)).toBe(words);
});

test.each([
  [DataOrigin.UPLOADED, "", "bars of a file"],
  [DataOrigin.SAMPLE, "sample", "bars of the sample"],
  [DataOrigin.HISTORY, "coinbase", "bars of coinbase"],
  [DataOrigin.UNSPECIFIED, "", ""],
])("bars of origin %s", (origin, provider, words) => {
  expect(barsFrom(create(DataSourceSchema, { origin, history: { provider } }))).toBe(words);
  expect(barsFrom(undefined)).toBe("");
});
