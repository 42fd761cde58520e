"""What a graph can ever need of the broker. What it cannot need is not compiled in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """``short``: positions below zero; ``moving``: stops that follow the price; ``resting``: entries that wait for a
    price; ``risk_sized``: sizes that follow from the stop's distance.
    """

    short: bool = False
    moving: bool = False
    resting: bool = False
    risk_sized: bool = False


PLAIN = Features()
