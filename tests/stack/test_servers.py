"""The real servers start, answer, survive what a power cut does, and end when they are told."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from algotrade.stack.certificates import make_certificates
from algotrade.stack.kafka import kafka, kafka_server
from algotrade.stack.postgres import postgres, postgres_server
from algotrade.stack.process import StackError, running
from algotrade.stack.redis import redis


async def topics(address: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return await admin.list_topics()
    finally:
        await admin.close()


async def test_kafka_starts_answers_comes_back_after_a_kill_and_ends(data_dir: Path) -> None:
    server, address = kafka(data_dir / "kafka-alone")
    async with running(server):
        first = server.pid
        assert await topics(address) == []
        await server.kill()
        assert not psutil.pid_exists(first)
        await server.start()
        assert await topics(address) == []
        last = server.pid
    assert not psutil.pid_exists(last)


async def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match="make servers"):
        async with kafka_server(tmp_path, libs=tmp_path):
            pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="no java"):
        kafka(tmp_path)


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(data_dir: Path) -> None:
    server, _ = kafka(data_dir / "kafka-broken")
    (data_dir / "kafka-broken" / "server.properties").write_text("process.roles=broker,controller\n")
    with pytest.raises(StackError, match=r"kafka ended with 1[\s\S]+Exception"):
        await server.start()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_postgres_wants_the_password_and_keeps_its_rows(data_dir: Path, encrypted: bool) -> None:
    directory = data_dir / f"postgres-{encrypted}"
    certificates = make_certificates(data_dir / "tls") if encrypted else None
    server, dsn = postgres(directory, password="right", certificates=certificates)
    async with running(server):
        connection = await asyncpg.connect(dsn, ssl="require" if encrypted else False)
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is encrypted
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn.replace("right", "wrong"))
        if encrypted:
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await asyncpg.connect(dsn, ssl=False)
        await server.kill()
    async with postgres_server(directory, password="right", certificates=certificates) as again:
        connection = await asyncpg.connect(again)
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_redis_wants_the_password_and_keeps_nothing(data_dir: Path, encrypted: bool) -> None:
    directory = data_dir / f"redis-{encrypted}"
    certificates = make_certificates(data_dir / "tls") if encrypted else None
    trust = {"ssl_ca_certs": str(certificates.authority)} if certificates else {}
    server, url = redis(directory, password="right", certificates=certificates)
    async with running(server):
        first = server.pid
        assert (directory / "redis.conf").stat().st_mode & 0o077 == 0
        async with Redis.from_url(url, **trust) as client:
            await client.set("key", "value")
        async with Redis.from_url(url.replace("right", "wrong"), **trust) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()
        await server.kill()
        await server.start()
        async with Redis.from_url(url, **trust) as client:
            assert await client.get("key") is None
        last = server.pid
    assert not psutil.pid_exists(first)
    assert not psutil.pid_exists(last)
