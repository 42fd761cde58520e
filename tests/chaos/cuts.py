"""Every stream there is, cut again and again: by its reader, on the wire, by a gateway and by a platform that end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from chaos.oracle import Verdict
from chaos.process import PlatformProcess
from chaos.proxy import Wire, tcp
from chaos.trial import Trial
from chaos.workload import User

CUTS: Final = {
    "reader": "a stream left by its reader",
    "wire": "every connection broken in the middle",
    "gateway": "Envoy killed, and the platform started again",
    "stop": "the platform stopped in order and started again",
}


class Cuts:
    """A platform, its followers, and wires between them."""

    def __init__(self, folder: Path, seed: int, kinds: Counter[str]) -> None:
        """Take an empty folder with a short path, and how often to cut in each way."""
        self.trial = Trial(folder, seed)
        self.kinds = kinds
        self._random = random.Random(seed)
        self._cuts = self._random.sample(list(kinds.elements()), kinds.total())

    async def run(self) -> Verdict:
        """Cut, let the rest of the feed run out, and compare what everybody saw with what there is."""
        platform = PlatformProcess(self.trial.folder, self.trial.settings)
        async with AsyncExitStack() as stack:
            stack.callback(platform.clean_up)
            addresses = (platform.gateway, platform.grpc)
            wires = [await stack.enter_async_context(Wire(tcp(address)).listening()) for address in addresses]
            user = self.trial.user(*(wire.address for wire in wires))
            stack.push_async_callback(user.close)
            platform.start()
            await platform.ready()
            async with self.trial.at_work(user) as busy:
                for kind in self._cuts:
                    await asyncio.sleep(self._random.uniform(0.05, 0.4))
                    await self._cut(kind, platform, user, wires)
                    if busy.done():
                        busy.result()
            await platform.stop()
            return await self.trial.settle(platform, user)

    async def _cut(self, kind: str, platform: PlatformProcess, user: User, wires: list[Wire]) -> None:
        match kind:
            case "reader":
                for follower in self._random.sample(user.followers, len(user.followers) // 2):
                    follower.cut()
            case "wire":
                for wire in wires:
                    wire.cut()
            case "gateway":
                self.trial.struck(CUTS[kind])
                platform.kill_gateway()
                assert await platform.ended() == 1, platform.log.read_text()[-4000:]
                platform.start()
                await platform.ready()
            case "stop":
                await platform.stop()
                platform.start()
                await platform.ready()

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(title, {CUTS[kind]: count for kind, count in self.kinds.items()})
