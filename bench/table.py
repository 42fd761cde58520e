"""What the questions share: a way to take the time, a table to print, a strategy to run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Seconds of each run. Ratios are between the best runs: those least disturbed by whatever else the host does."""

    name: str
    samples: Sequence[float]
    note: str = ""

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def measure(act: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after one that is not counted; garbage is collected between them."""
    act()
    seconds = []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return seconds


def say(title: str, rows: Sequence[Row], units: int, unit: str) -> None:
    """Print a table: each row's median and best time, the best a unit, and the ratio of the bests to the first row."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    head = f"ns a {unit}"
    print(f"  {'':{width}}  {'median ms':>9}  {'best ms':>9}  {head:>{len(head)}}  {'ratio':>6}")
    for row in rows:
        each = f"{row.best / units * 1e9:{len(head)}.2f}"
        times = f"{row.median * 1e3:9.3f}  {row.best * 1e3:9.3f}"
        print(f"  {row.name:{width}}  {times}  {each}  {row.best / rows[0].best:6.2f}  {row.note}")


def document(fast: int, slow: int) -> Json:
    """All in when the fast mean of the closes crosses over the slow one, out when it crosses under."""
    kinds = {"close": "price", "fast": "sma", "slow": "sma", "up": "crossover", "down": "crossunder"}
    kinds |= {"buy": "buy", "sell": "sell"}
    params = {"fast": {"timeperiod": fast}, "slow": {"timeperiod": slow}}
    wires = ["close>fast", "close>slow", "fast>up.a", "slow>up.b", "fast>down.a", "slow>down.b", "up>buy", "down>sell"]
    return {
        "version": 1,
        "name": "SMA cross",
        "nodes": [{"id": i, "type": kind, "data": {"params": params.get(i, {})}} for i, kind in kinds.items()],
        "edges": [edge(f"e{i}", wire) for i, wire in enumerate(wires)],
    }


def edge(name: str, wire: str) -> Json:
    """An edge `source[.output]>target[.input]`."""
    source, _, target = wire.partition(">")
    node, _, output = source.partition(".")
    end, _, handle = target.partition(".")
    made = {"id": name, "source": node, "target": end}
    return made | ({"sourceHandle": output} if output else {}) | ({"targetHandle": handle} if handle else {})
