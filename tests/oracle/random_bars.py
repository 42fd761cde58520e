"""Random bar rows: walks with gaps, jumps, repeated prices, tiny and big ones. The same seed gives the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from oracle.backtest import Row

SECOND = 1_000_000_000
KINDS = ("walk", "walk", "walk", "gaps", "gaps", "jumps", "jumps", "waves", "waves", "repeats", "quiet", "constant")
STARTS = (1_000, 25_000, 1_000_000, 137_000_000, 4_200_000_000, 10_000_000_000, 3_000_000_000_000, 90_000_000_000_000)
STEADY = (50_000_000, 12_850_000_000, 3_000_000_000_000)  # of few binary digits, so that ties are exact
LENGTHS = (60, 150, 250, 400)
WIDTHS = (60, 300, 3_600, 86_400)
EPOCH = 1_546_300_800  # 2019-01-01T00:00:00Z


@dataclass(frozen=True)
class Tape:
    """Rows and the facts that sensible settings for them need: scale of the price and seconds a row."""

    rows: list[Row]
    price: int
    width: int
    kind: str


def tape(seed: int, length: int | None = None, longest: int = LENGTHS[-1]) -> Tape:
    rng = Random(f"tape {seed}")
    kind = rng.choice(
        ("walk", "walk", "walk", "gaps", "gaps", "jumps", "jumps", "repeats", "waves", "waves", "quiet", "constant")
    )
    start, width = rng.choice(STEADY if kind == "constant" else STARTS), rng.choice(WIDTHS)
    tick = rng.choice(
        (1, 1, 1) if kind == "constant" else (1, 1, max(1, 10 ** (len(str(start)) - 5)))
    )  # prices often lie on an exchange's grid
    ts = (EPOCH + rng.randrange(86_400 * 300) // width * width) * SECOND
    rows: list[Row] = []
    last = on_grid(start, tick)
    for i in range(length or rng.choice([one for one in LENGTHS if one <= longest])):
        bar = step(rng, kind, i, last, tick, start)
        rows.append((ts, *bar, volume(rng)))
        last = bar[3]
        missing = rng.randrange(1, 9) if rng.random() < 0.03 else 0
        ts += width * SECOND * (1 + missing)
    return Tape(rows, start, width, kind)


def volume(rng: Random) -> float:
    return rng.choice((0.0, float(rng.randrange(1, 10_000)), round(rng.lognormvariate(3, 1), 3)))


def on_grid(price: float, tick: int) -> int:
    return max(tick, round(price / tick) * tick)


def step(rng: Random, kind: str, i: int, last: int, tick: int, start: int) -> tuple[int, int, int, int]:
    """One bar after a close: open, high, low, close."""
    if kind == "constant":
        return last, last, last, last
    sigma = {"quiet": 0.0005, "jumps": 0.004, "repeats": 0.01}.get(kind, 0.015)
    pull = 0.02 * (start - last) / start if last > 8 * start or last < start / 8 else 0.0
    if kind == "waves":
        pull += 0.02 if i // 25 % 2 else -0.02
    gap = rng.gauss(0, 0.03) if kind == "gaps" and rng.random() < 0.3 else 0.0
    jump = rng.choice((-0.2, 0.25)) if kind == "jumps" and rng.random() < 0.05 else 0.0
    if kind == "repeats" and rng.random() < 0.4:
        return last, last, last, last
    first = on_grid(last * (1 + gap), tick)
    close = on_grid(first * (1 + rng.gauss(pull, sigma) + jump), tick)
    top = on_grid(max(first, close) * (1 + abs(rng.gauss(0, sigma / 2)) * rng.choice((0, 1, 1))), tick)
    bottom = on_grid(min(first, close) * (1 - min(0.5, abs(rng.gauss(0, sigma / 2))) * rng.choice((0, 1, 1))), tick)
    return first, max(first, close, top), min(first, close, bottom), close
