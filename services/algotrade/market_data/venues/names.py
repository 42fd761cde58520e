"""What a venue calls our symbols."""

from __future__ import annotations

from collections.abc import Sequence


def names_of(symbols: Sequence[str]) -> dict[str, str]:
    """Return what a venue calls each of our symbols: a symbol is its own name there, or ``OURS=THEIRS``."""
    pairs = [name.partition("=") for name in symbols]
    return {ours: theirs or ours for ours, _, theirs in pairs}
