"""`algotrade topics`: the topics of the event bus in Kafka, made where they are missing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.platform.kafka_topics import Report


def topics(json: JsonOption = False) -> None:
    """Make the topics that Kafka lacks, and tell what is otherwise than it should be. Twice is as good as once.

    Nothing that is there is changed. A topic with another number of partitions is a failure: no service starts on it.
    """
    with failures_told(as_json=json):
        report = asyncio.run(_make())
        if json:
            print_json({"created": report.created, "differences": [asdict(one) for one in report.differences]})
        else:
            typer.echo("\n".join(_lines(report)))
        if any(one.what == "partitions" for one in report.differences):
            raise typer.Exit(1)


def _lines(report: Report) -> list[str]:
    lines = [f"made     {name}" for name in report.created]
    lines += [f"differs  {one.topic}: {one.what} is {one.found}, not {one.wanted}" for one in report.differences]
    return lines or ["Every topic is there, as it should be."]


async def _make() -> Report:
    from algotrade.platform.bus import BusError
    from algotrade.platform.kafka import Cluster
    from algotrade.platform.kafka_topics import make_topics
    from algotrade.platform.settings import Settings
    from algotrade.platform.topics import TOPICS

    settings = Settings()
    if settings.bus != "kafka":
        raise CommandError("bus_is_the_database", "the event bus is the database's; ALGOTRADE_BUS=kafka names Kafka")
    cluster = Cluster.of(settings)
    try:
        await cluster.reach()
        return await make_topics(cluster, TOPICS)
    except BusError as error:
        raise CommandError("bus_failed", str(error)) from error
