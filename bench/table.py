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
    name: str
    seconds: float  # median of the runs
    note: str = ""


def measure(act: Callable[[], object], runs: int) -> float:
    """Median seconds of `runs` calls, after one that is not counted; garbage is collected between them."""
    act()
    seconds = []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def say(title: str, rows: Sequence[Row], units: int, unit: str) -> None:
    """Print a table: each row's time, its time a unit, and its ratio to the first row."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    print(f"  {'':{width}}  {'ms':>9}  {'ns a ' + unit:>14}  {'ratio':>7}")
    for row in rows:
        ratio = row.seconds / rows[0].seconds
        each = row.seconds / units * 1e9
        print(f"  {row.name:{width}}  {row.seconds * 1e3:9.3f}  {each:14.2f}  {ratio:7.2f}  {row.note}")


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
    source, _, target = wire.partition(">")
    node, _, handle = target.partition(".")
    return {"id": name, "source": source, "target": node} | ({"targetHandle": handle} if handle else {})
