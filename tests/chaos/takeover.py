"""A platform that freezes, another that takes over its work, and the frozen one that wakes and knows nothing of it."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from chaos.oracle import Verdict
from chaos.process import PlatformProcess
from chaos.proxy import Wire, tcp
from chaos.trial import Trial
from sqlalchemy.engine import URL

# Where a writer freezes: with ticks, events or messages in hand, in a transaction and outside of one.
POINTS: Final = (
    "worker.stepped",
    "ingest.before_commit",
    "ledger.before_commit",
    "ingest.numbered",
    "outbox.sent",
    "ledger.fenced",
    "ledger.committed",
    "command.applied",
)
ZOMBIE: Final = "the platform frozen, taken over, and woken"


class Takeover:
    """Two places to run the platform, one database: they take turns. Users reach whichever is the newer."""

    def __init__(self, folder: Path, url: URL, seed: int, turns: int) -> None:
        """Take an empty folder with a short path, an empty database, and how often one freezes."""
        dsn = url.render_as_string(hide_password=False)
        self.trial = Trial(folder, seed, dsn=dsn, database_dsn=dsn)
        self._random = random.Random(seed)
        folders = [folder / name for name in "ab"]
        for one in folders:
            one.mkdir()
        self._places = [PlatformProcess(one, self.trial.settings) for one in folders]
        points = self._random.sample(POINTS, len(POINTS))
        # every other time at a named point, else at a random instant
        self.turns = [points[turn // 2 % len(points)] if turn % 2 == 0 else "" for turn in range(turns)]

    async def run(self) -> Verdict:
        """Freeze and take over, again and again; let the rest of the feed run out, and compare."""
        old, new = self._places
        async with AsyncExitStack() as stack:
            for place in self._places:
                stack.callback(place.clean_up)
            wires = [await stack.enter_async_context(Wire(tcp(at)).listening()) for at in (old.gateway, old.grpc)]
            user = self.trial.user(*(wire.address for wire in wires))
            stack.push_async_callback(user.close)
            old.start()
            await old.ready()
            shutil.copytree(old.folder / "keys", new.folder / "keys")
            async with self.trial.at_work(user) as busy:
                for point in self.turns:
                    await self._freeze(old, point)
                    new.start()
                    await new.ready()
                    self.trial.struck(ZOMBIE)
                    for wire, address in zip(wires, (new.gateway, new.grpc), strict=True):
                        wire.connect = tcp(address)
                        wire.cut()
                    await asyncio.sleep(self._random.uniform(0.3, 1.0))
                    old.signal(signal.SIGCONT)
                    await old.ends_within(self._random.uniform(0.5, 1.5))  # as long as it likes to
                    await old.kill()
                    old, new = new, old
                    if busy.done():
                        busy.result()
            await old.kill()
            return await self.trial.settle(old, user)

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(title, {ZOMBIE: len(self.turns)})

    async def _freeze(self, place: PlatformProcess, point: str) -> None:
        """Stop a process as by kill -STOP: at a named point, for which it is started anew, or as it stands."""
        if point:
            await place.kill()
            place.start(failpoint=f"{point}:{self._random.randint(2, 5)}:freeze")
            await place.frozen()
        else:
            await asyncio.sleep(self._random.uniform(0.3, 1.0))
            place.signal(signal.SIGSTOP)
            await place.frozen()
