"""A profile of a running process, for whoever wants to know where its time goes: off until a signal asks for it.

SIGUSR2 begins one where `ALGOTRADE_PROFILES_DIR` names a folder; after `ALGOTRADE_PROFILE_SECONDS`, or with the next
SIGUSR2, it is written there, to be read in a browser. While none is taken nothing is measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from algotrade.platform.log import logger
from algotrade.platform.settings import Settings

log = logger(__name__)


@asynccontextmanager
async def profiles(settings: Settings) -> AsyncIterator[None]:
    """Take profiles when asked, while the context is open."""
    if settings.profiles_dir is None:
        yield
        return
    loop, profiler = asyncio.get_running_loop(), _Profiler(settings.profiles_dir, settings.profile_seconds)
    loop.add_signal_handler(signal.SIGUSR2, profiler.asked)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR2)
        profiler.finish()


class _Profiler:
    """Profiles of this process's event loop, one after another."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._taken = 0
        self._running: tuple[object, asyncio.TimerHandle] | None = None

    def asked(self) -> None:
        """Begin a profile, or end the one that is taken."""
        if self._running is not None:
            self.finish()
            return
        from pyinstrument import Profiler

        profiler = Profiler(async_mode="disabled")  # all tasks together: which of them has the loop is the question
        profiler.start()
        self._running = profiler, asyncio.get_running_loop().call_later(self._seconds, self.finish)
        log.info("profile.started", seconds=self._seconds)

    def finish(self) -> None:
        """Write the profile that is taken, if one is."""
        from pyinstrument import Profiler

        if self._running is None:
            return
        (profiler, timer), self._running = self._running, None
        timer.cancel()
        assert isinstance(profiler, Profiler)  # noqa: S101  (made above)
        profiler.stop()
        self._taken += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"profile-{os.getpid()}-{self._taken}.html"
        profiler.write_html(path)
        log.info("profile.written", path=str(path))
