"""What the tests of the mesh share: one PostgreSQL a worker, a platform on empty tables, servers at port 0, callers.

Everything asynchronous runs in one event loop for the whole session, as grpc.aio wants it.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import hypothesis
import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr
from redis.asyncio import RedisCluster
from shared_server import shared_kafka
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.bus_kafka import kafka_bus
from algotrade.platform.bus_outbox import BusOutbox
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.channel import open_channel
from algotrade.platform.clock import Clock, SystemClock
from algotrade.platform.database import migrate, open_engine
from algotrade.platform.embedded import embedded_server
from algotrade.platform.kafka import Cluster
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Builder, Platform, keep_what_is_loaded, serving
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.server import GrpcServer
from algotrade.platform.settings import Settings
from algotrade.platform.topics import TOPICS
from algotrade.stack.process import Server, running
from algotrade.stack.redis import redis as redis_of
from algotrade.stack.redis import redis_cluster

Serve = Callable[..., Awaitable[GrpcServer]]
Connect = Callable[..., grpc.aio.Channel]

# How long an example takes says how busy the machine is: speed is measured in bench/.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")


def pytest_collection() -> None:
    """Load and collect without looking for garbage in it; see `keep_what_is_loaded`."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Begin."""
    keep_what_is_loaded()


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """Return a directory for the session; short, since a Unix socket lives in it."""
    path = Path(tempfile.mkdtemp(prefix="at-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def session_settings(data_dir: Path) -> Settings:
    """Return settings with free ports, and bounds that do not make a test wait."""
    return Settings(
        data_dir=data_dir,
        grpc_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
        database_pool_size=5,
        idle_in_transaction_seconds=20,
        shutdown_grace_seconds=1,
        bus_poll_seconds=0.25,
        chart_seconds=0.2,
        pages_dir=None,  # whether a frontend was built is no matter of these tests
        check_seconds=3600.0,  # tests that alter what is stored check it themselves
        log_level="warning",
    )


@pytest.fixture
def settings(session_settings: Settings) -> Settings:
    """Return the settings; a test module may override this to change some for its platform."""
    return session_settings


@pytest.fixture(scope="session")
async def database_url(data_dir: Path) -> AsyncIterator[URL]:
    """Run PostgreSQL for the session; it need not survive a power cut."""
    async with embedded_server(data_dir / "postgres") as url:
        yield url


@pytest.fixture(scope="session")
async def migrated(database_url: URL, session_settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Open the session's database at the newest revision."""
    async with open_engine(database_url, session_settings) as engine:
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("ALTER SYSTEM SET fsync = off"))
            await connection.execute(text("SELECT pg_reload_conf()"))
        await migrate(engine)
        yield engine


_TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND NOT relispartition AND relname <> 'alembic_version'"""
_RESTART = """
    SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences
    WHERE last_value IS NOT NULL"""


@pytest.fixture
async def database(migrated: AsyncEngine) -> AsyncEngine:
    """Return the database with every table empty and every number at its beginning.

    TRUNCATE of them all takes fifty times as long: most are empty anyhow.
    """
    async with migrated.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger, no foreign key
        tables = [f'"{name}"' for name in await connection.scalars(text(_TABLES))]
        filled = " UNION ALL ".join(f"SELECT '{one}' WHERE EXISTS (SELECT FROM {one})" for one in tables)
        for table in (await connection.scalars(text(filled))).all():
            await connection.execute(text(f"DELETE FROM {table}"))
        await connection.execute(text(_RESTART))
    return migrated


@pytest.fixture
async def bus(database: AsyncEngine, settings: Settings) -> PostgresBus:
    """Return the event bus with every topic empty."""
    bus = PostgresBus(database, Metrics(), settings.bus_poll_seconds)
    await bus.create_topics(TOPICS)
    return bus


@dataclass(frozen=True)
class RunningRedis:
    """Redis, and where it is."""

    server: Server
    url: str

    async def restart(self) -> None:
        """Kill it and start it again, empty."""
        await self.server.kill()
        await self.server.start()


@pytest.fixture(scope="session")
async def running_redis(data_dir: Path) -> AsyncIterator[RunningRedis]:
    """Run Redis for the session. A test that ends it starts it again."""
    server, url = redis_of(data_dir / "redis", password="not-a-secret")
    async with running(server):
        yield RunningRedis(server, url)


@pytest.fixture
async def redis(running_redis: RunningRedis) -> AsyncIterator[RedisClient]:
    """Return a client of a Redis with nothing in it."""
    settings = Settings(redis_url=SecretStr(running_redis.url), redis_timeout_seconds=5)
    async with open_redis(settings, Metrics()) as client:
        assert client is not None
        await client.flushall()
        yield client


@pytest.fixture(scope="session")
async def kafka_address(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> AsyncIterator[str]:
    """Return where the run's Kafka is: the first worker that needs it starts it, the last one ends it."""
    base = tmp_path_factory.getbasetemp()
    async with shared_kafka((base if worker_id == "master" else base.parent) / "kafka") as address:
        yield address


@pytest.fixture
def kafka(kafka_address: str) -> Cluster:
    """Return how to reach Kafka, under names of topics that no other test has."""
    return Cluster(kafka_address, prefix=f"{uuid.uuid4().hex[:12]}-")


@pytest.fixture
async def kafka_platform(
    kafka: Cluster, settings: Settings, clock: Clock, database: AsyncEngine, signing_key: ECKey
) -> AsyncIterator[Platform]:
    """Return a platform over empty tables and an empty Kafka."""
    metrics = Metrics()
    async with kafka_bus(kafka, metrics, BusOutbox(database, settings.bus_poll_seconds)) as bus:
        await bus.create_topics(TOPICS)
        yield Platform(settings, clock, metrics, database, bus, signing_key)


@pytest.fixture(scope="session")
async def running_cluster(data_dir: Path) -> AsyncIterator[RedisClient]:
    """Run a Redis Cluster of three for the session, and return a client of it."""
    async with redis_cluster(data_dir / "cluster", password="not-a-secret") as urls:
        settings = Settings(redis_url=SecretStr(urls[0]), redis_cluster=True, redis_timeout_seconds=5)
        async with open_redis(settings, Metrics()) as client:
            assert isinstance(client, RedisCluster)
            yield client


@pytest.fixture
async def cluster(running_cluster: RedisClient) -> RedisClient:
    """Return a client of a cluster with nothing in it."""
    await running_cluster.flushall(target_nodes=RedisCluster.PRIMARIES)
    return running_cluster


@pytest.fixture(scope="session")
def signing_key() -> ECKey:
    """Return the key that signs the tests' tokens."""
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
    key.ensure_kid()
    return key


@pytest.fixture
def clock() -> Clock:
    """Return the machine's clock; a test module may override this with one of its own."""
    return SystemClock()


@pytest.fixture
def platform(settings: Settings, clock: Clock, database: AsyncEngine, bus: PostgresBus, signing_key: ECKey) -> Platform:
    """Return a platform over empty tables, to hand to a service's builder."""
    return Platform(settings, clock, Metrics(), database, bus, signing_key)


@pytest.fixture
async def serve(platform: Platform) -> AsyncIterator[Serve]:
    """Return ``await serve(builder, …, on=platform)``: real services at a free port until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(*builders: Builder, on: Platform = platform) -> GrpcServer:
            return await stack.enter_async_context(serving(on, builders))

        yield start


@pytest.fixture
async def connect(token: Callable[..., str]) -> AsyncIterator[Connect]:
    """Return ``connect(server, user)``: a channel whose calls speak for a user; for nobody when user is None."""
    async with AsyncExitStack() as stack:

        def open_for(server: GrpcServer, user: str | None = None) -> grpc.aio.Channel:
            bearer = token(user) if user else None
            channel = open_channel(f"127.0.0.1:{server.port}", lambda: bearer)
            stack.push_async_callback(channel.close)
            return channel

        yield open_for


@pytest.fixture
def token(platform: Platform) -> Callable[..., str]:
    """Return ``token(user_id)``, which mints a good access token."""
    return lambda user_id, seconds=600: platform.signer.access_token(user_id, seconds)[0]


@pytest.fixture
def user() -> str:
    """Return the id of a user nobody else in this session is. It has no row in ``users``."""
    return str(uuid.uuid4())


@pytest.fixture
def open_account(database: AsyncEngine) -> Callable[[], Awaitable[str]]:
    """Return ``await open_account()``: the id of a new user who has a row in ``users``."""

    async def make() -> str:
        user_id = uuid.uuid4()
        statement = text("INSERT INTO users (user_id, email, display_name, password_hash) VALUES (:id, :email, '', '')")
        async with database.begin() as connection:
            await connection.execute(statement, {"id": user_id, "email": f"{user_id}@example.com"})
        return str(user_id)

    return make
