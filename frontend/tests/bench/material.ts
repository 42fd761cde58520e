// What the bench looks at: a user with a drawing of 500 nodes, and backtests over many made-up bars.

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { deltasOf } from "../../src/backtest/deltas";
import { BacktestService, BacktestState } from "../../src/generated/algotrade/v1/backtest_service_pb";
import { IdentityService } from "../../src/generated/algotrade/v1/identity_service_pb";
import { StrategyService } from "../../src/generated/algotrade/v1/strategy_service_pb";

const MINUTE_NANOS = 60_000_000_000n;
const BEGUN_NANOS = 1_700_000_040_000_000_000n;
const CHAINS = 99; // of five nodes each, and five that gather them

interface Wire {
  source: string;
  target: string;
  targetHandle?: string;
}

/** A strategy of 500 nodes that compiles: many crossovers, any of which buys. */
export function manyNodes(): string {
  const nodes: object[] = [];
  const wires: Wire[] = [];
  const node = (id: string, type: string, column: number, row: number, params: object = {}) =>
    nodes.push({ id, type, position: { x: column * 260, y: row * 170 }, data: { params } });
  for (let chain = 0; chain < CHAINS; chain++) {
    const column = Math.floor(chain / 10) * 5;
    const row = (chain % 10) * 2;
    const [price, fast, slow, up, within] = ["price", "sma", "ema", "crossover", "withinlast"].map(
      (type) => type + chain,
    );
    if (!price || !fast || !slow || !up || !within) throw new Error("five nodes");
    node(price, "price", column, row);
    node(fast, "sma", column + 1, row, { timeperiod: 5 + chain });
    node(slow, "ema", column + 1, row + 1, { timeperiod: 20 + chain });
    node(up, "crossover", column + 2, row);
    node(within, "withinlast", column + 3, row, { n: 3 });
    wires.push({ source: price, target: fast }, { source: price, target: slow });
    wires.push({ source: fast, target: up, targetHandle: "a" }, { source: slow, target: up, targetHandle: "b" });
    wires.push({ source: up, target: within }, { source: within, target: "any", targetHandle: "inputs" });
  }
  node("any", "or", 50, 8);
  node("rising", "edge", 51, 8);
  node("buy", "buy", 52, 8);
  node("none", "not", 51, 10);
  node("sell", "sell", 52, 10);
  wires.push({ source: "any", target: "rising" }, { source: "rising", target: "buy" });
  wires.push({ source: "any", target: "none" }, { source: "none", target: "sell" });
  const edges = wires.map((wire, index) => ({ id: `e${index}`, ...wire }));
  return JSON.stringify({ version: 1, name: "500 nodes", nodes, edges });
}

/** Bars of a minute that wander, the same each time. */
export function madeUpBars(count: number) {
  let state = 7;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const columns = { timesNanos: [], opensE8: [], highsE8: [], lowsE8: [], closesE8: [], volumes: [] } as {
    [name in "timesNanos" | "opensE8" | "highsE8" | "lowsE8" | "closesE8"]: bigint[];
  } & { volumes: number[] };
  const units = (price: number) => BigInt(Math.round(price * 100)) * 1_000_000n;
  let price = 1000;
  for (let bar = 0; bar < count; bar++) {
    const open = price;
    price = Math.max(1, price * (1 + (random() - 0.5) * 0.004));
    columns.timesNanos.push(BEGUN_NANOS + BigInt(bar) * MINUTE_NANOS);
    columns.opensE8.push(units(open));
    columns.closesE8.push(units(price));
    columns.highsE8.push(units(Math.max(open, price) * 1.001));
    columns.lowsE8.push(units(Math.min(open, price) * 0.999));
    columns.volumes.push(Math.round(random() * 1000));
  }
  return columns;
}

export type Material = Awaited<ReturnType<typeof material>>;

/** Registers a user and makes what the pages are to show. */
export async function material(baseUrl: string, password: string) {
  let token = "";
  const bearer: Interceptor = (next) => (request) => {
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createGrpcWebTransport({ baseUrl, interceptors: [bearer] });
  const strategies = createClient(StrategyService, transport);
  const backtests = createClient(BacktestService, transport);
  const email = `${crypto.randomUUID()}@example.com`;
  const { token: given } = await createClient(IdentityService, transport).register({ email, password });
  token = given?.token ?? "";
  const saved = async (graph: string) => (await strategies.createStrategy({ graph })).strategy?.strategyId ?? "";
  const { templates } = await strategies.listTemplates({});
  const cross = await saved(templates.find(({ templateId }) => templateId === "sma_cross")?.graph ?? "");

  async function backtest(bars: number): Promise<string> {
    const { backtest: started } = await backtests.startBacktest({
      strategy: { case: "saved", value: { strategyId: cross } },
      data: { case: "deltas", value: deltasOf(madeUpBars(bars)) },
    });
    const backtestId = started?.backtestId ?? "";
    for await (const { payload } of backtests.watchBacktest({ backtestId })) {
      if (payload.case === "snapshot" && payload.value.state === BacktestState.SUCCEEDED) return backtestId;
    }
    throw new Error("the backtest did not succeed");
  }

  return { email, drawing: await saved(manyNodes()), backtest };
}
