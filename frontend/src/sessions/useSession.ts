import { timestampMs } from "@bufbuild/protobuf/wkt";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { sessions } from "../api/clients";
import { served } from "../backtest/shownTrade";
import { type Session, type SessionEvent, SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import { MOST_EVENTS, useRealtime } from "../realtime/store";
import { renewed } from "./renewed";

/** A session as it was read, with the newest values that the stream has said since. */
export function useSession(sessionId: string) {
  const { data, error } = useQuery({
    queryKey: ["session", sessionId],
    queryFn: async () => (await sessions.getSession({ sessionId })).session,
    refetchInterval: 10_000,
  });
  const value = useRealtime((state) => state.values[sessionId]);
  const happened = useRealtime((state) => state.events[sessionId]?.at(-1)?.sequence);
  const queries = useQueryClient();
  useEffect(() => {
    if (happened !== undefined) void queries.invalidateQueries({ queryKey: ["session", sessionId] });
  }, [queries, sessionId, happened]);
  const status = useRealtime((state) => state.statuses[sessionId]);
  const session = useMemo(() => (data ? renewed(data, value, status) : undefined), [data, value, status]);
  return { session, error };
}

/** Chart and trades, read anew when a bar has closed or something has happened. */
export function useSessionDrawn(session: Session | undefined) {
  const sessionId = session?.sessionId ?? "";
  const queries = useQueryClient();
  const bars = session?.bars;
  // biome-ignore lint/correctness/useExhaustiveDependencies: these are when to read anew
  useEffect(() => {
    void queries.invalidateQueries({ queryKey: ["session", sessionId, "drawn"] });
  }, [bars, session?.status]);
  return useQuery({
    queryKey: ["session", sessionId, "drawn"],
    enabled: sessionId !== "" && session?.status !== SessionStatus.CREATED,
    staleTime: 1000,
    queryFn: async () => {
      const [{ points }, { trades }, { metrics }] = await Promise.all([
        sessions.listChartPoints({ sessionId, maxPoints: 1500 }),
        sessions.listTrades({ sessionId, pageSize: 1000 }),
        sessions.getMetrics({ sessionId }),
      ]);
      const at = (point: (typeof points)[number]) => (point.startTime ? timestampMs(point.startTime) : 0);
      return {
        candles: points.map((point) => ({
          ms: at(point),
          open: Number(point.open),
          high: Number(point.high),
          low: Number(point.low),
          close: Number(point.close),
        })),
        equity: points.map((point) => ({ ms: at(point), value: Number(point.equity) })),
        trades: trades.map(served),
        metrics,
      };
    },
  });
}

/** The session's events: those before the page was opened, read once, and those that come. */
export function useEvents(sessionId: string, lastSequence: bigint | undefined): readonly SessionEvent[] {
  const [past, setPast] = useState<readonly SessionEvent[]>([]);
  const coming = useRealtime((state) => state.events[sessionId]);
  const epoch = useRealtime((state) => state.epoch);
  const known = lastSequence !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: read once, and again after a hole
  useEffect(() => {
    if (!lastSequence) return;
    const cut = new AbortController();
    readPast(sessionId, lastSequence, cut.signal).then(setPast, () => undefined); // what comes is shown all the same
    return () => cut.abort();
  }, [sessionId, known, epoch]);
  return useMemo(() => {
    const all = new Map([...past, ...(coming ?? [])].map((event) => [event.sequence, event]));
    return [...all.values()].sort((a, b) => Number(b.sequence - a.sequence)).slice(0, MOST_EVENTS);
  }, [past, coming]);
}

async function readPast(sessionId: string, last: bigint, signal: AbortSignal): Promise<SessionEvent[]> {
  const afterSequence = last > BigInt(MOST_EVENTS) ? last - BigInt(MOST_EVENTS) : 0n;
  const events: SessionEvent[] = [];
  for await (const { sequence, payload } of sessions.streamSession(
    { sessionId, afterSequence },
    { signal, timeoutMs: 0 },
  )) {
    if (payload.case === "event") events.push(payload.value);
    if (sequence >= last) break;
  }
  return events;
}
