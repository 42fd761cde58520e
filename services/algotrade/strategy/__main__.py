"""Wires strategy; `python -m algotrade.strategy` runs it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from algotrade.platform.process import Platform, run
from algotrade.platform.server import Mount
from algotrade.platform.settings import Settings
from algotrade.strategy.compile import Compiler
from algotrade.strategy.postgres import PostgresStrategyStore
from algotrade.strategy.servicer import StrategyServicer
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2_grpc as pb_grpc


@asynccontextmanager
async def build(platform: Platform) -> AsyncIterator[Mount]:
    """Build the service on a platform."""
    store = PostgresStrategyStore(platform.database, platform.bus)
    servicer = StrategyServicer(Compiler(), store, platform.cache, platform.clock, platform.metrics)
    yield Mount(
        pb.DESCRIPTOR.services_by_name["StrategyService"],
        partial(pb_grpc.add_StrategyServiceServicer_to_server, servicer),
        {"database": platform.database_probe} | platform.aids,
        frozenset(platform.aids),
    )


if __name__ == "__main__":
    asyncio.run(run(Settings(), [build]))
