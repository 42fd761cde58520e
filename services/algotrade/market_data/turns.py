"""The turns of the writer: how often it takes one, and what it has logged in them that is not proven or shown yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from algotrade.market_data.feed import Resume
from algotrade.market_data.spells import Part
from algotrade.market_data.store import Advance


@dataclass(slots=True)
class Turns:
    """What the writer has logged, of one turn or several: whose leases have to be proven, and what windows have not."""

    parts: dict[str, list[Part]] = field(default_factory=dict)
    after: dict[str, Resume] = field(default_factory=dict)
    unproven: dict[str, Advance] = field(default_factory=dict)
    taken: int = 0

    def add(self, numbered: Mapping[str, Sequence[Part]], advances: Mapping[str, Advance], *, proven: bool) -> None:
        """Take what a turn has logged."""
        for name, advance in advances.items():
            self.parts.setdefault(name, []).extend(numbered[name])
            self.after[name] = advance.after
            if not proven:
                before = self.unproven[name].before if name in self.unproven else advance.before
                self.unproven[name] = Advance(before, advance.after)


class Pace:
    """Begins something no more often than so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0

    async def kept(self) -> None:
        """Return when so long has passed since it last did."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        self._due = loop.time() + self._seconds
