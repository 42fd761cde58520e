"""Random trades and time markers: bursts in one instant, ticks on a bar's edge, long silences; fixed by a seed."""

from __future__ import annotations

from random import Random

from oracle.backtest import SECONDS, Tick

START = 1_546_300_800 * 1_000_000_000
INTERVALS = ("1s", "5s", "1m", "5m")


def stream(seed: int, count: int = 1_500) -> tuple[str, list[Tick]]:
    """An interval and a stream of which a bar of that interval holds about five ticks."""
    rng = Random(f"ticks {seed}")
    interval = rng.choice((*INTERVALS, "tick"))
    width = SECONDS.get(interval, 1) * 1_000_000_000
    ts = START + rng.choice((0, 1, width // 2, width - 1))
    price = rng.choice((2_500_000_000, 137_000_000, 3_000_000_000_000))
    ticks: list[Tick] = [(ts, None, 0.0)] if rng.random() < 0.3 else []
    for _ in range(count):
        price = max(1_000, round(price * (1 + rng.choice((0, 0, 1, -1)) * rng.expovariate(500)) / 1_000) * 1_000)
        ticks.append((ts, price, rng.choice((1.0, 0.25, round(rng.expovariate(1), 4)))))
        ts = advance(rng, ts, width)
        if rng.random() < 0.05:
            ticks.append((ts, None, 0.0))
    return interval, ticks


def advance(rng: Random, ts: int, width: int) -> int:
    match rng.choice(("burst", "step", "step", "step", "edge", "silence") if rng.random() < 0.5 else ("step",)):
        case "burst":
            return ts
        case "edge":
            return ts - ts % width + width
        case "silence":
            return ts + rng.randrange(width, 12 * width)
    return ts + rng.randrange(1, max(2, width * 2 // 5))
