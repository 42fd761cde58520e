"""`algotrade events`: what passes over the event bus."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated

import orjson
import typer

from algotrade.cli.failure import CommandError, failures_told

events = typer.Typer(name="events", help="What passes over the event bus.", no_args_is_help=True, rich_markup_mode=None)


@events.callback()
def _group() -> None:
    pass


@events.command()
def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="For example trade-executions.")],
    last: Annotated[int, typer.Option(min=0, max=1000, help="Begin so many records a partition before the end.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end instead of waiting for more.")] = False,
) -> None:
    """Print a topic's newest records, each a line of JSON, and then those that come. Ctrl-C stops it."""
    with failures_told(as_json=False):
        asyncio.run(_tail(topic, last, once=once))


async def _tail(name: str, last: int, *, once: bool) -> None:
    from algotrade.platform import log
    from algotrade.platform.bus import BusError
    from algotrade.platform.database import open_database
    from algotrade.platform.events import as_values
    from algotrade.platform.metrics import Metrics
    from algotrade.platform.process import open_bus
    from algotrade.platform.settings import Settings
    from algotrade.platform.topics import TOPICS

    settings = Settings()
    found = {topic.name: topic for topic in TOPICS}.get(name)
    if found is None:
        known = ", ".join(topic.name for topic in TOPICS)
        raise CommandError("unknown_topic", f"{name} is no topic; there are {known}")
    log.configure(settings.model_copy(update={"log_level": "error"}), sys.__stderr__)
    try:
        async with open_database(settings) as database, open_bus(settings, Metrics(), database) as bus:
            bounds = [await bus.bounds(found, partition) for partition in range(found.partitions)]
            positions = {p: max(each.earliest, each.end - last) for p, each in enumerate(bounds)}
            waiting = {p for p, each in enumerate(bounds) if positions[p] < each.end}
            if once and not waiting:
                return
            async with aclosing(bus.subscribe(found, positions, 100)) as batches:
                async for records in batches:
                    sys.stdout.writelines(orjson.dumps(as_values(record)).decode() + "\n" for record in records)
                    sys.stdout.flush()
                    if records[-1].offset + 1 >= bounds[records[-1].partition].end:
                        waiting.discard(records[-1].partition)
                    if once and not waiting:
                        return
    except BusError as error:
        raise CommandError("bus_failed", str(error)) from error
