"""StreamNotifications: each notification once and in order, however often the stream is cut."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest

from algotrade.notification.audience import CHANNEL, Audience
from algotrade.notification.build import build
from algotrade.platform.background import background
from algotrade.platform.cache import MemoryCache
from algotrade.platform.errors import info
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import USER_NOTIFICATIONS

PATIENCE = 30


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_seconds": 0.05, "streams_per_user": 50})


async def follow(reader: Any, after: int, last: int, cut: int) -> list[int]:
    """Return the sequences that come behind a cursor up to one, with a cut after every so many."""
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while not seen or seen[-1] < last:
            stream = reader.stream(seen[-1] if seen else after)
            taken = 0
            async for message in stream:
                if message.HasField("notification"):
                    assert message.sequence == message.notification.sequence
                    seen.append(message.sequence)
                    taken += 1
                    if taken == cut or seen[-1] >= last:
                        break
            stream.cancel()
    return seen


async def test_a_cut_stream_goes_on_from_its_cursor(reader: Any, trading: Any) -> None:
    ada, bob = await reader(), await reader()
    mine, theirs = trading(ada), trading(bob)
    following = [asyncio.create_task(follow(ada, 0, 40, cut)) for cut in (1, 7, 100)]
    for _ in range(40):
        await mine.entry()
        await theirs.entry()
    for task in following:
        assert await task == list(range(1, 41))


async def test_from_now_on(reader: Any, trading: Any) -> None:
    ada = await reader()
    session = trading(ada)
    await session.entry()
    await ada.inbox(1)
    stream = ada.stream()
    assert (await stream.read()).WhichOneof("payload") == "heartbeat", "now it is open"
    await session.entry()
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if message.HasField("notification"):
                assert message.sequence == 2
                break
    stream.cancel()


async def test_silence_is_broken_by_heartbeats(reader: Any) -> None:
    ada = await reader()
    stream = ada.stream()
    for _ in range(2):
        message = await stream.read()
        assert (message.WhichOneof("payload"), message.sequence) == ("heartbeat", 0)
        assert message.heartbeat.time.seconds > 0
    stream.cancel()


async def test_a_cursor_past_the_newest(reader: Any, trading: Any) -> None:
    ada = await reader()
    await trading(ada).entry()
    await ada.inbox(1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ada.stream(2).read()
    assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")
    assert info(caught.value).metadata["last_sequence"] == "1"


async def test_what_came_while_nobody_told_is_found_at_the_next_look(
    reader: Any, trading: Any, serve: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's collector stores, and dies before it tells."""
    other = replace(platform)
    publish = platform.bus.publish

    async def lose(topic: Any, messages: Any) -> Any:
        if topic is USER_NOTIFICATIONS:
            raise ConnectionError("killed")
        return await publish(topic, messages)

    monkeypatch.setattr(platform.bus, "publish", lose)
    monkeypatch.setattr("algotrade.notification.audience.Audience.tell", lambda *_: None)
    server = await serve(build, on=other)
    ada = await reader(on=server)
    stream = ada.stream(0)
    await trading(ada).entry()
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if message.HasField("notification"):
                break
    assert message.sequence == 1
    stream.cancel()


async def test_a_user_has_so_many_streams_and_no_more(reader: Any, trading: Any) -> None:
    ada, bob = await reader(), await reader()
    streams = [ada.stream(0) for _ in range(200)]

    async def first(stream: Any) -> str:
        try:
            return (await stream.read()).WhichOneof("payload")
        except grpc.aio.AioRpcError as error:
            return info(error).reason

    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*map(first, streams))
    assert (found.count("heartbeat"), found.count("LIMIT_REACHED")) == (50, 150)
    other = bob.stream(0)
    assert (await other.read()).HasField("heartbeat"), "another user is not held up"
    await trading(ada).entry()
    async with asyncio.timeout(PATIENCE):
        for stream, payload in zip(streams, found, strict=True):
            while payload == "heartbeat" and not (await stream.read()).HasField("notification"):
                pass
    for stream in [*streams, other]:
        stream.cancel()


async def test_news_that_the_cache_tells_wakes_whom_it_concerns_though_the_bus_is_silent() -> None:
    class SilentBus:
        async def ends(self, topic: Any) -> Any:
            await asyncio.Event().wait()

    audience, cache = Audience(), MemoryCache(Metrics())
    with audience.waiting("ada") as ada, audience.waiting("bob") as bob:
        async with background(audience.listen(SilentBus(), cache), "audience"), asyncio.timeout(20):  # type: ignore[arg-type]
            await asyncio.gather(ada.wait(), bob.wait())  # there may have been news before anybody listened
            ada.clear()
            bob.clear()
            await cache.publish(CHANNEL, b"ada")
            await ada.wait()
            assert not bob.is_set()
