"""Tasks end when they are told to, whatever they make of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from algotrade.platform import background
from algotrade.platform.background import end


async def for_ever(began: asyncio.Event) -> None:
    began.set()
    await asyncio.Event().wait()


async def deaf(began: asyncio.Event) -> None:
    """Lose the first cancellation, as a wait that ends at the same moment does."""
    with suppress(asyncio.CancelledError):
        await for_ever(began)
    await asyncio.Event().wait()


@pytest.mark.parametrize("work", [for_ever, deaf])
async def test_what_runs_for_ever_ends(monkeypatch: pytest.MonkeyPatch, work: object) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    began = asyncio.Event()
    task = asyncio.create_task(work(began))  # type: ignore[operator]
    await began.wait()
    async with asyncio.timeout(30):
        await end(task)
    assert task.cancelled()


async def test_what_fails_is_ended_with_all_others() -> None:
    async def fails() -> None:
        raise ValueError

    began = asyncio.Event()
    failing, running = asyncio.create_task(fails()), asyncio.create_task(for_ever(began))
    await began.wait()
    async with asyncio.timeout(30):
        await end(failing, running)
    assert isinstance(failing.exception(), ValueError)
    assert running.cancelled()


async def test_it_runs_while_the_context_is_open() -> None:
    began = asyncio.Event()
    async with asyncio.timeout(30):
        async with background.background(for_ever(began), "test") as task:
            await began.wait()
            assert task.get_name() == "test"
        assert task.cancelled()
