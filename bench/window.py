"""How long does GetWindow of 100 ticks take? On the service directly, and through Envoy, with what Envoy adds.

The whole platform runs in a process of its own, its made-up market at 20 ticks a second and symbol. One caller from
another process makes one call at a time, in turn each way. Beside them the cheapest answer there is, of the health
service, which passes none of our layers: what a call costs at least.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mesh import percentiles, registered, running
from rich.progress import track

from algotrade.platform.channel import open_channel
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

TICKS, SYMBOL = 100, "BTC-USD"
LIMIT_MS = 3.0  # p99 on the service
DIRECT, THROUGH, LEAST = "GetWindow, direct", "GetWindow, through Envoy", "health check, direct: the least"


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


async def filled(stub: MarketDataServiceStub) -> None:
    """Return when the window holds so many ticks."""
    async for message in stub.StreamTicks(pb.StreamTicksRequest(symbol=SYMBOL, after_sequence=0)):
        if message.sequence >= TICKS:
            return


async def measure(calls: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {DIRECT: [], THROUGH: [], LEAST: []}
    with running(market_providers='["synthetic"]') as platform:
        async with open_channel(platform.gateway) as public:
            token = await registered(public, "window")
        async with (
            open_channel(platform.grpc, lambda: token) as direct,
            open_channel(platform.gateway, lambda: token) as through,
        ):
            await filled(MarketDataServiceStub(direct))
            request = pb.GetWindowRequest(symbol=SYMBOL, limit=TICKS)
            ways: dict[str, Callable[[], Awaitable[object]]] = {
                DIRECT: lambda: MarketDataServiceStub(direct).GetWindow(request),
                THROUGH: lambda: MarketDataServiceStub(through).GetWindow(request),
                LEAST: lambda: health_pb2_grpc.HealthStub(direct).Check(health_pb2.HealthCheckRequest()),
            }
            for _ in range(50):
                for call in ways.values():
                    await call()
            assert len((await MarketDataServiceStub(through).GetWindow(request)).ticks) == TICKS
            for _ in track(range(calls), description="measuring"):
                for name, call in ways.items():
                    samples[name].append(await timed(call))
    return samples


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    samples = await measure(parser.parse_args().calls)
    print(f"\nGetWindow of {TICKS} ticks, one caller\n  {'':32}    p50 ms    p99 ms  worst ms")
    for name, seconds in samples.items():
        print(f"  {name:32}  {percentiles(seconds)}")
    added = [a - b for a, b in zip(samples[THROUGH], samples[DIRECT], strict=True)]
    p99 = float(np.percentile(samples[DIRECT], 99)) * 1e3
    print(f"Envoy adds {statistics.median(added) * 1e3:.2f} ms, median")
    print(f"{p99:.2f} ms on the service, p99 (under {LIMIT_MS:g} wanted)")


if __name__ == "__main__":
    asyncio.run(main())
