"""Where a position is left: stops, what moves them, and the target. Levels are prices in 1e-8, None where none is.

Every level is rounded to the price step down for a long and up for a short, and what is not a price is no level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from oracle.settings import SCALE, down, up

LONG, SHORT = 1, -1
Level = tuple[int, str]  # a price and what leaving there is called


@dataclass
class Guards:
    """What the graph's stop and target nodes say now. Distances are price units of 1e-8, not yet rounded."""

    stop_percent: Fraction | None = None
    target_percent: Fraction | None = None
    stop_distance: float | None = None
    target_distance: float | None = None
    stop_level: float | None = None  # as sampled at the last close, in 1e-8
    target_level: float | None = None
    trail: Fraction | None = None
    trail_from: Fraction = Fraction(0)
    break_even: Fraction | None = None


@dataclass
class Position:
    side: int
    quantity: int  # never negative
    price: int  # of the entry fill, slippage included
    basis: int  # cost of what is left, without fees; a short's is below zero
    entry_fee: int  # of what is left
    ts: int
    opened: int  # number of the tick of the fill; guards live from the next one
    best: int  # most favourable price since the entry
    closes: int = 0  # bars held
    stop: int | None = None
    target: int | None = None

    def past(self, price: int, level: int) -> bool:
        """At the level or on the losing side of it."""
        return price <= level if self.side == LONG else price >= level

    def through(self, price: int, level: int) -> bool:
        """Beyond the level on the winning side."""
        return price > level if self.side == LONG else price < level


def to_step(value: Fraction | int, side: int, step: int) -> int | None:
    level = down(value, step) if side == LONG else up(value, step)
    return level if level > 0 else None


def stop_and_target(g: Guards, side: int, price: int, step: int) -> tuple[int | None, int | None]:
    """Of a position entered at a price."""
    stop: Fraction | int | None = None
    target: Fraction | int | None = None
    if g.stop_percent is not None:
        stop = price * (1 - side * g.stop_percent)
    if g.target_percent is not None:
        target = price * (1 + side * g.target_percent)
    if g.stop_distance is not None:
        stop = price - side * math.ceil(g.stop_distance)
    if g.target_distance is not None:
        target = price + side * math.floor(g.target_distance)
    if g.stop_level is not None:
        stop = Fraction(g.stop_level)
    if g.target_level is not None:
        target = Fraction(g.target_level)
    return (
        None if stop is None else to_step(stop, side, step),
        None if target is None else to_step(target, side, step),
    )


def moving_stops(g: Guards, held: Position, step: int) -> list[Level]:
    """Break even and trailing stop as they stand after the best price so far."""

    def gained(share: Fraction) -> bool:
        goal = held.price * (1 + held.side * share)
        return held.best >= goal if held.side == LONG else held.best <= goal

    levels = []
    if g.break_even is not None and gained(g.break_even):
        levels.append((to_step(held.price, held.side, step), "break_even"))
    if g.trail is not None and gained(g.trail_from):
        levels.append((to_step(held.best * (1 - held.side * g.trail), held.side, step), "trailing_stop"))
    return [(level, name) for level, name in levels if level is not None]


def used_up(held: Position, cash: int) -> int:
    """The first price at which a short's equity, cash - quantity x price, is zero or less; 1: at any."""
    return max(1, math.ceil(Fraction(cash * SCALE, held.quantity)))


def tightest(g: Guards, held: Position, cash: int, step: int) -> Level | None:
    """The stop that the price comes to first; of equal ones the first as listed here."""
    levels = [] if held.stop is None else [(held.stop, "stop_loss")]
    levels += moving_stops(g, held, step)
    if held.side == SHORT:
        levels.append((used_up(held, cash), "forced_close"))
    if not levels:
        return None
    return max(levels, key=lambda level: held.side * level[0])
