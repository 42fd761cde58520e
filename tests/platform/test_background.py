"""Tasks end when they are told to, whatever they make of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from algotrade.platform import background
from algotrade.platform.background import end, together


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


async def test_who_ends_tasks_is_cancelled_when_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    began = asyncio.Event()
    task = asyncio.create_task(deaf(began))
    await began.wait()
    ending = asyncio.create_task(end(task))
    await asyncio.sleep(0)  # it has begun to wait
    ending.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await ending
    assert task.cancelled()


async def test_work_ends_what_runs_beside_it() -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)

    async def watching() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("watched")

    async with asyncio.timeout(30):
        await together(work("one"), work("two"), beside=(watching(), work("three")))
    assert sorted(done) == ["one", "three", "two", "watched"]


@pytest.mark.parametrize("beside", [False, True])
async def test_what_fails_ends_what_runs_with_it(beside: bool) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        await began.wait()
        raise ValueError("the reason")

    async def runs() -> None:
        try:
            await for_ever(began)
        finally:
            ended.set()

    async with asyncio.timeout(30):
        with pytest.raises(ValueError, match="the reason"):
            await (together(runs(), beside=(fails(),)) if beside else together(runs(), fails()))
    assert ended.is_set()


async def test_tasks_together_end_though_one_loses_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    began, beside = asyncio.Event(), asyncio.Event()
    others = asyncio.all_tasks()
    task = asyncio.create_task(together(deaf(began), beside=(together(deaf(beside)),)))
    await asyncio.gather(began.wait(), beside.wait())
    made = asyncio.all_tasks() - others
    async with asyncio.timeout(30):
        await end(task)
    assert task.cancelled()
    assert len(made) == 4
    assert all(one.cancelled() for one in made)


async def test_it_runs_while_the_context_is_open() -> None:
    began = asyncio.Event()
    async with asyncio.timeout(30):
        async with background.background(for_ever(began), "test") as task:
            await began.wait()
            assert task.get_name() == "test"
        assert task.cancelled()
