"""PostgreSQL: by DSN, or started from a wheel in the data directory (`embedded`); and its migrations."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool, PoolProxiedConnection

from algotrade.platform.embedded import embedded_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings
from algotrade.platform.silent import APPLICATION, ending_silent

MIGRATION_LOCK: Final = 0x616C676F  # any number, the same in every process

# A migration waits so long for a table that is in use, then gives up and is tried again: whoever wants the table after
# it waits behind it.
TABLE_SECONDS: Final = 2
SILENCE_SECONDS: Final = 2.0  # after PostgreSQL itself would have ended a statement
RESTED_SECONDS: Final = 1.0  # a connection that has not been used for so long may be a dead one
_RESTS: Final = "algotrade_rests"  # since when, on the monotonic clock

START_ATTEMPTS: Final = 20
START_SECONDS: Final = 60.0

# SQLSTATE: connection, resources, operator intervention (shutdown, statement timeout); serialisation, deadlock, lock
# timeout, idle in transaction
_AWAY_CLASSES: Final = frozenset({"08", "53", "57"})
_AWAY_STATES: Final = frozenset({"40001", "40P01", "55P03", "25P03"})


@asynccontextmanager
async def open_database(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the settings' database, migrated to the newest schema; start and stop the embedded server."""
    if settings.database_dsn is not None:
        async with open_engine(make_url(settings.database_dsn.get_secret_value()), settings, metrics) as engine:
            await _prepared(engine, settings.migrate_at_start)
            async with ending_silent(engine, settings.idle_in_transaction_seconds):
                yield engine
    else:
        async with (
            embedded_server(settings.data_dir / "postgres") as url,
            open_engine(url, settings, metrics) as engine,
        ):
            await _prepared(engine, settings.migrate_at_start)
            async with ending_silent(engine, settings.idle_in_transaction_seconds):
                yield engine


@asynccontextmanager
async def open_engine(url: URL, settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[AsyncEngine]:
    """Yield a pool of connections whose locks, statements and idle transactions all end some time.

    Should no answer come, not even that the statement was ended, the link is dead, though nobody has closed it.
    """
    metrics = metrics or Metrics()
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        hide_parameters=True,  # an error is logged, and what was to be stored may be a secret
        poolclass=_measured_pool(metrics),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_use_lifo=True,  # the one that has rested least knows its statements, and need not be tried
        pool_timeout=settings.unary_deadline_seconds,
        connect_args={
            "timeout": settings.unary_deadline_seconds,
            "command_timeout": settings.statement_timeout_seconds + SILENCE_SECONDS,
            "server_settings": {
                "application_name": APPLICATION,
                "timezone": "UTC",
                "lock_timeout": _milliseconds(settings.lock_timeout_seconds),
                "statement_timeout": _milliseconds(settings.statement_timeout_seconds),
                "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_seconds),
            },
        },
    )
    event.listen(engine.sync_engine, "handle_error", _silence_is_an_end)
    event.listen(engine.sync_engine, "checkin", _rests)
    event.listen(engine.sync_engine, "checkout", _knock)
    pool = engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)  # noqa: S101  (asked for above)
    metrics.pool_size.set(settings.database_pool_size)
    metrics.pool_connections.labels("in_use").set_function(pool.checkedout)
    metrics.pool_connections.labels("idle").set_function(pool.checkedin)
    try:
        yield engine
    finally:
        await engine.dispose()


def _silence_is_an_end(context: ExceptionContext) -> None:
    """Have the pool open all its connections anew where one did not answer: to try each costs as long again."""
    if isinstance(context.original_exception, TimeoutError):
        context.invalidate_pool_on_disconnect = True


def _rests(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS] = time.monotonic()


def _knock(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Have a connection opened anew that is closed, or that has rested and gives no answer.

    So a restarted server costs a caller nothing but the time it was away. Not each one is tried, as by the pool's own
    pre-ping: three round trips are half of what a small transaction takes.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
    if time.monotonic() - record.info.get(_RESTS, math.inf) >= RESTED_SECONDS:  # a new one has never rested
        try:
            connection.ping()  # SQLAlchemy's adapter of asyncpg has it
        except Exception as error:
            raise InvalidatePoolError from error


def _measured_pool(metrics: Metrics) -> type[Pool]:
    """Return a pool that tells how long its users waited."""

    class MeasuredPool(AsyncAdaptedQueuePool):
        def connect(self) -> PoolProxiedConnection:
            if self.checkedout() >= self.size():
                metrics.pool_waits.inc()
            begin = time.perf_counter()
            try:
                return super().connect()
            finally:
                metrics.pool_seconds.observe(time.perf_counter() - begin)

    return MeasuredPool


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


async def _prepared(engine: AsyncEngine, migrates: bool) -> None:
    """Migrate, or look, as soon as the database answers: where both were killed, it may be recovering, or ending."""
    async for attempt in stamina.retry_context(on=_will_do, attempts=START_ATTEMPTS, timeout=START_SECONDS):
        with attempt:
            await (migrate(engine) if migrates else expect_schema(engine))


class SchemaError(Exception):
    """The database has an older schema than this program needs, and may not be migrated from here."""


async def expect_schema(engine: AsyncEngine) -> None:
    """See that the schema is not older than the program. A newer one is the next release's, and good. SchemaError."""
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_heads())
    known = ScriptDirectory.from_config(_config())
    if not found or any(_known(known, revision) for revision in set(found) - set(known.get_heads())):
        raise SchemaError(f"the schema is at {', '.join(found) or 'nothing'}: run `algotrade migrate` first")


def _known(scripts: ScriptDirectory, revision: str) -> bool:
    try:
        return scripts.get_revision(revision) is not None
    except CommandError:  # no such revision
        return False


def _will_do(error: Exception) -> bool:
    """Tell whether waiting may help: the database may come, and so may whoever migrates it."""
    return isinstance(error, SchemaError) or is_away(error)


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema to the newest revision; processes that start together wait for each other."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL lock_timeout = '120s'"))
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        await connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'"))
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "heads")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def is_away(error: BaseException) -> bool:
    """Tell whether an error means that the database is away or busy, so that trying again may help."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | ConnectionError):
        return True
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return error.connection_invalidated or state[:2] in _AWAY_CLASSES or state in _AWAY_STATES
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)


async def ping(engine: AsyncEngine) -> None:
    """Ask the database for anything at all; raises what the driver raises when it is away."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
