// A client of AlgoTrade in JavaScript, over gRPC-Web, as a page speaks it: logs in, makes a strategy from a template,
// trades it on paper over a replay, and follows the session, also across a cut.
//
//   node main.js 127.0.0.1:8080
//
// In a browser, take createGrpcWebTransport from @connectrpc/connect-web; nothing else changes.

import { randomUUID } from "node:crypto";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-node";
import { ForwardTestService, SessionEventKind, StopMode } from "./gen/algotrade/v1/forward_test_service_pb.js";
import { IdentityService } from "./gen/algotrade/v1/identity_service_pb.js";
import { MarketDataService } from "./gen/algotrade/v1/market_data_service_pb.js";
import { StrategyService } from "./gen/algotrade/v1/strategy_service_pb.js";

let token = "";

/** Puts the newest access token into the headers of every call. */
const bearer = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};

/** Makes an account, which logs it in, and trades its refresh token for the next tokens, as one does before they expire. */
async function enter(identity) {
  const registered = await identity.register({ email: `node-${randomUUID()}@example.com`, password: randomUUID() });
  const refreshed = await identity.refreshToken({ refreshToken: registered.refreshToken.token });
  token = refreshed.token.token;
  console.log("logged in as", registered.user.email);
}

/** Prints ticks as they come. They travel in columns: prices are integers in units of 1e-8. */
async function watchTicks(market, symbol, count) {
  const cut = new AbortController();
  let seen = 0;
  try {
    for await (const { payload } of market.streamTicks({ symbol, afterSequence: 0n }, { signal: cut.signal })) {
      if (payload.case !== "ticks") continue;
      for (const [index, price] of payload.value.pricesE8.entries()) {
        const sequence = payload.value.firstSequence + BigInt(index);
        console.log(`${symbol} tick ${sequence} at ${(Number(price) / 1e8).toFixed(2)}`);
        if (++seen === count) return;
      }
    }
  } finally {
    cut.abort(); // else the stream stays open
  }
}

async function fromTemplate(strategies, id) {
  const { templates } = await strategies.listTemplates({});
  const { graph } = templates.find((template) => template.templateId === id);
  return (await strategies.createStrategy({ graph })).strategy;
}

/** Runs a strategy over AAPL's daily bars, prints its fills, and ends it. */
async function trade(sessions, strategy) {
  const { session } = await sessions.createSession({
    strategyId: strategy.strategyId,
    symbol: "AAPL",
    settings: { feeBps: "5" },
    parameters: { fast: "10", slow: "30" },
  });
  const { sessionId } = session;
  await sessions.startSession({ sessionId });
  const before = await follow(sessions, sessionId, 0n, 4);
  // The stream was cut: the number of the last event that arrived is where the next one goes on.
  const cursor = before.at(-1).sequence;
  const after = await follow(sessions, sessionId, cursor, 4);
  if (after[0].sequence !== cursor + 1n) throw new Error(`event ${after[0].sequence} follows event ${cursor}`);
  show([...before, ...after]);
  await sessions.stopSession({ sessionId, mode: StopMode.KEEP });
}

/** Returns so many events behind a cursor, then cuts the stream. */
async function follow(sessions, sessionId, afterSequence, count) {
  const cut = new AbortController();
  const events = [];
  try {
    for await (const { payload } of sessions.streamSession({ sessionId, afterSequence }, { signal: cut.signal })) {
      if (payload.case !== "event") continue; // a snapshot, a mark or a heartbeat
      if (events.push(payload.value) === count) return events;
    }
  } finally {
    cut.abort();
  }
  throw new Error("the session ended early");
}

function show(events) {
  console.table(
    events.map((event) => ({
      "#": Number(event.sequence),
      date: timestampDate(event.eventTime).toISOString().slice(0, 10),
      event: SessionEventKind[event.kind],
      quantity: event.quantity,
      price: event.price,
      pnl: event.pnl,
    })),
  );
}

const transport = createGrpcWebTransport({
  baseUrl: `http://${process.argv[2] ?? "127.0.0.1:8080"}`,
  httpVersion: "1.1",
  interceptors: [bearer],
});
try {
  await enter(createClient(IdentityService, transport));
  await watchTicks(createClient(MarketDataService, transport), "BTC-USD", 5);
  const strategy = await fromTemplate(createClient(StrategyService, transport), "sma_cross");
  await trade(createClient(ForwardTestService, transport), strategy);
} catch (error) {
  console.error(String(ConnectError.from(error)));
  process.exitCode = 1;
}
