"""A platform that trades while something is done to it; then what is stored is held against the oracle."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from chaos.followers import PATIENCE, BarFollower, InboxFollower, Numbered, RunFollower, ScreenFollower
from chaos.logs import Contents, LogReader, TableLog
from chaos.oracle import Verdict, judge, logged_ticks
from chaos.process import PlatformProcess
from chaos.workload import PLANS, REPLAYED, SYMBOLS, User, trading, write_trades
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from algotrade.engine import fixed
from algotrade.engine.bars import build_bars
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import backtest_service_pb2, forward_test_service_pb2

BAR_SECONDS: Final = 5
SETTINGS: Final = {
    "market_providers": ["synthetic", "replay"],
    "synthetic_symbols": list(SYMBOLS),
    "synthetic_ticks_per_second": 20,
    "replay_symbol": REPLAYED,
    "replay_speed": 60,
    "checkpoint_seconds": 0.3,
    "heartbeat_seconds": 1,
    "bus_poll_seconds": 0.1,
    "shutdown_grace_seconds": 3,
    "command_seconds": 5,
    "window_ticks": 50_000,
    "backtest_lease_seconds": 2,
    "access_token_seconds": 3600,
    "rate_limits": False,  # one user does here what many would
    "log_level": "info",
    "worker_lease_seconds": 1,
}
# Sessions keep their feeds open, so in the end nothing may come of them any more: neither a tick nor a marker.
CALM: Final = {"synthetic_ticks_per_second": 1e-5, "marker_interval_seconds": 1e6, "replay_speed": 600}


class Trial:
    """One folder, one database, one file of ticks, one user."""

    def __init__(self, folder: Path, seed: int, *, ticks: int = 3_000, dsn: str = "", **settings: Any) -> None:
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
        await user.follow_screen()
        for number in range(len(PLANS)):
            await user.trade(number)
        for symbol in (REPLAYED, *SYMBOLS):
            user.follow_symbol(symbol)
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
        platform.start(**CALM, **settings)
        await platform.ready()
        try:
            await self.judge(user, self._dsn or platform.database_dsn, TableLog())
        except TimeoutError as error:
            raise AssertionError(f"never settled: {error}\n{platform.log.read_text()[-6000:]}") from None
        await platform.stop()
        return self.verdict

    async def judge(self, user: User, dsn: str, log: LogReader) -> Verdict:
        """Wait until everybody has come to the end of the log, and compare. Raises TimeoutError saying who has not."""
        engine = create_async_engine(dsn.replace("postgresql", "postgresql+asyncpg", 1))
        try:
            async with asyncio.timeout(PATIENCE):
                while reason := await _unsettled(engine, log, len(self.file)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(reason) from None
        async with engine.connect() as connection:
            contents = await log.contents(connection)
            self.verdict = await judge(connection, contents, self.file, REPLAYED)
            await self._judge_user(connection, contents, user)
            begun = await connection.scalars(
                text("SELECT CAST(session_id AS text) FROM forward_test_sessions WHERE status <> 'created'")
            )
            proofs = await user.proofs(list(begun))
        await engine.dispose()
        results = await user.results()
        hashes = {one.summary.result_hash for one in results}
        well = all(one.state == backtest_service_pb2.BACKTEST_STATE_SUCCEEDED for one in results)
        self.verdict.check(well and len(hashes) <= 1, f"backtests: {[(one.state, one.failure) for one in results]}")
        for proof in proofs:
            self.verdict.proven += proof.verdict == forward_test_service_pb2.PARITY_VERDICT_IDENTICAL
            self.verdict.check(not proof.HasField("divergence"), f"session {proof.session_id}: {proof.divergence}")
        unproven = self.verdict.sessions - self.verdict.proven
        self.verdict.check(not unproven, f"{unproven} of {self.verdict.sessions} sessions are not proven")
        return self.verdict

    def table(self, title: str, faults: Mapping[str, int]) -> str:
        """Write for people what was done, what came of it, and how long the platform was away; times may be unknown."""
        verdict = self.verdict
        did = f"{verdict.sessions} sessions, {verdict.events} events, {verdict.trades} trades"
        outcome = f"lost {verdict.lost}, doubled {verdict.doubled}, told again {verdict.redelivered}"
        proven = f"{verdict.proven} sessions proven, {verdict.cuts} streams resumed"
        lines = [
            f"{title} (seed {self.seed}): {did}, {verdict.commands} commands; {outcome}; {proven}",
            f"  {'fault':<52} {'times':>5} {'recovery p50':>13} {'p95':>8}",
        ]
        for fault, count in faults.items():
            line = f"  {fault:<52} {count:>5}"
            if took := sorted(self.recoveries.get(fault, [])):
                line += f" {statistics.median(took):>11.2f} s {took[math.ceil(0.95 * len(took)) - 1]:>6.2f} s"
            lines.append(line)
        return "\n".join(lines)

    async def _judge_user(self, connection: AsyncConnection, contents: Contents, user: User) -> None:
        """Hold what people saw and were answered against what is stored.

        Everybody who followed saw every event and every tick once, in order. Every command is there once: one that has
        a request_id, however often it was sent.
        """
        sessions = text("SELECT 'session ' || session_id, last_sequence FROM forward_test_sessions")
        symbols = text("SELECT 'ticks of ' || symbol, last_sequence FROM symbol_leases")
        ends: dict[str, int] = {}
        for query in (sessions, symbols):
            ends |= {str(row[0]): int(row[1]) for row in await connection.execute(query)}
        for follower in user.of_kind(Numbered):
            if (end := ends.get(follower.name)) is not None:
                await follower.reach(end)
                self.verdict.check(follower.seen == end, f"{follower.name}: saw {follower.seen}, not {end}")
        await self._judge_bars(contents, user)
        await self._judge_screen(connection, contents, user, {one: ends[f"session {one}"] for one in user.everything})
        for run in user.of_kind(RunFollower):
            await run.reach(math.inf)
            self.verdict.check(run.state == backtest_service_pb2.BACKTEST_STATE_SUCCEEDED, f"{run.name}: {run.state}")
        for follower in user.followers:
            self.verdict.wrong += follower.wrong
            self.verdict.cuts += follower.opened - 1
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

    async def _judge_bars(self, contents: Contents, user: User) -> None:
        """Every bar of every symbol came once, as the reference makes it of the log.

        Who asks from the beginning is given the oldest that is kept: where windows are short and the machine is busy,
        that may be a later one than the first.
        """
        logs = logged_ticks(contents, self.verdict)
        for follower in user.of_kind(BarFollower):
            bars = build_bars(logs[follower.symbol].ticks, BAR_SECONDS * SECOND_NS)
            await follower.reach(1)
            first_ns = follower.bars[0].start_time.ToNanoseconds() if follower.bars else 0
            must = [tuple(bar)[:5] for bar in bars[bars["ts"] >= first_ns].tolist()]
            await follower.reach(len(must))
            came = [
                (bar.start_time.ToNanoseconds(), *map(fixed.parse, (bar.open, bar.high, bar.low, bar.close)))
                for bar in follower.bars
            ]
            missing = [bar[0] for bar in must if bar not in came]
            sentence = (
                f"{follower.name}: {len(came)} came that are not the {len(must)} of the log; missing: {missing[:9]}"
            )
            self.verdict.check(came == must, sentence)

    async def _judge_screen(
        self, connection: AsyncConnection, contents: Contents, user: User, ends: Mapping[str, int]
    ) -> None:
        """The screen, opened before all, showed each event and each notification once; the inbox brought each too.

        Where the log may tell again what it has told, a screen that comes back with a cursor between the two may show
        an event again: it carries its number.
        """
        (screen,), (inbox,) = user.of_kind(ScreenFollower), user.of_kind(InboxFollower)
        newest, kept = text("SELECT coalesce(max(sequence), 0) FROM notifications"), 0

        def all_shown() -> bool:
            # not by the newest: fills and rejections are of two topics, and either may be ahead of the other
            shown = all(screen.whole(session_id, last) for session_id, last in ends.items())
            notified = screen.notifications[-1:] == [kept] or screen.snapshots > 1
            return shown and notified and inbox.last == kept

        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not (screen.wrong or inbox.wrong or all_shown()):
                    kept = int(await connection.scalar(newest))
                    await asyncio.sleep(0.1)
        self.verdict.check(kept > 0, "nothing came into the inbox")
        self.verdict.check(inbox.seen == kept, f"inbox: saw {inbox.seen}, not {kept}")
        for session_id, last in ends.items():
            came, covered = screen.events[session_id], screen.covered[session_id]
            missing = sorted(set(range(covered + 1, last + 1)).difference(came))
            sentence = f"screen: of the {last} events of {session_id} came {len(came)}; {covered} are covered"
            sentence += f"; missing: {missing[:20]}"
            right = screen.once if contents.once else screen.whole
            self.verdict.check(right(session_id, last), sentence)
            self.verdict.redelivered += screen.again(session_id)
        self.verdict.snapshots += screen.snapshots - 1


async def _unsettled(engine: AsyncEngine, log: LogReader, file_ticks: int) -> str:
    """Say what is still to come: ticks of the file, sessions on their way, commands, messages."""
    queries = {
        "ticks of the file": f"SELECT {file_ticks} - coalesce(max(last_sequence), 0) FROM symbol_leases"
        f" WHERE symbol = '{REPLAYED}'",
        "sessions before the end of the log": """
            SELECT count(*) FROM forward_test_sessions AS s
                JOIN unnest(CAST(:partitions AS integer[]), CAST(:ends AS bigint[])) AS e (partition, next_offset)
                ON e.partition = s.log_partition
            WHERE s.status NOT IN ('created', 'stopped', 'halted') AND s.log_offset < e.next_offset""",
        "commands": "SELECT count(*) FROM session_commands WHERE NOT applied",
        "messages": "SELECT count(*) FROM outbox",
        "messages of transactions": "SELECT count(*) FROM bus_outbox",
    }
    async with engine.connect() as connection:
        for what, query in queries.items():
            ends = await log.ends(connection) if ":ends" in query else {}
            where = {"partitions": list(ends), "ends": list(ends.values())} if ends else {}
            if left := await connection.scalar(text(query), where):
                return f"{left} {what}"
    return ""
