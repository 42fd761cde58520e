"""Strategies and artefacts in PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    TIMESTAMP,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform import limits
from algotrade.platform.audit import record_act
from algotrade.platform.bus import Message, TransactionalBus
from algotrade.platform.errors import NotFound
from algotrade.platform.once import Once, earlier_answer, lock_user
from algotrade.platform.quotas import check_room
from algotrade.platform.topics import STRATEGY_COMPILATIONS
from algotrade.strategy.store import Change, StoredArtefact, StoredStrategy, StoredVersion

METADATA = MetaData()
STRATEGIES = Table(
    "strategies",
    METADATA,
    Column("strategy_id", Uuid, primary_key=True),
    Column("user_id", Uuid),
    Column("name", Text),
    Column("description", Text),
    Column("create_time", TIMESTAMP(timezone=True)),
)
VERSIONS = Table(
    "strategy_versions",
    METADATA,
    Column("strategy_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("graph", Text),
    Column("artefact_hash", Text),
    Column("create_time", TIMESTAMP(timezone=True)),
)
ARTEFACTS = Table(
    "artefacts",
    METADATA,
    Column("artefact_hash", Text, primary_key=True),
    Column("module", LargeBinary),
    Column("report", JSON),
)


class PostgresStrategyStore:
    """The tables `strategies`, `strategy_versions` and `artefacts`."""

    def __init__(self, engine: AsyncEngine, bus: TransactionalBus) -> None:
        """Take the pool to read and write through, and where compilations are told."""
        self._engine = engine
        self._bus = bus

    async def create(
        self,
        user_id: str,
        strategy: StoredStrategy,
        artefact: StoredArtefact | None,
        once: Once | None,
        told: Message,
    ) -> bytes | None:
        """Insert strategy, version and artefact and tell in one transaction, under a lock on the account."""
        async with self._engine.begin() as connection:
            await lock_user(connection, user_id)
            if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                return answer
            await _check_room(connection, user_id)
            if artefact is not None:
                await _insert_artefact(connection, artefact)
            key = UUID(strategy.strategy_id)
            await connection.execute(
                insert(STRATEGIES).values(
                    strategy_id=key,
                    user_id=UUID(user_id),
                    name=strategy.name,
                    description=strategy.description,
                    create_time=strategy.create_time,
                )
            )
            await _insert_version(connection, strategy)
            await _check_bytes(connection, user_id)
            receipt = await self._bus.publish_in(connection, STRATEGY_COMPILATIONS, [told])
            after = _digest(strategy.graph)
            await record_act(connection, user_id, "strategy_created", strategy_id=strategy.strategy_id, after=after)
        self._bus.announce(receipt)
        return None

    async def get(self, user_id: str, strategy_id: str, version: int) -> StoredStrategy:
        """Select by primary key and owner."""
        query = _strategies(user_id, VERSIONS.c.graph).where(STRATEGIES.c.strategy_id == UUID(strategy_id))
        async with self._engine.connect() as connection:
            row = (await connection.execute(query.where(VERSIONS.c.version == version) if version else query)).first()
            if row is None:
                if version and (await connection.execute(query)).first() is not None:
                    raise _no_version(strategy_id, version)
                raise _no_strategy(strategy_id)
        return _strategy(row)

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[StoredStrategy]:
        """Select along the index of each user's newest."""
        query = _strategies(user_id, literal("").label("graph"))
        later = VERSIONS.alias()
        query = query.where(
            ~exists().where(later.c.strategy_id == VERSIONS.c.strategy_id, later.c.version > VERSIONS.c.version)
        )
        keys = tuple_(STRATEGIES.c.create_time, STRATEGIES.c.strategy_id)
        if before is not None:
            query = query.where(keys < tuple_(literal(before[0]), literal(UUID(before[1]))))
        query = query.order_by(None).order_by(STRATEGIES.c.create_time.desc(), STRATEGIES.c.strategy_id.desc())
        async with self._engine.connect() as connection:
            return [_strategy(row) for row in await connection.execute(query.limit(count))]

    async def versions(self, user_id: str, strategy_id: str, before: int | None, count: int) -> list[StoredVersion]:
        """Select along the primary key."""
        query = (
            select(VERSIONS.c.version, VERSIONS.c.artefact_hash, VERSIONS.c.create_time)
            .where(VERSIONS.c.strategy_id == UUID(strategy_id))
            .order_by(VERSIONS.c.version.desc())
            .limit(count)
        )
        if before is not None:
            query = query.where(VERSIONS.c.version < before)
        async with self._engine.connect() as connection:
            if (await connection.execute(select(1).where(_mine(user_id, strategy_id)))).first() is None:
                raise _no_strategy(strategy_id)
            return [StoredVersion(*row) for row in await connection.execute(query)]

    async def change(
        self,
        user_id: str,
        strategy_id: str,
        change: Change,
        now: datetime,
        once: Callable[[StoredStrategy], Once | None],
        told: Callable[[StoredStrategy], Message],
    ) -> StoredStrategy | bytes:
        """Update, insert and tell in one transaction, under a lock on the account: two saves get two numbers."""
        receipt = None
        async with self._engine.begin() as connection:
            await lock_user(connection, user_id)
            query = _strategies(user_id, VERSIONS.c.graph).where(STRATEGIES.c.strategy_id == UUID(strategy_id))
            row = (await connection.execute(query)).first()
            if row is None:
                raise _no_strategy(strategy_id)
            changed = _changed(replace(_strategy(row), graph=""), change, now)
            record = once(changed)
            if record is not None and (answer := await earlier_answer(connection, record)) is not None:
                return answer
            await connection.execute(
                update(STRATEGIES)
                .where(_mine(user_id, strategy_id))
                .values(name=changed.name, description=changed.description)
            )
            if change.graph is not None:
                check_room("strategy_versions", changed.version, limits.MAX_STRATEGY_VERSIONS, owner="a strategy")
                if change.artefact is not None:
                    await _insert_artefact(connection, change.artefact)
                await _insert_version(connection, replace(changed, graph=change.graph))
                await _check_bytes(connection, user_id)
                receipt = await self._bus.publish_in(connection, STRATEGY_COMPILATIONS, [told(changed)])
            facts = {"strategy_id": strategy_id, "version": str(changed.version), "before": _digest(row.graph)}
            after = _digest(row.graph if change.graph is None else change.graph)
            await record_act(connection, user_id, "strategy_changed", **facts, after=after)
        if receipt is not None:
            self._bus.announce(receipt)
        return changed

    async def delete(self, user_id: str, strategy_id: str) -> None:
        """Delete by primary key and owner; the versions go with it."""
        statement = delete(STRATEGIES).where(_mine(user_id, strategy_id)).returning(STRATEGIES.c.strategy_id)
        async with self._engine.begin() as connection:
            if (await connection.execute(statement)).first() is None:
                raise _no_strategy(strategy_id)
            await record_act(connection, user_id, "strategy_deleted", strategy_id=strategy_id)

    async def keep_artefact(
        self, user_id: str, strategy_id: str, version: int, artefact: StoredArtefact, told: Message
    ) -> str:
        """Insert the artefact; name it in the version where that names none yet; tell."""
        mine = select(STRATEGIES.c.strategy_id).where(
            STRATEGIES.c.strategy_id == UUID(strategy_id), STRATEGIES.c.user_id == UUID(user_id)
        )
        this = and_(VERSIONS.c.strategy_id.in_(mine), VERSIONS.c.version == version)
        async with self._engine.begin() as connection:
            await _insert_artefact(connection, artefact)
            pinned = await connection.execute(
                update(VERSIONS)
                .where(this)
                .values(artefact_hash=func.coalesce(VERSIONS.c.artefact_hash, artefact.hash))
                .returning(VERSIONS.c.artefact_hash)
            )
            found: str | None = pinned.scalar_one_or_none()
            if found is None:  # deleted since it was read; nothing is kept for it
                raise _no_strategy(strategy_id)
            receipt = await self._bus.publish_in(connection, STRATEGY_COMPILATIONS, [told])
        self._bus.announce(receipt)
        return found

    async def tell(self, told: Message) -> None:
        """Publish."""
        await self._bus.publish(STRATEGY_COMPILATIONS, [told])

    async def owns_artefact(self, user_id: str, artefact_hash: str) -> bool:
        """Look for a version of one of the user's strategies that names it."""
        query = (
            select(1)
            .select_from(VERSIONS.join(STRATEGIES, VERSIONS.c.strategy_id == STRATEGIES.c.strategy_id))
            .where(VERSIONS.c.artefact_hash == artefact_hash, STRATEGIES.c.user_id == UUID(user_id))
            .limit(1)
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).first() is not None

    async def artefact(self, artefact_hash: str) -> StoredArtefact | None:
        """Select by hash."""
        query = select(ARTEFACTS).where(ARTEFACTS.c.artefact_hash == artefact_hash)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else StoredArtefact(row.artefact_hash, bytes(row.module), row.report)


async def _check_room(connection: AsyncConnection, user_id: str) -> None:
    query = select(func.count()).select_from(STRATEGIES).where(STRATEGIES.c.user_id == UUID(user_id))
    count: int = (await connection.execute(query)).scalar_one()
    check_room("strategies", count + 1, limits.MAX_STRATEGIES)


async def _check_bytes(connection: AsyncConnection, user_id: str) -> None:
    """Count drawings and what they compile to, those just added too. Lengths are read without the texts themselves."""
    mine = select(STRATEGIES.c.strategy_id).where(STRATEGIES.c.user_id == UUID(user_id))
    versions = VERSIONS.c.strategy_id.in_(mine)
    graphs = select(func.coalesce(func.sum(func.octet_length(VERSIONS.c.graph)), 0)).where(versions)
    modules = select(func.coalesce(func.sum(func.octet_length(ARTEFACTS.c.module)), 0)).where(
        ARTEFACTS.c.artefact_hash.in_(select(VERSIONS.c.artefact_hash).where(versions))
    )
    kept: int = (await connection.execute(select(graphs.scalar_subquery() + modules.scalar_subquery()))).scalar_one()
    check_room("strategy_bytes", kept, limits.MAX_STRATEGY_BYTES)


def _changed(strategy: StoredStrategy, change: Change, now: datetime) -> StoredStrategy:
    named = replace(
        strategy,
        name=strategy.name if change.name is None else change.name,
        description=strategy.description if change.description is None else change.description,
    )
    if change.graph is None:
        return named
    artefact_hash = change.artefact.hash if change.artefact else None
    return replace(named, version=strategy.version + 1, artefact_hash=artefact_hash, update_time=now)


async def _insert_version(connection: AsyncConnection, strategy: StoredStrategy) -> None:
    await connection.execute(
        insert(VERSIONS).values(
            strategy_id=UUID(strategy.strategy_id),
            version=strategy.version,
            graph=strategy.graph,
            artefact_hash=strategy.artefact_hash,
            create_time=strategy.update_time,
        )
    )


async def _insert_artefact(connection: AsyncConnection, artefact: StoredArtefact) -> None:
    values = {"artefact_hash": artefact.hash, "module": artefact.module, "report": artefact.report}
    await connection.execute(insert(ARTEFACTS).values(values).on_conflict_do_nothing())


def _digest(graph: str) -> str:
    """A graph as the audit log names it."""
    return hashlib.sha256(graph.encode()).hexdigest()


def _mine(user_id: str, strategy_id: str) -> ColumnElement[bool]:
    return and_(STRATEGIES.c.strategy_id == UUID(strategy_id), STRATEGIES.c.user_id == UUID(user_id))


def _strategies(user_id: str, graph: Any) -> Select[Any]:
    """Versions of a user's strategies, the newest first."""
    return (
        select(
            STRATEGIES.c.strategy_id,
            STRATEGIES.c.name,
            STRATEGIES.c.description,
            VERSIONS.c.version,
            graph,
            VERSIONS.c.artefact_hash,
            STRATEGIES.c.create_time,
            VERSIONS.c.create_time.label("update_time"),
        )
        .join(VERSIONS, VERSIONS.c.strategy_id == STRATEGIES.c.strategy_id)
        .where(STRATEGIES.c.user_id == UUID(user_id))
        .order_by(VERSIONS.c.version.desc())
        .limit(1)
    )


def _strategy(row: Row[Any]) -> StoredStrategy:
    return StoredStrategy(
        str(row.strategy_id),
        row.name,
        row.description,
        row.version,
        row.graph,
        row.artefact_hash,
        row.create_time,
        row.update_time,
    )


def _no_strategy(strategy_id: str) -> NotFound:
    return NotFound("STRATEGY_NOT_FOUND", "no such strategy", strategy_id=strategy_id)


def _no_version(strategy_id: str, version: int) -> NotFound:
    return NotFound("STRATEGY_VERSION_NOT_FOUND", "no such version", strategy_id=strategy_id, version=version)
