"""Faults, one after the other, against a platform that trades."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaos.followers import PATIENCE
from chaos.oracle import Verdict
from chaos.process import PlatformProcess
from chaos.trial import Trial

from algotrade.platform import failpoints

# How often a point is come to before it is the one: points that are passed with every batch may wait for a later one.
OFTEN: Final = {
    name: 6
    for name in failpoints.POINTS
    if name.startswith(("ingest.", "worker.", "ledger.", "outbox.")) or name == "shards.checkpoint"
}
FAULTS: Final = {
    "random": "the platform killed at a random instant",
    "starting": "the platform killed while it starts",
    "point": "the platform killed at a named point",
    "database": "the platform and PostgreSQL killed together",
    "immediate": "the platform killed and PostgreSQL stopped at once",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a running platform."""

    kind: str  # of `FAULTS`
    point: str = ""
    nth: int = 1
    wait_seconds: float = 0.0  # from the start, or from when it is up

    def __str__(self) -> str:
        return f"{self.point}:{self.nth}" if self.point else f"{self.kind} after {self.wait_seconds:.2f} s"


def plan(seed: int, kinds: Counter[str]) -> list[Fault]:
    """Draw so many faults of each kind, in any order; of named points each in its turn."""
    rng = random.Random(seed)
    faults = []
    for kind, count in kinds.items():
        points = rng.sample(list(failpoints.POINTS), len(failpoints.POINTS)) if kind == "point" else [""]
        for index in range(count):
            point = points[index % len(points)]
            nth = rng.randint(1, OFTEN.get(point, 1))
            faults.append(Fault(kind, point, nth, rng.uniform(0.0, 1.0)))
    rng.shuffle(faults)
    return faults


class Campaign:
    """Many faults, one after the other, each of which ends the platform."""

    def __init__(self, folder: Path, seed: int, kinds: Counter[str], **settings: Any) -> None:
        """Draw so many faults of each kind; ``settings`` as for a `Trial`."""
        self.trial = Trial(folder, seed, **settings)
        self.faults = plan(seed, kinds)

    async def run(self) -> Verdict:
        """Strike, let the rest of the feed run out, and compare."""
        platform = PlatformProcess(self.trial.folder, self.trial.settings)
        user = self.trial.user(platform.gateway, platform.grpc)
        try:
            platform.start(cold=True)
            await platform.ready()
            async with self.trial.at_work(user) as busy:
                await platform.kill()
                for fault in self.faults:
                    user.wanted = fault.point.partition(".")[0]
                    await self._strike(platform, fault, busy)
                    if busy.done():
                        busy.result()
            return await self.trial.settle(platform, user)
        finally:
            await user.close()
            platform.clean_up()

    async def _strike(self, platform: PlatformProcess, fault: Fault, busy: asyncio.Task[None]) -> None:
        """Start the platform, and end it as the fault says."""
        platform.start(failpoint=f"{fault.point}:{fault.nth}" if fault.point else "", cold=platform.starts % 10 == 0)
        if fault.point:
            assert await platform.ends_within(PATIENCE), f"{fault} was never reached; {busy}"
            code = platform.returncode()
            assert code == -9, f"{fault}: it ended with {code}:\n{platform.log.read_text()[-4000:]}"
        elif fault.kind == "starting":
            await platform.ends_within(fault.wait_seconds)
        else:
            await platform.ready()
            await platform.ends_within(fault.wait_seconds)
        if not fault.point:
            assert platform.returncode() is None, f"{fault}: it ended by itself:\n{platform.log.read_text()[-4000:]}"
        self.trial.struck(FAULTS[fault.kind])
        if fault.kind in ("database", "immediate"):
            platform.kill_database(whole=fault.kind == "database")
        await platform.kill()

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(title, Counter(FAULTS[fault.kind] for fault in self.faults))
