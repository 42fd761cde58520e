"""`python -m algotrade.platform.healthcheck`: does the server of this container answer, and serve? Exits 0 or 1."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from algotrade.platform.certificates import Certificates
from algotrade.platform.settings import Settings

SECONDS: Final = 3.0


def serves(address: str, tls_dir: Path | None = None, seconds: float = SECONDS) -> bool:
    """Ask grpc.health.v1 about the process as a whole. Dependencies do not count: a restart would not mend them."""
    with _channel(address, tls_dir) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, tls_dir: Path | None) -> grpc.Channel:
    """With certificates the process asks itself in its own name."""
    if tls_dir is None:
        return grpc.insecure_channel(address)
    certificates = Certificates(tls_dir)
    pems = certificates.current()
    credentials = grpc.ssl_channel_credentials(pems.authorities, pems.key, pems.certificate)
    options = (("grpc.ssl_target_name_override", certificates.process),)
    return grpc.secure_channel(address, credentials, options=options)


def main() -> int:
    """Return 0 when it serves."""
    settings = Settings()
    port = settings.grpc_address.rpartition(":")[2]
    return 0 if serves(f"127.0.0.1:{port}", settings.tls_dir) else 1


if __name__ == "__main__":
    sys.exit(main())
