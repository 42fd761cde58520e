"""How much more do two workers step than one? Real Kafka and PostgreSQL, each worker a process of its own.

Sessions stand at the end of an empty log. Then a backlog of ticks is written at once, and the time is taken until every
session has come to its end and all is committed: with one worker, and with two, on a mesh of its own each. Beside it,
in the same run, what two processes get done over one that only count: what the machine has to give.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from mesh import fill
from sqlalchemy import text
from strategies import strategy

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.fixed import SCALE
from algotrade.engine.records import TICK, Records
from algotrade.engine.settings import RunSettings
from algotrade.platform import log
from algotrade.platform.bus import Message
from algotrade.platform.process import Platform, open_platform
from algotrade.platform.settings import Settings
from algotrade.platform.ticks import to_batch
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.stack.mesh import Mesh, mesh
from algotrade.stack.process import free_ports
from algotrade.v1.events_pb2 import MarketDataUpdate

TICKS_A_RECORD: Final = 64
COUNT: Final = 20_000_000
START_NS: Final = 1_700_000_000 * 10**9


@asynccontextmanager
async def stack(workers: int, **environment: Any) -> AsyncIterator[tuple[Mesh, Platform]]:
    """Run a mesh that nothing else uses, without ticks of its own; yield it and a platform that has joined it."""
    with tempfile.TemporaryDirectory(prefix="at-", ignore_cleanup_errors=True) as name:
        gateway, admin = free_ports(2)
        settings = Settings(
            data_dir=Path(name),
            gateway_address=f"127.0.0.1:{gateway}",
            envoy_admin_address=f"127.0.0.1:{admin}",
            log_level="error",
            pages_dir=None,
            rate_limits=False,
        )
        log.configure(settings)
        told = {"MARKET_PROVIDERS": '["synthetic"]', "SYNTHETIC_SYMBOLS": "[]", "LOG_LEVEL": "error"} | environment
        named = {f"ALGOTRADE_{key}": str(value) for key, value in told.items()}
        async with (
            mesh(Path(name) / "stack", settings, named, workers) as running,
            open_platform(running.settings) as platform,
        ):
            yield running, platform


def walk(symbol: int, count: int) -> Records:
    """Return ticks of a random walk, ten a second."""
    rng = np.random.default_rng(symbol)
    ticks = np.zeros(count, TICK)
    ticks["ts"] = START_NS + np.arange(count) * 10**8
    ticks["price"] = np.rint((100 + np.cumsum(rng.normal(0, 0.05, count))).clip(10) * 100).astype(np.int64) * (
        SCALE // 100
    )
    ticks["size"] = 1.0
    ticks["seq"] = np.arange(1, count + 1)
    return ticks


async def write(platform: Platform, symbols: Sequence[str], count: int) -> None:
    """Log a backlog of every symbol."""

    async def of(index: int, symbol: str) -> None:
        ticks = walk(index, count)
        messages = [
            Message(
                symbol, MarketDataUpdate(epoch=1, ticks=to_batch(ticks[at : at + TICKS_A_RECORD])).SerializeToString()
            )
            for at in range(0, count, TICKS_A_RECORD)
        ]
        for at in range(0, len(messages), 200):
            await platform.bus.publish(MARKET_DATA_UPDATES, messages[at : at + 200])

    await asyncio.gather(*(of(index, symbol) for index, symbol in enumerate(symbols)))


async def shared_out(platform: Platform, workers: int) -> None:
    """Return when so many workers hold all shards among them."""
    query = text("SELECT count(DISTINCT worker), count(*) FILTER (WHERE worker IS NULL) FROM shards")
    while True:
        async with platform.database.connect() as connection:
            if tuple((await connection.execute(query)).one()) == (workers, 0):
                return
        await asyncio.sleep(0.1)


async def at_the_end(platform: Platform, count: int) -> None:
    query = text("SELECT min(last_tick_sequence) FROM forward_test_sessions")
    while True:
        async with platform.database.connect() as connection:
            if (await connection.scalar(query) or 0) >= count:
                return
        await asyncio.sleep(0.02)


async def measure(workers: int, artefacts: Sequence[Artefact], given: argparse.Namespace) -> float:
    """Return how many sessions were stepped a second, each over a tick."""
    symbols = [f"SYM-{number}" for number in range(given.symbols)]
    async with stack(0) as (running, platform):
        await fill(platform, artefacts, symbols, given.sessions, RunSettings(interval=given.interval))
        await running.workers.scale(workers)
        await shared_out(platform, workers)
        await asyncio.sleep(given.rest)
        start = time.perf_counter()
        await write(platform, symbols, given.ticks)
        written = time.perf_counter() - start
        await at_the_end(platform, given.ticks)
        seconds = time.perf_counter() - start
    rate = given.sessions * given.ticks / seconds
    print(
        f"  {workers} worker(s): {rate:14,.0f} sessions x ticks a second ({seconds:.1f} s; written in {written:.1f} s)"
    )
    return rate


def count_up(_: int) -> int:
    total = 0
    for number in range(COUNT):
        total += number
    return total


def ceiling() -> float:
    """Return how much more two processes count than one."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(count_up, range(2))  # both are there now
        start = time.perf_counter()
        pool.apply(count_up, (0,))
        one = time.perf_counter() - start
        start = time.perf_counter()
        pool.map(count_up, range(2), chunksize=1)
        return 2 * one / (time.perf_counter() - start)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=4_000)
    parser.add_argument("--strategies", type=int, default=200)
    parser.add_argument("--symbols", type=int, default=8)
    parser.add_argument("--ticks", type=int, default=20_000, help="of each symbol")
    parser.add_argument("--interval", default="5s")
    parser.add_argument("--rest", type=float, default=5.0)
    given = parser.parse_args()
    compiled = [compile_strategy(strategy(number)).artefact for number in range(given.strategies)]
    artefacts = [one for one in compiled if one is not None]
    many = f"{given.sessions:,} sessions of {len(artefacts)} strategies"
    print(f"\n{many}, {given.symbols} symbols, a backlog of {given.ticks:,} ticks each")
    one, two = [await measure(workers, artefacts, given) for workers in (1, 2)]
    most = await asyncio.to_thread(ceiling)
    print(f"  two over one: {two / one:.2f}; two processes that only count over one: {most:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
