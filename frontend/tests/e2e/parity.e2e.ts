// Every template, run by the server and by the page's own code: the same trades, to the same hash.

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { beforeAll, expect, inject, test } from "vitest";
import { BacktestService, BacktestState } from "../../src/generated/algotrade/v1/backtest_service_pb";
import { IdentityService } from "../../src/generated/algotrade/v1/identity_service_pb";
import { StrategyService } from "../../src/generated/algotrade/v1/strategy_service_pb";
import { Artefact } from "../../src/instant/artefact";
import { records } from "../../src/instant/bars";
import { resultHash } from "../../src/instant/hash";
import { settingsText } from "../../src/instant/settingsText";

let token = "";
const bearer: Interceptor = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const transport = createGrpcWebTransport({ baseUrl: inject("gateway"), interceptors: [bearer] });
const strategies = createClient(StrategyService, transport);
const backtests = createClient(BacktestService, transport);

beforeAll(async () => {
  const identity = createClient(IdentityService, transport);
  const { token: given } = await identity.register({
    email: `${crypto.randomUUID()}@example.com`,
    password: crypto.randomUUID(),
  });
  token = given?.token ?? "";
});

const SETTINGS = [
  {},
  { feeBps: "2.5", slippageBps: "3", path: "worst", lotStep: "0.01", priceStep: "0.01" },
  { fill: "close", maxPositionPercent: "33.3" },
];

test("templates under several settings", async () => {
  const { templates } = await strategies.listTemplates({});
  let trades = 0;
  for (const { graph, templateId } of templates) {
    const strategyId = (await strategies.createStrategy({ graph })).strategy?.strategyId ?? "";
    for (const settings of SETTINGS) {
      const backtest = await ended(strategyId, settings);
      const { artefactHash, dataHash, parameters } = backtest;
      if (!backtest.settings) throw new Error("no settings");
      const [{ module }, { bars }] = await Promise.all([
        strategies.getArtefact({ artefactHash }),
        backtests.getBars({ data: { case: "dataHash", value: dataHash } }),
      ]);
      if (!bars) throw new Error("no bars");
      const artefact = await Artefact.load(new Uint8Array(module), records(bars));
      const values = Object.fromEntries(Object.entries(parameters).map(([name, text]) => [name, Number(text)]));
      const text = settingsText(backtest.settings);
      const run = artefact.run(text, values);
      const book = artefact.book(run);
      const hash = await resultHash(artefactHash, dataHash, text, run.parameters, book.trades);
      expect(hash, templateId).toBe(backtest.summary?.resultHash);
      expect(run.equity.at(-1)).toBeCloseTo(Number(backtest.summary?.finalEquity), 6);
      trades += book.trades.length;
    }
  }
  expect(trades).toBeGreaterThan(100);
});

test("what ports held at every bar is what ExplainBar tells of each", async () => {
  const { templates } = await strategies.listTemplates({});
  const graph = templates.find(({ templateId }) => templateId === "sma_cross")?.graph;
  const strategyId = (await strategies.createStrategy({ graph })).strategy?.strategyId ?? "";
  for (const interval of ["native", "1d"]) {
    const { backtestId, dataHash, settings } = await ended(strategyId, { interval });
    const [{ module, artefactHash }, { bars }] = await Promise.all([
      backtests.getProbe({ backtestId }),
      backtests.getBars({ data: { case: "dataHash", value: dataHash } }),
    ]);
    if (!bars || !settings) throw new Error("no bars, or no settings");
    expect(artefactHash).toMatch(/^[0-9a-f]{64}$/);
    const probe = await Artefact.load(new Uint8Array(module), records(bars));
    const names = probe.ports.map(({ node, port }) => `${node}.${port}`);
    const { ms, columns } = probe.series(settingsText(settings), {}, names);
    for (const bar of [0, 30, 700, ms.length - 1]) {
      const { ports, bar: told } = await backtests.explainBar({ backtestId, time: timestampFromMs(ms[bar] ?? 0) });
      expect(Number(told)).toBe(bar);
      const numbers = ports.filter(({ nodeId, port }) => names.includes(`${nodeId}.${port}`));
      expect(numbers.length).toBe(names.length);
      for (const { nodeId, port, value } of numbers) {
        expect(columns[`${nodeId}.${port}`]?.[bar]).toBe(value.case === "number" ? value.value : Number.NaN);
      }
    }
  }
});

async function ended(strategyId: string, settings: object) {
  const { backtest } = await backtests.startBacktest({
    strategy: { case: "saved", value: { strategyId } },
    data: { case: "sample", value: "AAPL" },
    settings,
  });
  for await (const { payload } of backtests.watchBacktest({ backtestId: backtest?.backtestId })) {
    if (payload.case === "snapshot" && payload.value.state === BacktestState.SUCCEEDED) return payload.value;
  }
  throw new Error("the backtest did not succeed");
}
