"""`python -m algotrade.platform.healthcheck`: does the server of this container answer, and serve? Exits 0 or 1."""

from __future__ import annotations

import sys
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from algotrade.platform.settings import Settings

SECONDS: Final = 3.0


def serves(address: str, seconds: float = SECONDS) -> bool:
    """Ask grpc.health.v1 about the process as a whole. Dependencies do not count: a restart would not mend them."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    """Return 0 when it serves."""
    port = Settings().grpc_address.rpartition(":")[2]
    return 0 if serves(f"127.0.0.1:{port}") else 1


if __name__ == "__main__":
    sys.exit(main())
