// What the stream of this tab has said: newest values of sessions and symbols, and events as they came.

import { create } from "zustand";
import type { Session, SessionEvent, SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import type { Notification } from "../generated/algotrade/v1/notification_service_pb";
import type {
  RealtimeChanges,
  RealtimeSnapshot,
  SessionUpdate,
  SessionValue,
  SymbolUpdate,
} from "../generated/algotrade/v1/realtime_service_pb";

export const MOST_EVENTS = 500; // of a session that are kept; the newest
export const MOST_NOTICES = 100;

export type Line = "connecting" | "live" | "cut";

interface Realtime {
  line: Line;
  /** Since when the line is what it is. */
  sinceMs: number;
  values: Readonly<Record<string, SessionValue>>;
  statuses: Readonly<Record<string, SessionStatus>>;
  symbols: Readonly<Record<string, SymbolUpdate>>;
  /** Events since the page was opened, by session, in order. */
  events: Readonly<Record<string, readonly SessionEvent[]>>;
  notices: readonly Notification[];
  unread: number;
  /** Rises when sessions have to be read anew: what happened in between was not sent. */
  epoch: number;
}

const nothing: Realtime = {
  line: "connecting",
  sinceMs: 0,
  values: {},
  statuses: {},
  symbols: {},
  events: {},
  notices: [],
  unread: 0,
  epoch: 0,
};

export const useRealtime = create<Realtime>()(() => nothing);

export const forgetAll = () => useRealtime.setState(nothing);

export function setLine(line: Line, nowMs: number): void {
  if (useRealtime.getState().line !== line) useRealtime.setState({ line, sinceMs: nowMs });
}

export function takeSnapshot(snapshot: RealtimeSnapshot): void {
  useRealtime.setState((state) => ({
    statuses: { ...state.statuses, ...byId(snapshot.sessions, (session) => session.status) },
    values: {},
    symbols: Object.fromEntries(snapshot.symbols.map((update) => [update.symbol, update])),
    unread: snapshot.unreadCount,
    epoch: state.epoch + 1,
  }));
}

const byId = <T>(sessions: readonly Session[], pick: (session: Session) => T) =>
  Object.fromEntries(sessions.map((session) => [session.sessionId, pick(session)]));

export function takeChanges({ sessions, events, symbols, notifications }: RealtimeChanges): void {
  useRealtime.setState((state) => ({
    values: { ...state.values, ...valuesOf(sessions) },
    statuses: { ...state.statuses, ...Object.fromEntries(sessions.map((one) => [one.sessionId, one.status])) },
    symbols:
      symbols.length > 0
        ? { ...state.symbols, ...Object.fromEntries(symbols.map((one) => [one.symbol, one])) }
        : state.symbols,
    events: events.reduce(
      (all, { sessionId, event }) => (event ? withEvent(all, sessionId, event) : all),
      state.events,
    ),
    notices: [...notifications.toReversed(), ...state.notices].slice(0, MOST_NOTICES),
    unread: state.unread + notifications.length,
  }));
}

const valuesOf = (sessions: readonly SessionUpdate[]) =>
  Object.fromEntries(sessions.flatMap(({ sessionId, value }) => (value ? [[sessionId, value]] : [])));

/** A delivery may repeat, so an event is told by its number. */
export function withEvent(all: Realtime["events"], sessionId: string, event: SessionEvent): Realtime["events"] {
  const known = all[sessionId] ?? [];
  const last = known.at(-1);
  if (!last || last.sequence < event.sequence) return { ...all, [sessionId]: [...known, event].slice(-MOST_EVENTS) };
  if (known.some((one) => one.sequence === event.sequence)) return all;
  const sorted = [...known, event].sort((a, b) => Number(a.sequence - b.sequence));
  return { ...all, [sessionId]: sorted.slice(-MOST_EVENTS) };
}
