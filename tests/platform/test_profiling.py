"""A profile of a running process, on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from algotrade.platform.profiling import profiles
from algotrade.platform.settings import Settings


def busy_for_a_while() -> int:
    return sum(number * number for number in range(30_000))


async def test_a_signal_begins_a_profile_and_another_writes_it(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    async with profiles(settings.model_copy(update={"profiles_dir": folder, "profile_seconds": 600.0})):
        for count in (1, 2):
            os.kill(os.getpid(), signal.SIGUSR2)
            for _ in range(20):  # turns of the loop, which sees the signal in one of the first
                await asyncio.sleep(0)
                busy_for_a_while()
            os.kill(os.getpid(), signal.SIGUSR2)
            async with asyncio.timeout(20):
                while len(list(folder.glob("*.html"))) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0)
    pages = sorted(folder.glob("*.html"))
    assert [page.name for page in pages] == [f"profile-{os.getpid()}-{number}.html" for number in (1, 2)]
    assert all("busy_for_a_while" in page.read_text() for page in pages)


async def test_its_time_being_up_or_the_end_of_the_process_writes_it(settings: Settings, tmp_path: Path) -> None:
    for seconds in (0.05, 600.0):
        folder = tmp_path / str(seconds)
        async with profiles(settings.model_copy(update={"profiles_dir": folder, "profile_seconds": seconds})):
            os.kill(os.getpid(), signal.SIGUSR2)
            async with asyncio.timeout(20):
                while seconds < 1 and not list(folder.glob("*.html")):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)
        assert len(list(folder.glob("*.html"))) == 1
