"""Other services asked on behalf of the caller, with the caller's own token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from algotrade.engine.compile import Artefact
from algotrade.platform import errors
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

DEADLINE_SECONDS: Final = 20.0
PROBE_SECONDS: Final = 2.0
_ERRORS: Final = {code: kind for kind, code in errors.CODES.items()}


class SavedStrategies:
    """StrategyService behind a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take the channel; its calls carry the token of the call that is running."""
        self._strategies = StrategyServiceStub(channel)

    async def strategy(self, strategy_id: str, version: int) -> strategy_pb.Strategy:
        """Return a version of one of the caller's strategies, 0 being the newest. Raises NotFound."""
        request = strategy_pb.GetStrategyRequest(strategy_id=strategy_id, version=version)
        try:
            response = await self._strategies.GetStrategy(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            pass_on(error, "strategy")
        return response.strategy

    async def artefact(self, artefact_hash: str) -> Artefact:
        """Return an artefact, after its bytes have been checked against its hash. Raises NotFound."""
        request = strategy_pb.GetArtefactRequest(artefact_hash=artefact_hash)
        try:
            response = await self._strategies.GetArtefact(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            pass_on(error, "strategy")
        artefact = Artefact.from_wasm(response.module)
        if artefact.hash != artefact_hash:
            raise ValueError(f"asked for the artefact {artefact_hash}, got {artefact.hash}")
        return artefact


class NotServing(Exception):  # noqa: N818  (a state)
    """A service answers, and lacks something itself."""


def serving_probe(channel: grpc.aio.Channel, service: str) -> Callable[[], Awaitable[None]]:
    """Return a probe that raises while a service, by its full name, cannot be reached or does not serve."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def probe() -> None:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotServing(service)

    return probe


def pass_on(error: grpc.aio.AioRpcError, dependency: str) -> NoReturn:
    """Give the caller an error of another service as it is, or say which service is away."""
    info, kind = errors.info(error), _ERRORS.get(error.code())
    if kind is not None and info.reason and kind not in (errors.Unavailable, errors.Internal):
        violations = list(errors.violations(error).items())
        raise kind(info.reason, error.details() or "", violations=violations, **info.metadata) from error
    raise errors.Unavailable(
        "DEPENDENCY_UNAVAILABLE", f"{dependency} does not answer", dependency=dependency
    ) from error
