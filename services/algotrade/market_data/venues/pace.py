"""How often something is tried: evenly, and after failures less and less often."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Seconds to wait after failures in a row: doubled each time up to a cap, the upper half of it at random."""

    first_seconds: float
    most_seconds: float
    random: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0

    def reset(self) -> None:
        """Begin anew: it works."""
        self.failures = 0

    def next_seconds(self) -> float:
        """Return how long to wait after one more failure."""
        cap = min(self.most_seconds, self.first_seconds * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return cap * (0.5 + self.random.random() / 2)


class Pace:
    """Lets so many pass in a second, evenly."""

    def __init__(self, a_second: float) -> None:
        """Begin with nobody waiting."""
        self._gap = 1.0 / a_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        self._next = max(self._next + self._gap, now)
        await asyncio.sleep(self._next - now)
