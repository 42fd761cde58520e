"""What does a tick cost when 1,000 different strategies listen to it? One call steps them all.

Six shapes of strategy with indicators, periods, levels and stops of their own: 1,000 modules, a session each. Times are
end to end: ticks in as a numpy record, events out. In the same run: the same modules called one by one, as before; the
least that the one call can cost, when every module has seen the tick already; and 1,000 sessions of one strategy, whose
code and rows lie together.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from market import bars as market_bars
from strategies import strategy
from table import Row, document, say

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.fleet import Fleet
from algotrade.engine.records import Records, bar_ticks
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

STRATEGIES, WARM, ROUNDS, BARS = 1_000, 130, 4, 12
LIMIT = 2.0  # ms, a tick through all of them


def compiled(number: int) -> Artefact:
    artefact = compile_strategy(strategy(number)).artefact
    assert artefact is not None
    return artefact


def timed(step: Callable[[Records], object], ticks: Records) -> float:
    start = time.perf_counter()
    step(ticks)
    return time.perf_counter() - start


def main() -> None:
    artefacts = [compiled(number) for number in range(STRATEGIES)]
    assert len({artefact.hash for artefact in artefacts}) == STRATEGIES
    fleet = Fleet()
    members = [fleet.sessions(artefact) for artefact in artefacts]
    alone = [Sessions(artefact) for artefact in artefacts]
    for one in (*members, *alone):
        one.add(RunSettings())
    crowd = Sessions(compiled_cross())
    for i in range(STRATEGIES):
        crowd.add(RunSettings(initial_cash=(10_000 + i) * 10**8))
    ticks = bar_ticks(market_bars(WARM + ROUNDS * BARS))

    def together(part: Records) -> int:
        stepped = fleet.step(members, part)
        assert not stepped.trapped
        return sum(map(len, stepped.events.values()))

    def one_by_one(part: Records) -> int:
        return sum(len(sessions.step(part)) for sessions in alone)

    events = [together(ticks[: 4 * WARM]), one_by_one(ticks[: 4 * WARM])]
    crowd.step(ticks[: 4 * WARM])
    inside, closing, seen, plain, plain_closing, one = [], [], [], [], [], []
    for start in range(4 * WARM, len(ticks), 4 * BARS):  # in turn: what else the host does then disturbs all alike
        parts = [ticks[i : i + 1] for i in range(start, start + 4 * BARS)]
        for i, part in enumerate(parts):
            (closing if i % 4 == 3 else inside).append(timed(together, part))
        seen += [timed(together, parts[-1]) for _ in parts]
        for i, part in enumerate(parts):
            (plain_closing if i % 4 == 3 else plain).append(timed(one_by_one, part))
        one += [timed(crowd.step, part) for part in parts]
    for a, b in zip(members, alone, strict=True):
        assert a.state(0) == b.state(0), "stepped together and stepped alone they differ"
    rows = [
        Row("one call, inside a bar", inside),
        Row("one call, closing a bar", closing),
        Row("  a tick seen before: the least a call costs", seen),
        Row("a call each, inside a bar", plain),
        Row("a call each, closing a bar", plain_closing),
        Row("1,000 sessions of one strategy", one),
    ]
    say(f"{STRATEGIES:,} different strategies on one tick", rows, STRATEGIES, "strategy")
    print(f"{sum(events) // 2:,} events while they warmed up, alike both ways; every state equal at the end")
    worst = max(rows[0].median, rows[1].median) * 1e3
    print(f"{worst:.2f} ms a tick that closes a bar, median; {rows[1].best * 1e3:.2f} best (under {LIMIT:g} wanted)")


def compiled_cross() -> Artefact:
    artefact = compile_strategy(document(20, 50)).artefact
    assert artefact is not None
    return artefact


if __name__ == "__main__":
    main()
