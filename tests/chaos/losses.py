"""Redis lost again and again, in every way, under a platform that goes on: nobody notices."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Final

from chaos.oracle import Verdict
from chaos.process import PlatformProcess
from chaos.trial import Trial
from chaos.workload import User
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from algotrade.stack.process import Server, running
from algotrade.stack.redis import redis

LOSSES: Final = {
    "flushed": "Redis flushed",
    "evicted": "half of what is in Redis evicted",
    "killed": "Redis killed, and started again empty",
    "frozen": "Redis frozen, and woken",
    "full": "Redis full, and emptied",
}
AWAY_SECONDS: Final = (0.1, 1.0)  # between the loss and its end, and after it


class Losses:
    """A platform over a Redis of its own, and what happens to that."""

    def __init__(self, folder: Path, seed: int, kinds: Counter[str]) -> None:
        """Take an empty folder with a short path, and how often to lose it in each way."""
        self._server, self._url = redis(folder / "redis", password="not-a-secret")
        # Windows are short, so that whoever comes back reads them and the log, too.
        patience = {"redis_url": self._url, "redis_timeout_seconds": 0.3, "redis_retry_seconds": 0.1}
        self.trial = Trial(folder, seed, window_ticks=500, **patience)
        self.kinds = kinds
        self._random = random.Random(seed)
        self._losses = self._random.sample(list(kinds.elements()), kinds.total())

    async def run(self) -> Verdict:
        """Lose Redis, let the rest of the feed run out, and compare what everybody saw with what there is."""
        platform = PlatformProcess(self.trial.folder, self.trial.settings)
        user = self.trial.user(platform.gateway, platform.grpc)
        try:
            again = Retry(NoBackoff(), 3)  # its connections die with the server
            async with running(self._server), Redis.from_url(self._url, socket_timeout=5, retry=again) as client:
                platform.start()
                await platform.ready()
                async with self.trial.at_work(user) as busy:
                    for kind in self._losses:
                        await self._lose(kind, self._server, client, user)
                        if busy.done():
                            busy.result()
                await platform.stop()
                return await self.trial.settle(platform, user)
        finally:
            await user.close()
            platform.clean_up()

    async def _lose(self, kind: str, server: Server, client: Redis, user: User) -> None:
        match kind:
            case "flushed":
                await client.flushall()
            case "evicted":
                if names := await client.keys():
                    await client.delete(*names[: len(names) // 2 + 1])
            case "killed":
                await server.kill()
            case "frozen":
                os.kill(server.pid, signal.SIGSTOP)
            case "full":
                await client.config_set("maxmemory", 1)
        for follower in self._random.sample(user.followers, len(user.followers) // 3):
            follower.cut()  # who comes back meanwhile asks for more than the newest ticks
        await asyncio.sleep(self._random.uniform(*AWAY_SECONDS))
        match kind:
            case "killed":
                await server.start()
            case "frozen":
                os.kill(server.pid, signal.SIGCONT)
            case "full":
                await client.config_set("maxmemory", 0)
        await asyncio.sleep(self._random.uniform(*AWAY_SECONDS))

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(title, {LOSSES[kind]: count for kind, count in self.kinds.items()})
