import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import {
  SessionEventSchema,
  SessionSchema,
  SessionStatus,
} from "../src/generated/algotrade/v1/forward_test_service_pb";
import { RealtimeChangesSchema, RealtimeSnapshotSchema } from "../src/generated/algotrade/v1/realtime_service_pb";
import { forgetAll, MOST_EVENTS, takeChanges, takeSnapshot, useRealtime, withEvent } from "../src/realtime/store";
import { renewed } from "../src/sessions/renewed";

const event = (sequence: number) => create(SessionEventSchema, { sequence: BigInt(sequence) });
const sequences = () => useRealtime.getState().events.a?.map((one) => Number(one.sequence));

beforeEach(forgetAll);

test("an event that comes twice is kept once, and late ones find their place", () => {
  for (const sequence of [1, 2, 2, 4, 3, 1]) {
    takeChanges(create(RealtimeChangesSchema, { events: [{ sessionId: "a", event: event(sequence) }] }));
  }
  expect(sequences()).toEqual([1, 2, 3, 4]);
});

test("of events the newest are kept", () => {
  let all = {};
  for (let sequence = 1; sequence <= MOST_EVENTS + 10; sequence++) all = withEvent(all, "a", event(sequence));
  useRealtime.setState({ events: all });
  expect(sequences()?.at(0)).toBe(11);
  expect(sequences()?.length).toBe(MOST_EVENTS);
});

test("a snapshot takes the place of values that were known, and says that there may be a hole", () => {
  const value = { mark: { bars: 5n, equity: "1", lastPrice: "1" }, quantity: "1" };
  takeChanges(create(RealtimeChangesSchema, { sessions: [{ sessionId: "a", value, status: SessionStatus.RUNNING }] }));
  const before = useRealtime.getState().epoch;
  takeSnapshot(create(RealtimeSnapshotSchema, { sessions: [{ sessionId: "a", status: SessionStatus.STOPPED }] }));
  const { values, statuses, epoch } = useRealtime.getState();
  expect(values).toEqual({});
  expect(statuses.a).toBe(SessionStatus.STOPPED);
  expect(epoch).toBe(before + 1);
});

test("a value that is older than what was read changes nothing, and after a trade no average price is known", () => {
  const session = create(SessionSchema, { bars: 7n, equity: "9", quantity: "0", averagePrice: "0" });
  const value = (bars: bigint, quantity: string) =>
    create(RealtimeChangesSchema, { sessions: [{ value: { quantity, mark: { bars, equity: "10" } } }] }).sessions[0]
      ?.value;
  expect(renewed(session, value(6n, "1"), undefined).equity).toBe("9");
  expect(renewed(session, value(8n, "0"), undefined)).toMatchObject({ equity: "10", averagePrice: "0" });
  expect(renewed(session, value(8n, "1"), undefined)).toMatchObject({ quantity: "1", averagePrice: "" });
});
