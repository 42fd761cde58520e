// One stream a tab: all of the user's sessions, the symbols on the screen, notifications. Cut, it goes on from its
// cursor, so that nothing is missed and nothing comes twice.

import { Code, ConnectError } from "@connectrpc/connect";
import { realtime } from "../api/clients";
import { setLine, takeChanges, takeSnapshot } from "./store";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
const SILENCE_MS = 40_000; // heartbeats come every 15 s: a line that is silent for so long is none

export class Follower {
  private cursor?: string;
  private cut = new AbortController();
  private wake?: () => void;
  private stopped = false;
  private symbols: readonly string[] = [];

  /** Follows until it is stopped. */
  async run(): Promise<void> {
    const nudge = () => this.nudge();
    const seen = () => document.visibilityState === "visible" && this.wake?.();
    const gone = () => {
      setLine("cut", Date.now());
      this.cut.abort();
    };
    window.addEventListener("online", nudge);
    window.addEventListener("offline", gone);
    document.addEventListener("visibilitychange", seen);
    try {
      let tries = 0;
      while (!this.stopped) {
        const before = this.cursor;
        await this.listen().catch((error) => this.fail(error));
        if (this.stopped) return;
        tries = this.cursor === before ? tries + 1 : 0;
        if (tries > 0) await this.rest(tries);
      }
    } finally {
      window.removeEventListener("online", nudge);
      window.removeEventListener("offline", gone);
      document.removeEventListener("visibilitychange", seen);
    }
  }

  stop(): void {
    this.stopped = true;
    this.nudge();
  }

  /** Chooses whose prices are sent, from the same place of the stream on. */
  show(symbols: readonly string[]): void {
    if (symbols.join() === this.symbols.join()) return;
    this.symbols = symbols;
    this.cut.abort();
  }

  private nudge(): void {
    this.cut.abort();
    this.wake?.();
  }

  private async listen(): Promise<void> {
    const cut = new AbortController();
    this.cut = cut;
    let silence = setTimeout(() => cut.abort(), SILENCE_MS);
    try {
      const request = { allSessions: true, notifications: true, symbols: [...this.symbols], cursor: this.cursor };
      for await (const { cursor, payload } of realtime.streamUpdates(request, { signal: cut.signal, timeoutMs: 0 })) {
        clearTimeout(silence);
        silence = setTimeout(() => cut.abort(), SILENCE_MS);
        this.cursor = cursor;
        setLine("live", Date.now());
        if (payload.case === "snapshot") takeSnapshot(payload.value);
        if (payload.case === "changes") takeChanges(payload.value);
      }
    } finally {
      clearTimeout(silence);
      cut.abort();
    }
  }

  private fail(error: unknown): void {
    const { code } = ConnectError.from(error);
    if (code === Code.InvalidArgument) this.cursor = undefined; // what it says is no longer known: begin with a snapshot
    if (code === Code.Unauthenticated) this.stopped = true;
    if (code !== Code.Canceled) setLine("cut", Date.now());
  }

  private rest(tries: number): Promise<void> {
    const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1));
    const wait = most / 2 + (Math.random() * most) / 2; // not every tab at the same moment
    return new Promise((go) => {
      const timer = setTimeout(go, wait);
      this.wake = () => {
        clearTimeout(timer);
        go();
      };
    });
  }
}
