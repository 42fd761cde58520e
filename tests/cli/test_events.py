"""`algotrade topics` and `algotrade events tail`, on a real Kafka and on the table."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable

import pytest
from cli.answers import Answer, Call
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.bus import Message
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.events import MESSAGES
from algotrade.platform.kafka import Cluster
from algotrade.platform.topics import DEAD_LETTERS, TOPICS, TRADE_EXECUTIONS
from algotrade.v1.events_pb2 import TradeExecution


@pytest.fixture
def ask(call: Call, database: AsyncEngine, database_url, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Return ``await ask(arguments…)``: a command's answer on the tests' database."""
    monkeypatch.setenv("ALGOTRADE_DATABASE_DSN", database_url.render_as_string(hide_password=False))

    async def run(*arguments: object) -> Answer:
        return await asyncio.to_thread(call, *arguments)

    return run


@pytest.fixture
def on_kafka(kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("ALGOTRADE_BUS", "kafka")
    monkeypatch.setenv("ALGOTRADE_KAFKA_SERVERS", kafka.servers)
    monkeypatch.setenv("ALGOTRADE_KAFKA_PREFIX", kafka.prefix)
    return kafka


async def test_topics_are_made_once(ask, on_kafka: Cluster) -> None:
    first = await ask("topics", "--json")
    assert first.code == 0
    assert json.loads(first.out) == {"created": [on_kafka.prefix + topic.name for topic in TOPICS], "differences": []}
    again = await ask("topics")
    assert (again.code, again.out.strip()) == (0, "Every topic is there, as it should be.")


async def test_without_kafka_there_are_no_topics_to_make(ask) -> None:
    answer = await ask("topics", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["error"]["code"] == "bus_is_the_database"


async def test_a_kafka_that_is_not_there_is_named(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algotrade.platform.kafka.START_ATTEMPTS", 1)
    monkeypatch.setenv("ALGOTRADE_BUS", "kafka")
    monkeypatch.setenv("ALGOTRADE_KAFKA_SERVERS", "127.0.0.1:9")
    answer = await ask("topics")
    assert answer.code == 1
    assert "127.0.0.1:9" in answer.err
    assert "ALGOTRADE_KAFKA_SERVERS" in answer.err


async def test_the_newest_records_are_printed_as_json(ask, bus: PostgresBus) -> None:
    told = TradeExecution(user_id="u", session_id="s", symbol="AAA")
    await bus.publish(TRADE_EXECUTIONS, [Message("s", told.SerializeToString()) for _ in range(3)])
    await bus.publish(DEAD_LETTERS, [Message("s", b"\xff")])
    answer = await ask("events", "tail", "trade-executions", "--last", "2", "--once")
    assert answer.code == 0, answer.err
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["offset"] for line in lines] == [1, 2]
    assert lines[0]["value"] == {"user_id": "u", "session_id": "s", "symbol": "AAA"}
    assert lines[0]["headers"]["content-type"] == "application/protobuf"
    (letter,) = (await ask("events", "tail", "dead-letters", "--once")).out.splitlines()
    assert base64.b64decode(json.loads(letter)["payload"]) == b"\xff"
    assert (await ask("events", "tail", "portfolio-updates", "--once")).out == ""


async def test_an_unknown_topic_is_told_with_those_there_are(ask) -> None:
    answer = await ask("events", "tail", "trades")
    assert answer.code == 1
    assert "trade-executions" in answer.err


def test_every_topic_has_its_message() -> None:
    assert {topic.name for topic in TOPICS} - {DEAD_LETTERS.name} == set(MESSAGES)
