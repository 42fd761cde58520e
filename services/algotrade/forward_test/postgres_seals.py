"""Trades in the audit log: not one by one, of which there are thousands a second, but by digests of what was added.

1. Now and then the trades that a session has closed since the last time get a seal: how many, up to which, and the
   SHA-256 of their rows. The seals of one time are one entry of the log, which has the digest of them all.
2. Who changes, adds or removes a sealed trade leaves a seal that does not fit; who changes a seal leaves an entry that
   does not fit; who changes an entry breaks the chain.
3. Seals outlive sessions: those of a session that its user deleted can only be counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform import audit
from algotrade.platform.audit import Entry

ACTION: Final = "trades_sealed"
SEAL_LOCK: Final = 0x7365616C  # any number, the same in every process
SESSIONS_A_ROUND: Final = 2_000
# Each column of a trade that never changes, as text that is read in one way only.
_DIGEST: Final = """
    count(*) AS trades, max(sequence) AS last_sequence,
    sha256(convert_to(string_agg(CAST(jsonb_build_array(
        sequence, side, quantity, entry_ns, entry_price, exit_ns, exit_price, fees, pnl, exit_reason
    ) AS text), '' ORDER BY sequence), 'UTF8')) AS digest
"""
_DUE: Final = text(f"""
    WITH due AS (
        SELECT s.session_id, s.session_month, s.total_trades, u.audit_actor AS actor,
            coalesce(d.last_sequence, 0) AS after_sequence
        FROM forward_test_sessions AS s JOIN users AS u USING (user_id)
            LEFT JOIN sealed_sessions AS d USING (session_id)
        WHERE s.total_trades > coalesce(d.trades, 0) ORDER BY s.session_id LIMIT :most
    )
    SELECT due.*, t.trades, t.last_sequence, t.digest FROM due CROSS JOIN LATERAL (
        SELECT {_DIGEST} FROM trades WHERE session_month = due.session_month AND session_id = due.session_id
            AND sequence > due.after_sequence
    ) AS t WHERE t.trades > 0 ORDER BY due.session_id
""")
_SEAL: Final = text("""
    INSERT INTO trade_seals (number, session_id, actor, after_sequence, last_sequence, trades, digest)
    VALUES (:number, :session_id, :actor, :after_sequence, :last_sequence, :trades, :digest)
""")
_SEALED: Final = text("""
    INSERT INTO sealed_sessions (session_id, trades, last_sequence) VALUES (:session_id, :total_trades, :last_sequence)
    ON CONFLICT (session_id) DO UPDATE SET trades = excluded.trades, last_sequence = excluded.last_sequence
""")
_SEALS: Final = text("SELECT * FROM trade_seals WHERE number = :number ORDER BY session_id")
_NOW: Final = text(f"""
    SELECT {_DIGEST} FROM trades
    WHERE session_month = (SELECT session_month FROM forward_test_sessions WHERE session_id = :session_id)
        AND session_id = :session_id AND sequence > :after_sequence AND sequence <= :last_sequence
""")
_THERE: Final = text("SELECT 1 FROM forward_test_sessions WHERE session_id = :session_id")


@dataclass(frozen=True, slots=True)
class Seal:
    """What was sealed of a session at one time: the trades behind a sequence, up to another."""

    session_id: UUID
    actor: UUID
    after_sequence: int
    last_sequence: int
    trades: int
    digest: bytes

    @classmethod
    def of(cls, row: Row[Any]) -> Seal:
        """Read a row."""
        return cls(row.session_id, row.actor, row.after_sequence, row.last_sequence, row.trades, bytes(row.digest))

    def written(self) -> bytes:
        """Return it as text that is read in one way only."""
        sequences = [self.after_sequence, self.last_sequence, self.trades]
        return orjson.dumps([str(self.session_id), str(self.actor), *sequences, self.digest.hex()])


class PostgresSeals:
    """The tables `trade_seals`, which is only added to, and `sealed_sessions`, which says how far it has come."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def seal(self) -> int:
        """Seal the trades that came since the last time; return of how many sessions. One process does at a time."""
        async with self._engine.begin() as connection:
            lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
            if not (await connection.execute(lock, {"lock": SEAL_LOCK})).scalar_one():
                return 0
            due = (await connection.execute(_DUE, {"most": SESSIONS_A_ROUND})).all()
            if not due:
                return 0
            seals = [Seal.of(row) for row in due]
            await connection.execute(
                _SEALED,
                [
                    {"session_id": row.session_id, "total_trades": row.total_trades, "last_sequence": row.last_sequence}
                    for row in due
                ],
            )
            trades = sum(seal.trades for seal in seals)
            facts = {"sessions": str(len(seals)), "trades": str(trades), "digest": _digest(seals)}
            number = await audit.record_act(connection, None, ACTION, **facts)
            await connection.execute(
                _SEAL,
                [
                    {
                        "number": number,
                        "session_id": seal.session_id,
                        "actor": seal.actor,
                        "after_sequence": seal.after_sequence,
                        "last_sequence": seal.last_sequence,
                        "trades": seal.trades,
                        "digest": seal.digest,
                    }
                    for seal in seals
                ],
            )
        return len(seals)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed: the entry, and the session's trades behind a sequence up to another."""

    number: int
    session_id: str = ""
    after_sequence: int = 0
    last_sequence: int = 0

    def __str__(self) -> str:
        """Say it."""
        if not self.session_id:
            return f"the seals of event {self.number} are not as they were written"
        where = f"behind {self.after_sequence} up to {self.last_sequence}"
        return f"trades of session {self.session_id} {where} are not as event {self.number} has them"


class SealCheck:
    """Compares what was sealed with the trades that there are, entry by entry of the audit log, in order."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Take where to read."""
        self._connection = connection
        self._gone: dict[UUID, tuple[UUID, int, Finding]] = {}
        self._deleted: set[str] = set()
        self._left: set[UUID] = set()
        self.trades = 0  # compared, and as they were
        self.gone = 0  # of sessions that their user deleted

    async def follow(self, entry: Entry) -> AsyncIterator[Finding]:
        """Take an entry; yield what is not as it says."""
        event = entry.event
        if event.action == "session_deleted":
            self._deleted.add(event.facts["session_id"])
        elif event.action == "account_deleted" and event.actor:
            self._left.add(event.actor)
        elif event.action == ACTION:
            rows = await self._connection.execute(_SEALS, {"number": entry.number})
            seals = [Seal.of(row) for row in rows]
            if _digest(seals) != event.facts["digest"]:
                yield Finding(entry.number)
                return
            for seal in seals:
                if not await self._fits(entry.number, seal):
                    yield _finding(entry.number, seal)

    def missing(self) -> list[Finding]:
        """Return, at the log's end, what is gone with sessions that nobody deleted."""
        found = []
        for session_id, (actor, trades, finding) in self._gone.items():
            if str(session_id) in self._deleted or actor in self._left:
                self.gone += trades
            else:
                found.append(finding)
        return found

    async def _fits(self, number: int, seal: Seal) -> bool:
        where = {
            "session_id": seal.session_id,
            "after_sequence": seal.after_sequence,
            "last_sequence": seal.last_sequence,
        }
        if (await self._connection.execute(_THERE, {"session_id": seal.session_id})).first() is None:
            _, trades, _ = self._gone.get(seal.session_id, (None, 0, None))
            self._gone[seal.session_id] = (seal.actor, trades + seal.trades, _finding(number, seal))
            return True
        now = (await self._connection.execute(_NOW, where)).one()
        if (now.trades, now.digest and bytes(now.digest)) != (seal.trades, seal.digest):
            return False
        self.trades += seal.trades
        return True


def _finding(number: int, seal: Seal) -> Finding:
    return Finding(number, str(seal.session_id), seal.after_sequence, seal.last_sequence)


def _digest(seals: list[Seal]) -> str:
    return hashlib.sha256(b"".join(seal.written() for seal in seals)).hexdigest()
