"""Finding Redis by the settings: what is wrong in them is told, and a Redis that is away is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from conftest import RunningRedis
from pydantic import SecretStr, ValidationError

from algotrade.platform.metrics import Metrics
from algotrade.platform.redis import AWAY, RedisClient, RedisUnusable, answer, open_redis, probe
from algotrade.platform.settings import Settings
from algotrade.stack.certificates import Certificates, make_certificates
from algotrade.stack.redis import redis_server


@pytest.fixture(scope="module")
def certificates(data_dir: Path) -> Certificates:
    return make_certificates(data_dir / "redis-certificates")


@pytest.fixture(scope="module")
async def secure(data_dir: Path, certificates: Certificates) -> AsyncIterator[str]:
    """Run a Redis that takes TLS alone; return its URL."""
    async with redis_server(data_dir / "redis-tls", password="not-a-secret", certificates=certificates) as url:
        yield url


def found_by(url: str, **changes: Any) -> Settings:
    return Settings(redis_url=SecretStr(url), **{"redis_timeout_seconds": 2, **changes})


async def test_without_a_url_there_is_none() -> None:
    async with open_redis(Settings(), Metrics()) as client:
        assert client is None


async def test_over_tls_with_its_authority(secure: str, certificates: Certificates) -> None:
    metrics = Metrics()
    async with open_redis(found_by(secure, redis_ca=certificates.authority), metrics) as client:
        assert client is not None
        await client.set("key", b"value")
        assert await client.get("key") == b"value"
        await probe(client, metrics)
        assert (metrics.registry.get_sample_value("algotrade_redis_memory_bytes") or 0) > 100_000


@pytest.mark.parametrize("authority", ["the system's", "another"])
async def test_a_certificate_of_somebody_else_is_refused(secure: str, tmp_path: Path, authority: str) -> None:
    ca = make_certificates(tmp_path).authority if authority == "another" else None
    with pytest.raises(RedisUnusable, match=r"^ALGOTRADE_REDIS_CA: the certificate of Redis at 127\.0\.0\.1:"):
        async with open_redis(found_by(secure, redis_ca=ca), Metrics()):
            pass


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_wrong_password_is_told_without_it(
    running_redis: RunningRedis, secure: str, certificates: Certificates, password: str, *, tls: bool
) -> None:
    url = (secure if tls else running_redis.url).replace("not-a-secret", password)
    with pytest.raises(RedisUnusable, match=r"^ALGOTRADE_REDIS_URL: .* refuses the password$") as caught:
        async with open_redis(found_by(url, redis_ca=certificates.authority if tls else None), Metrics()):
            pass
    assert "wrong" not in str(caught.value)


async def test_one_that_is_away_is_waited_for_by_nobody(running_redis: RunningRedis) -> None:
    await running_redis.server.kill()
    try:
        async with open_redis(found_by(running_redis.url), Metrics()) as client:
            assert client is not None
            with pytest.raises(AWAY):
                await client.get("key")
            await running_redis.restart()
            assert await client.get("key") is None
    finally:
        await running_redis.restart()


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://", "rediss:///0"])
def test_what_is_no_url_of_redis_is_refused_by_its_variable(url: str) -> None:
    with pytest.raises(ValidationError, match="redis_url"):
        Settings(redis_url=SecretStr(url))


async def test_no_cancellation_is_lost_to_a_call(redis: RedisClient) -> None:
    """Cancel at every step of a call, among them the one at which it has just been written."""

    async def asks_for_ever() -> None:
        while True:
            await answer(redis.get("nothing"))

    for steps in range(100):
        asking = asyncio.create_task(asks_for_ever())
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking}, timeout=5)
        assert asking.cancelled(), steps
