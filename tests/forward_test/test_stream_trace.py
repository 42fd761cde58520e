"""One trace from the commit of what a session did to the streams that tell of it, in this process and in another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from collector import collecting
from forward_test.test_stream import EAGER, TICKS, push, read
from forward_test.test_workers import shared_out
from market_data.feeds import ManualFeed

from algotrade.forward_test.build import build
from algotrade.platform import tracing
from algotrade.platform.process import Platform, serving

# What is stored before a process listens to another is found in the store, without a trace; it listens to four topics,
# and takes a look as each begins.
EVENTS = 6
STREAM = "algotrade.v1.ForwardTestService/StreamSession"


async def test_a_commit_leads_to_every_stream_that_tells_of_it(
    trader: Any, feed: ManualFeed, platform: Platform, upstream: Any, open_channel_to: Any
) -> None:
    here = partial(build, upstream=open_channel_to(upstream))
    other = replace(platform, settings=platform.settings.model_copy(update={"worker_name": "second"}))
    async with collecting() as collector, asyncio.timeout(60):
        on = platform.settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        async with (
            tracing.tracing(on, "test"),
            serving(platform, [here]) as first,
            serving(other, [here]) as second,
        ):
            await shared_out(platform, "worker", "second")
            ada = await trader(on=first)
            session = await ada.started(EAGER, "AAA", settings=TICKS)
            eve = await trader(on=second, user_id=ada.user_id)
            streams = [one.stream(session) for one in (ada, eve)]
            for stream in streams:
                await read(stream, "snapshot")
            push(feed, 0, 10)
            for number in range(1, EVENTS + 1):
                push(feed, number, 10)
                for stream in streams:
                    assert (await read(stream, "event")).sequence == number
            for stream in streams:
                stream.cancel()
            await collector.until_came("session.stream", "session.commit")
    calls = {span.trace_id: span for span in collector.named(STREAM)}
    told = list(collector.named("session.stream"))
    assert {link.trace_id for span in told for link in span.links} == set(calls), "each names the stream it was for"
    assert {span.trace_id for span in told} <= {span.trace_id for span in collector.named("session.commit")}
    assert not calls.keys() & {span.trace_id for span in told}
