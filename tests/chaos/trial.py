"""A platform that trades while something is done to it; then what is stored is held against the oracle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from chaos.oracle import Verdict, judge
from chaos.process import PlatformProcess
from chaos.workload import PLANS, REPLAYED, SYMBOLS, User, trading, write_trades
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import backtest_service_pb2

PATIENCE: Final = 90.0
SETTINGS: Final = {
    "market_providers": ["synthetic", "replay"],
    "synthetic_symbols": list(SYMBOLS),
    "synthetic_ticks_per_second": 30,
    "replay_symbol": REPLAYED,
    "replay_speed": 60,
    "checkpoint_seconds": 0.3,
    "heartbeat_seconds": 1,
    "bus_poll_seconds": 0.1,
    "shutdown_grace_seconds": 3,
    "command_seconds": 5,
    "backtest_lease_seconds": 2,
    "access_token_seconds": 3600,
    "rate_limits": False,  # one user does here what many would
    "log_level": "info",
}


class Trial:
    """One folder, one database, one file of ticks, one user."""

    def __init__(self, folder: Path, seed: int, *, ticks: int = 6_000, dsn: str = "", **settings: Any) -> None:
        """Take an empty folder with a short path; ``dsn``: where the database is, without one in the folder."""
        self.folder = folder
        self.seed = seed
        self.settings: Mapping[str, Any] = SETTINGS | {"replay_path": str(folder / "trades.csv")} | settings
        self.verdict = Verdict()
        self.recoveries: dict[str, list[float]] = {}  # seconds from a fault to the first news after it, by kind
        self.file = write_trades(folder / "trades.csv", seed, ticks)
        self._dsn = dsn
        self._struck: tuple[float, str] | None = None

    def user(self, gateway: str, direct: str) -> User:
        """Return a new user, whose followers tell how long the platform was away."""
        return User(gateway, direct, self.seed, self._news)

    @asynccontextmanager
    async def at_work(self, user: User) -> AsyncIterator[asyncio.Task[None]]:
        """Make an account and sessions; while the context is open, have the user command."""
        await user.register()
        for number in range(len(PLANS)):
            await user.trade(number)
        for symbol in (REPLAYED, *SYMBOLS):
            user.follow_ticks(symbol)
        async with trading(user) as busy:
            yield busy

    def struck(self, kind: str) -> None:
        """Note that something was done."""
        self._struck = (time.monotonic(), kind)

    def _news(self, opened: float) -> None:
        """Note the first event that reached anybody by a call made after the last fault."""
        if self._struck is not None and opened > self._struck[0]:
            at, kind = self._struck
            self.recoveries.setdefault(kind, []).append(time.monotonic() - at)
            self._struck = None

    async def settle(self, platform: PlatformProcess, user: User, **settings: Any) -> Verdict:
        """Start it once more, let the file run out and everybody come to the end of the log; then compare."""
        calm = {"synthetic_symbols": [], "synthetic_on_demand_symbols": list(SYMBOLS), "replay_speed": 0}
        platform.start(**calm, **settings)
        await platform.ready()
        dsn = self._dsn or platform.database_dsn
        engine = create_async_engine(dsn.replace("postgresql", "postgresql+asyncpg", 1))
        try:
            async with asyncio.timeout(PATIENCE):
                while reason := await _unsettled(engine, len(self.file)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never settled: {reason}\n{platform.log.read_text()[-6000:]}") from None
        async with engine.connect() as connection:
            self.verdict = await judge(connection, self.file, REPLAYED)
            await self._judge_user(connection, user)
        await engine.dispose()
        results = await user.results()
        hashes = {one.summary.result_hash for one in results}
        well = all(one.state == backtest_service_pb2.BACKTEST_STATE_SUCCEEDED for one in results)
        self.verdict.check(well and len(hashes) <= 1, f"backtests: {[(one.state, one.failure) for one in results]}")
        await platform.stop()
        return self.verdict

    async def _judge_user(self, connection: Any, user: User) -> None:
        """Hold what people saw and were answered against what is stored.

        Everybody who followed saw every event and every tick once, in order. Every command is there once: one that has
        a request_id, however often it was sent.
        """
        sessions = text("SELECT 'session ' || session_id, last_sequence FROM forward_test_sessions")
        symbols = text("SELECT 'ticks of ' || symbol, last_sequence FROM symbol_leases")
        ends: dict[str, int] = {}
        for query in (sessions, symbols):
            ends |= {str(row[0]): int(row[1]) for row in await connection.execute(query)}
        for follower in user.followers:
            end = ends[follower.name]
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while follower.last < end and not follower.wrong:
                        await asyncio.sleep(0.05)
            self.verdict.check(follower.seen == end, f"{follower.name}: saw {follower.seen}, not {end}")
            self.verdict.wrong += follower.wrong
        query = text("SELECT kind, count(*) FROM session_commands GROUP BY kind")
        given = {str(row[0]): int(row[1]) for row in await connection.execute(query)}
        for kind in ("pause", "resume", "flatten", "start"):
            asked, answered = user.asked[kind], user.answered[kind]
            found = given.get(kind, 0)
            self.verdict.check(
                answered <= found <= asked, f"{kind}: {asked} asked, {answered} answered, {found} stored"
            )
        made = await connection.scalar(text("SELECT count(*) FROM forward_test_sessions"))
        asked, answered = user.asked["create"], user.answered["create"]
        self.verdict.check(answered <= made <= asked, f"sessions: {asked} asked, {answered} answered, {made} stored")


async def _unsettled(engine: AsyncEngine, file_ticks: int) -> str:
    """Say what is still to come: ticks of the file, sessions on their way, commands, messages."""
    queries = {
        "ticks of the file": f"SELECT {file_ticks} - coalesce(max(last_sequence), 0) FROM symbol_leases"
        f" WHERE symbol = '{REPLAYED}'",
        "sessions before the end of the log": f"""
            SELECT count(*) FROM forward_test_sessions AS s JOIN bus_partitions AS b
                ON b.topic = '{MARKET_DATA_UPDATES.name}' AND b.partition = s.log_partition
            WHERE s.status NOT IN ('created', 'stopped', 'halted') AND s.log_offset < b.next_offset""",
        "commands": "SELECT count(*) FROM session_commands WHERE NOT applied",
        "messages": "SELECT count(*) FROM outbox",
    }
    async with engine.connect() as connection:
        for what, query in queries.items():
            if left := await connection.scalar(text(query)):
                return f"{left} {what}"
    return ""
