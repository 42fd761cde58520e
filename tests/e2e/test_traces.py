"""One trace from the gateway to a record's reader, over the whole platform with a real Kafka and a real collector."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from collector import collecting
from e2e.test_observed import EMAIL, PASSWORDS, TRACE, trade
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import SecretStr
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.cli.serve import everything, fixed_addresses
from algotrade.platform.kafka import Cluster
from algotrade.platform.settings import Settings

SESSIONS = "algotrade.v1.ForwardTestService"


@pytest.fixture
def traced(settings: Settings, database: AsyncEngine, database_url: URL, kafka: Cluster, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={
            "data_dir": tmp_path,
            "database_dsn": SecretStr(database_url.render_as_string(hide_password=False)),
            "gateway_address": "127.0.0.1:0",
            "envoy_admin_address": "127.0.0.1:0",
            "bus": "kafka",
            "kafka_servers": kafka.servers,
            "kafka_prefix": kafka.prefix,
            "market_providers": ("replay",),
        }
    )


async def test_a_call_and_a_trade_are_each_one_trace(traced: Settings) -> None:
    async with collecting() as collector, asyncio.timeout(120):
        settings = fixed_addresses(traced.model_copy(update={"otlp_endpoint": collector.endpoint}))
        async with everything(settings) as gateway, httpx.AsyncClient(base_url=f"http://{gateway.address}") as http:
            account = {"email": EMAIL, "password": PASSWORDS[0]}
            assert (await http.post("/v1/identity/register", json=account, timeout=20)).is_success
            token = (await http.post("/v1/identity/login", json=account, timeout=20)).json()["token"]["token"]
            await trade(http, token)

            saved = ("algotrade.v1.StrategyService/CreateStrategy", "gateway")
            await collector.until_came("INSERT", *saved)
            await collector.until_came("publish strategy-compilations", *saved)
            await collector.until_came("INSERT", "process strategy-compilations", *saved)
            asked = f"/{SESSIONS.replace('ForwardTest', 'Strategy')}/GetStrategy"
            await collector.until_came("SELECT", asked.lstrip("/"), asked, f"{SESSIONS}/CreateSession", "gateway")
            started = (f"{SESSIONS}/StartSession", "gateway")
            await collector.until_came("UPDATE", "process forward-test-events", *started)
            await collector.until_came("publish trade-executions", "session.commit")
            await collector.until_came("INSERT", "process trade-executions", "session.commit")

    spans = [span for _, span in collector.spans.values()]
    [start] = collector.named(started[0])
    assert start.trace_id.hex() == TRACE.split("-")[1]  # the one that the client brought along
    assert all(span.parent_span_id for span in spans if span.kind == Span.SPAN_KIND_CLIENT)  # of somebody's work
    everything_told = "\n".join(map(str, spans))
    assert [secret for secret in (EMAIL, PASSWORDS[0], token[-40:]) if secret in everything_told] == []
