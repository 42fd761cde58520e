"""What does a tick cost when 10,000 sessions of one strategy listen to it? One call steps them all.

Sessions differ in cash. Ticks inside a bar only meet the broker; the last tick of a bar also evaluates the graph.
"""

from __future__ import annotations

import time

from market import bars as market_bars
from table import Row, document, say

from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records, bar_ticks
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

SESSIONS, WARM, TIMED = 10_000, 120, 40
LIMIT = 50  # ns a session a tick


def step(sessions: Sessions, ticks: Records) -> float:
    start = time.perf_counter()
    sessions.step(ticks)
    return time.perf_counter() - start


def main() -> None:
    artefact = compile_strategy(document(20, 50)).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    for i in range(SESSIONS):
        sessions.add(RunSettings(initial_cash=(10_000 + i) * 10**8))
    ticks = bar_ticks(market_bars(WARM + TIMED))
    sessions.step(ticks[: 4 * WARM])
    inside, closing, together = [], [], []
    for i in range(4 * WARM, len(ticks), 4):
        inside += [step(sessions, ticks[i + k : i + k + 1]) for k in range(3)]
        closing.append(step(sessions, ticks[i + 3 : i + 4]))
    sessions.step(ticks[:0])
    for start in range(WARM, WARM + TIMED, 10):  # the same in batches, on sessions of their own time
        batch = bar_ticks(market_bars(WARM + TIMED)[start : start + 10], first_seq=10**6 + 40 * start)
        together.append(step(sessions, batch) / len(batch))
    mixed = [(sum(inside[3 * i : 3 * i + 3]) + close) / 4 for i, close in enumerate(closing)]
    rows = [
        Row("every tick alone, a bar of four", mixed),
        Row("  inside a bar", inside),
        Row("  closing a bar", closing),
        Row("forty ticks a call", together),
    ]
    say(f"{SESSIONS:,} sessions of one strategy", rows, SESSIONS, "session a tick")
    print(f"{rows[0].median / SESSIONS * 1e9:.1f} ns a session a tick, median (under {LIMIT} wanted)")


if __name__ == "__main__":
    main()
