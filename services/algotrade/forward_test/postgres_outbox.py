"""The outbox in the table outbox: rows are written with what they tell of, sent in order, and deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.forward_test import rows
from algotrade.forward_test.session import Outgoing
from algotrade.forward_test.store import Send
from algotrade.platform import failpoints
from algotrade.platform.tracing import traced_headers

LOCK: Final = 0x6F757462  # with the shard: one relay a shard
_COLUMNS: Final = {"shard": "integer", "topic": "text", "key": "text", "payload": "bytea", "headers": "text"}


def add(where: str = "true") -> str:
    """SQL that stores messages, in order; of none where a condition does not hold."""
    return f"""
        INSERT INTO outbox (shard, topic, key, payload, headers)
        SELECT shard, topic, key, payload, CAST(headers AS jsonb)
        FROM {rows.unnest("r", _COLUMNS, "outgoing_")} WHERE {where}
        ORDER BY place
    """


_ADD: Final = text(add())
_OLDEST: Final = text("""
    SELECT position, shard, topic, key, payload, CAST(headers AS text) AS headers FROM outbox
    WHERE shard = ANY(:shards) ORDER BY position LIMIT :limit
""")
_WAIT: Final = text(
    "SELECT shard, pg_advisory_xact_lock(:lock, shard) FROM unnest(CAST(:shards AS integer[])) AS shard"
)
_TRY: Final = text("""
    SELECT shard FROM unnest(CAST(:shards AS integer[])) AS shard WHERE pg_try_advisory_xact_lock(:lock, shard)
""")


async def add_outgoing(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
    """Store messages, in order, in the transaction of what they tell of."""
    if messages:
        await connection.execute(_ADD, outgoing(messages))


def outgoing(messages: Sequence[Outgoing]) -> dict[str, list[Any]]:
    """Return the parameters of `add`."""
    headers = [orjson.dumps(dict(traced_headers(m.headers))).decode() for m in messages]
    values = [(m.shard, m.topic, m.key, m.payload, of) for m, of in zip(messages, headers, strict=True)]
    return rows.arrays(_COLUMNS, values, "outgoing_")


class PostgresOutbox:
    """The port `Outbox`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def drain(self, shards: Collection[int], send: Send, limit: int, *, wait: bool) -> int:
        """Lock shards for one transaction, in ascending order; send what is oldest in them; delete it."""
        async with self._engine.begin() as connection:
            asked = {"lock": LOCK, "shards": sorted(shards)}
            locked = (await connection.execute(_WAIT if wait else _TRY, asked)).scalars().all()
            if not locked:
                return 0
            found = (await connection.execute(_OLDEST, {"shards": locked, "limit": limit})).all()
            if not found:
                return 0
            await send(
                connection,
                [
                    Outgoing(row.shard, row.topic, row.key, bytes(row.payload), orjson.loads(row.headers))
                    for row in found
                ],
            )
            failpoints.reached("outbox.sent")
            delete = text("DELETE FROM outbox WHERE position = ANY(CAST(:positions AS bigint[]))")
            await connection.execute(delete, {"positions": [row.position for row in found]})
            failpoints.reached("outbox.forgotten")
            return len(found)

    async def oldest_seconds(self) -> float:
        """Ask for the oldest row's age."""
        query = text("SELECT extract(epoch FROM now() - create_time) FROM outbox ORDER BY position LIMIT 1")
        async with self._engine.connect() as connection:
            return float(await connection.scalar(query) or 0)
