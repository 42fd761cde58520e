"""The mesh on real Kafka, Redis and PostgreSQL; its workers and servers are killed, frozen, cut off while it trades."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from chaos.followers import PATIENCE
from chaos.links import open_links
from chaos.logs import KafkaLog
from chaos.oracle import POISON, Verdict
from chaos.process import free_address, text_of
from chaos.trial import CALM, Trial
from chaos.workload import SYMBOLS, User
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from algotrade.platform.bus import partition_of
from algotrade.platform.settings import Settings
from algotrade.platform.topics import DEAD_LETTERS, MARKET_DATA_UPDATES, TOPICS
from algotrade.stack.mesh import SERVERS, kept, mesh
from algotrade.stack.process import Server
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

FAULTS: Final = {
    "worker": "a worker killed, and started again",
    "takeover": "a worker killed; another takes its sessions",
    "zombie": "a worker frozen; another takes its sessions; it wakes",
    "scaled": "a worker added, and one ended in order",
    "service": "another service killed, and started again",
    "restart": "a service stopped in order, and started again",
    "rolling": "every service stopped in order and started again, in turn",
    "postgres": "PostgreSQL stopped at once, and started again",
    "kafka": "Kafka killed, and started again",
    "flushed": "Redis flushed",
    "redis": "Redis killed, and started again empty",
    "slow": "a link to a server slow for two seconds",
    "silent": "a link to a server silent for a second, then closed",
    "closed": "a link to a server closed for a second",
    "again": "ticks logged again, out of order",
    "poison": "records that nobody can read, on every topic",
    "unread": "ten streams that nobody reads",
}
PATIENCE_OF_TESTS: Final = {
    "kafka_seconds": 3,
    "redis_timeout_seconds": 0.3,
    "redis_retry_seconds": 0.1,
    "command_seconds": 8,
    "statement_timeout_seconds": 4,
}
WORKERS: Final = 2
REPEATED: Final = 40  # records


def _address(worker: Server) -> str:
    """Return what its name in the roster ends with."""
    return f" {worker.environment['ALGOTRADE_GRPC_ADDRESS']}"


def _begun(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    for part in (folder, folder / "links"):
        part.mkdir()
    return kept(folder)


class MeshFaults:
    """A mesh with two workers, a user who trades on it, and what happens to it."""

    def __init__(self, folder: Path, seed: int, kinds: Counter[str], **settings: Any) -> None:
        """Take an empty folder with a short path, and how often what is to happen."""
        self.trial = Trial(folder, seed, **PATIENCE_OF_TESTS, **settings)
        self.kinds = kinds
        self._folder = folder / "stack"
        self._random = random.Random(seed)
        self._faults = self._random.sample(list(kinds.elements()), kinds.total())
        self._links_left: list[str] = []
        self._left_open: list[Any] = []
        self._failed = asyncio.Event()

    async def run(self) -> Verdict:
        """Strike, see that everything recovers, let the rest of the feed run out, and compare."""
        ports, _ = await asyncio.to_thread(_begun, self._folder)
        settings = Settings(
            data_dir=self._folder,
            gateway_address=free_address(),
            envoy_admin_address=free_address(),
            pages_dir=None,
            rate_limits=False,
            access_token_seconds=3600,
        )
        environment = {f"ALGOTRADE_{name.upper()}": text_of(value) for name, value in self.trial.settings.items()}
        async with AsyncExitStack() as stack:
            links = await stack.enter_async_context(
                open_links(self._folder / "links", {name: ports[name] for name in SERVERS})
            )
            self._links = links
            self._mesh = await stack.enter_async_context(
                mesh(self._folder, settings, environment, WORKERS, through=links.ports)
            )
            dsn = self._mesh.settings.database_dsn
            assert dsn is not None
            self._dsn = dsn.get_secret_value().replace(f":{links.ports['postgres']}/", f":{ports['postgres']}/")
            self._database = create_async_engine(
                self._dsn.replace("postgresql", "postgresql+asyncpg", 1), poolclass=NullPool
            )
            gateway = self._mesh.settings.gateway_address
            user = self.trial.user(gateway, gateway)
            stack.push_async_callback(user.close)
            async with self.trial.at_work(user) as busy:
                for kind in self._faults:
                    await self._strike(kind, user)
                    if busy.done():
                        busy.result()
            for call in self._left_open:
                call.cancel()
            return await self._settle(user)

    def table(self, title: str) -> str:
        """Write what happened for people."""
        return self.trial.table(title, {FAULTS[kind]: count for kind, count in self.kinds.items()})

    # ------------------------------------------------------------------ around a fault

    async def _strike(self, kind: str, user: User) -> None:
        """Do it, and note how long it took until every session had seen ticks that are newer than the fault.

        What is killed or frozen has failed at that moment, and is mended meanwhile; else the fault is over first.
        """
        await asyncio.sleep(self._random.uniform(0, 0.5))
        self._failed.clear()
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            fault = tasks.create_task(getattr(self, f"_{kind}")(user))
            fault.add_done_callback(lambda _: self._failed.set())
            await self._failed.wait()
            await self._caught_up(kind, await self._newest())
            took = time.monotonic() - began
        self.trial.recoveries.setdefault(FAULTS[kind], []).append(took)
        print(f"{FAULTS[kind]}: {took:.1f} s", flush=True)

    async def _newest(self) -> dict[str, int]:
        """Return the newest tick of each live symbol."""
        found = await self._asked("SELECT symbol, last_sequence FROM symbol_leases")
        return {row.symbol: row.last_sequence for row in found if row.symbol in SYMBOLS}

    async def _caught_up(self, kind: str, before: Mapping[str, int]) -> None:
        behind = """
            SELECT s.session_id, s.last_tick_sequence, h.worker FROM forward_test_sessions AS s
                JOIN unnest(CAST(:symbols AS text[]), CAST(:sequences AS bigint[])) AS b (symbol, sequence)
                    ON b.symbol = s.symbol
                JOIN shards AS h ON h.shard = s.shard
            WHERE s.status NOT IN ('created', 'stopped', 'halted') AND s.last_tick_sequence <= b.sequence
        """
        where = {"symbols": list(before), "sequences": list(before.values())}
        try:
            async with asyncio.timeout(PATIENCE):
                while left := await self._asked(behind, **where):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{FAULTS[kind]}: {left} never went on\n{self._logs()}") from None

    async def _asked(self, query: str, **values: Any) -> Any:
        """Ask the database, past the link, until it answers."""
        while True:
            with suppress(DBAPIError, OSError):
                async with self._database.connect() as connection:
                    return (await connection.execute(text(query), values)).all()
            await asyncio.sleep(0.05)

    async def _settle(self, user: User) -> Verdict:
        """Have nothing new come, and compare."""
        feeds = self._mesh.parts["market_data"]
        await feeds.stop()
        calm = {f"ALGOTRADE_{name.upper()}": text_of(value) for name, value in CALM.items()}
        feeds.environment = {**feeds.environment, **calm}
        await feeds.start()
        try:
            verdict = await self.trial.judge(user, self._dsn, KafkaLog(self._mesh.settings.kafka_servers))
        except TimeoutError as error:
            raise AssertionError(f"never settled: {error}\n{self._logs()}") from None
        finally:
            await self._database.dispose()
        if self.kinds["poison"]:
            letters = await self._mesh_records(TopicPartition(DEAD_LETTERS.name, 0), 10_000)
            verdict.check(bool(letters), "what nobody can read was passed over without a word")
        return verdict

    def _logs(self) -> str:
        tails = {name: part.log_path.read_text()[-3000:] for name, part in self._mesh.parts.items()}
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails.items() if name not in SERVERS)

    # ------------------------------------------------------------------ workers

    async def _kill(self, part: Server) -> None:
        await part.kill()
        self._failed.set()

    async def _any_worker(self) -> Server:
        """Return a worker that steps sessions on a live market: the end of another would not be noticed."""
        busy = """
            SELECT DISTINCT h.worker FROM forward_test_sessions AS s JOIN shards AS h ON h.shard = s.shard
            WHERE s.status IN ('running', 'paused') AND s.symbol = ANY(CAST(:symbols AS text[]))
                AND h.worker IS NOT NULL
        """
        async with asyncio.timeout(PATIENCE):
            while True:
                names = {row.worker for row in await self._asked(busy, symbols=list(SYMBOLS))}
                found = [
                    one for one in self._mesh.workers.running if any(name.endswith(_address(one)) for name in names)
                ]
                if found:
                    return self._random.choice(found)
                await asyncio.sleep(0.05)

    async def _has_nothing(self, worker: Server) -> None:
        """Return when others have every shard of a worker."""
        name = f"%{_address(worker)}"
        async with asyncio.timeout(PATIENCE):
            while await self._asked("SELECT shard FROM shards WHERE worker LIKE :name", name=name):
                await asyncio.sleep(0.05)

    async def _worker(self, user: User) -> None:
        del user
        worker = await self._any_worker()
        await self._kill(worker)
        await worker.start()

    async def _takeover(self, user: User) -> None:
        del user
        worker = await self._any_worker()
        await self._kill(worker)
        await self._has_nothing(worker)
        await worker.start()

    async def _zombie(self, user: User) -> None:
        del user
        worker = await self._any_worker()
        os.kill(worker.pid, signal.SIGSTOP)
        self._failed.set()
        await self._has_nothing(worker)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        os.kill(worker.pid, signal.SIGCONT)

    async def _scaled(self, user: User) -> None:
        del user
        await self._mesh.workers.scale(WORKERS + 1)
        await asyncio.sleep(self._random.uniform(0, 1.0))
        await self._mesh.workers.scale(WORKERS)

    # ------------------------------------------------------------------ the other services

    async def _service(self, user: User) -> None:
        del user
        service = self._random.choice([one for name, one in self._mesh.single.items() if name not in SERVERS])
        await self._kill(service)
        await service.start()

    async def _restart(self, user: User) -> None:
        del user
        await self._again_in_order(
            self._random.choice([one for name, one in self._mesh.parts.items() if name not in SERVERS])
        )

    async def _rolling(self, user: User) -> None:
        del user
        for name, service in self._mesh.parts.items():
            if name not in SERVERS:
                await self._again_in_order(service)

    async def _again_in_order(self, service: Server) -> None:
        await service.stop()
        await service.start()

    # ------------------------------------------------------------------ servers and links

    async def _postgres(self, user: User) -> None:
        del user
        server = self._mesh.parts["postgres"]
        server.stop_signal, ordered = signal.SIGQUIT, server.stop_signal
        await server.stop()
        server.stop_signal = ordered
        await server.start()

    async def _kafka(self, user: User) -> None:
        del user
        await self._kill(self._mesh.parts["kafka"])
        await self._mesh.parts["kafka"].start()

    async def _flushed(self, user: User) -> None:
        del user
        url = self._mesh.settings.redis_url
        assert url is not None
        async with Redis.from_url(url.get_secret_value()) as client:
            await client.flushall()

    async def _redis(self, user: User) -> None:
        del user
        await self._kill(self._mesh.parts["redis"])
        await self._mesh.parts["redis"].start()

    def _any_link(self) -> str:
        """Return a link, each in its turn."""
        if not self._links_left:
            self._links_left = self._random.sample(SERVERS, len(SERVERS))
        return self._links_left.pop()

    async def _slow(self, user: User) -> None:
        del user
        await self._links.slow(self._any_link())
        await asyncio.sleep(2)
        await self._links.heal()

    async def _silent(self, user: User) -> None:
        del user
        await self._links.silent(self._any_link())
        await asyncio.sleep(2)
        await self._links.heal()

    async def _closed(self, user: User) -> None:
        del user
        await self._links.close(self._any_link())
        await asyncio.sleep(1)
        await self._links.heal()

    # ------------------------------------------------------------------ what is in the log, and who reads it

    async def _mesh_records(self, place: TopicPartition, count: int) -> list[Any]:
        """Return the newest records of a partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._mesh.settings.kafka_servers, group_id=None)
        found: list[Any] = []
        async with consumer:
            end = (await consumer.end_offsets([place]))[place]
            first = max(0, end - count)
            consumer.assign([place])
            consumer.seek(place, first)
            while len(found) < end - first:
                found += (await consumer.getmany(place, timeout_ms=5_000)).get(place, [])
        return found

    async def _send(self, records: list[tuple[str, int, bytes, bytes]]) -> None:
        """Write records {topic, partition, key, payload} as nobody should."""
        async with AIOKafkaProducer(bootstrap_servers=self._mesh.settings.kafka_servers) as producer:
            for topic, partition, key, payload in records:
                await producer.send_and_wait(topic, payload, key=key, partition=partition)

    async def _again(self, user: User) -> None:
        del user
        symbol = self._random.choice(SYMBOLS)
        place = TopicPartition(MARKET_DATA_UPDATES.name, partition_of(symbol, MARKET_DATA_UPDATES.partitions))
        records = [one for one in await self._mesh_records(place, REPEATED) if one.key == symbol.encode()]
        repeated = self._random.sample(records, len(records))
        await self._send([(one.topic, one.partition, one.key, one.value) for one in repeated])

    async def _poison(self, user: User) -> None:
        del user
        await self._send(
            [
                (topic.name, partition, POISON.encode(), self._random.randbytes(self._random.randint(1, 200)))
                for topic in TOPICS
                for partition in range(topic.partitions)
            ]
        )

    async def _unread(self, user: User) -> None:
        open_call = user.opener()
        for number in range(10):
            request = market.StreamTicksRequest(symbol=SYMBOLS[number % len(SYMBOLS)], after_sequence=0)
            self._left_open.append(open_call(MarketDataServiceStub, "StreamTicks", request))
