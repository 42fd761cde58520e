"""A platform whose connections to PostgreSQL break at their COMMIT, so that nobody knows what became of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from chaos.oracle import Verdict
from chaos.process import PlatformProcess
from chaos.proxy import CommitWire
from chaos.trial import Trial
from sqlalchemy.engine import URL

CHANCE = 0.05


class UnknownCommits:
    """One process that never ends, and a wire between it and its database."""

    def __init__(self, folder: Path, url: URL, seed: int, cuts: int) -> None:
        """Take an empty folder with a short path, an empty database on a Unix socket, and how many commits to cut."""
        socket = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
        self.wire = CommitWire(lambda: asyncio.open_unix_connection(socket), seed, CHANCE)
        self._cuts = cuts
        self._dsn = f"postgresql://postgres@{{}}/{url.database}"
        self.trial = Trial(folder, seed, dsn=url.render_as_string(hide_password=False))

    async def run(self) -> Verdict:
        """Cut so many commits, let the rest of the feed run out, and compare."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.wire.listening())
            dsn = self._dsn.format(self.wire.address)
            platform = PlatformProcess(self.trial.folder, self.trial.settings | {"database_dsn": dsn})
            stack.callback(platform.clean_up)
            user = self.trial.user(platform.gateway, platform.grpc)
            stack.push_async_callback(user.close)
            platform.start()
            await platform.ready()
            async with self.trial.at_work(user) as busy:
                self.wire.cutting = True
                while self.wire.cuts.total() < self._cuts:
                    await asyncio.sleep(0.05)
                    assert platform.returncode() is None, platform.log.read_text()[-4000:]
                    if busy.done():
                        busy.result()
                self.wire.cutting = False
            await platform.stop()
            return await self.trial.settle(platform, user)

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(
            title, {f"a connection to PostgreSQL cut {when}": n for when, n in self.wire.cuts.items()}
        )
