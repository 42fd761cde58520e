"""Metrics: what the page says is what there is, and what must be waited for is counted."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from sqlalchemy import text
from sqlalchemy.engine import URL

from algotrade.platform.bus import Message
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.database import open_engine
from algotrade.platform.metrics import Metrics
from algotrade.platform.sampling import sampling
from algotrade.platform.settings import Settings
from algotrade.platform.topics import TRADE_EXECUTIONS

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
ROW = re.compile(
    r"\| `(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})?` \| (?P<type>counter|gauge|histogram) \| (?P<text>.*) \|"
)
UNBOUNDED = {"user", "user_id", "session", "session_id", "path", "correlation_id", "reason_text", "email"}


def registered() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Return type, labels and help by name, as they are exposed."""
    found = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            found[name] = (metric._type, tuple(metric._labelnames), metric._documentation)
    return found


def test_the_page_has_every_metric_as_it_is() -> None:
    documented = {
        row["name"]: (row["type"], tuple(filter(None, (row["labels"] or "").split(", "))), row["text"])
        for row in map(ROW.fullmatch, PAGE.read_text().splitlines())
        if row
    }
    assert documented == registered(), "the table of docs/observability.md and platform/metrics.py differ"
    families = {family.name for family in Metrics().registry.collect()}
    assert {name.removesuffix("_total") for name in registered()} == {
        name for name in families if not name.startswith("process_")
    }, "a metric that is no attribute is not on the page either"


def test_every_metric_has_a_sentence_and_no_label_without_a_bound() -> None:
    for name, (_, labels, sentence) in registered().items():
        assert sentence.endswith("."), name
        assert not UNBOUNDED.intersection(labels), name


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_who_waits_for_a_connection_is_counted(database_url: URL, session_settings: Settings) -> None:
    metrics = Metrics()
    settings = session_settings.model_copy(update={"database_pool_size": 2})
    async with open_engine(database_url, settings, metrics) as engine:
        held = [await engine.connect() for _ in range(2)]
        assert value(metrics, "algotrade_database_connections", state="in_use") == 2
        assert value(metrics, "algotrade_database_checkout_waits_total") == 0
        third = asyncio.create_task(engine.connect().start())
        assert not (await asyncio.wait([third], timeout=0.05))[0]  # it has begun, and waits
        assert value(metrics, "algotrade_database_checkout_waits_total") == 1
        for connection in held:
            await connection.close()
        await (await third).close()
        assert value(metrics, "algotrade_database_connections", state="idle") == 2
        assert value(metrics, "algotrade_database_connections", state="in_use") == 0
        assert value(metrics, "algotrade_database_pool_size") == 2
        assert value(metrics, "algotrade_database_checkout_seconds_count") == 3


async def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(
    database_url: URL, session_settings: Settings
) -> None:
    async with open_engine(database_url, session_settings) as engine, engine.connect() as connection:
        with pytest.raises(Exception, match="nowhere") as caught:
            await connection.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "hunter2"})
        assert "hunter2" not in str(caught.value)


async def test_reads_of_the_bus_are_counted_by_where_they_were_answered(bus: PostgresBus) -> None:
    metrics: Any = bus._metrics
    topic = TRADE_EXECUTIONS
    [record] = await bus.publish(topic, [Message("one", b"x")])
    await bus.read(topic, record.partition, record.offset, 10)
    await PostgresBus(bus._engine, metrics).read(topic, record.partition, record.offset, 10)
    for source in ("memory", "table"):
        assert value(metrics, "algotrade_bus_reads_total", topic=topic.name, source=source) == 1
    for timed in ("read", "append", "publish"):
        assert value(metrics, f"algotrade_bus_{timed}_seconds_count", topic=topic.name) == 1


async def test_a_sample_that_fails_keeps_no_other_from_being_taken() -> None:
    taken = asyncio.Event()
    rounds = 0

    async def fails() -> None:
        raise ConnectionError

    async def count() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            taken.set()

    async with asyncio.timeout(10), sampling(0.01, fails, count):
        await taken.wait()
