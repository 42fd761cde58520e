"""A process that is started again whenever it ends by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from algotrade.platform.log import logger
from algotrade.stack.process import Server, StackError

log = logger(__name__)

AGAIN_SECONDS: Final = 1.0


async def keep(server: Server) -> None:
    """Start a server again whenever it ends, for ever."""
    while True:
        try:
            await server.ended()
        except StackError as error:
            log.warning("stack.ended", part=server.name, error=str(error).splitlines()[0])
        await asyncio.sleep(AGAIN_SECONDS)
        with suppress(StackError):  # and then it has ended again
            await server.start()
            log.info("stack.started_again", part=server.name)
