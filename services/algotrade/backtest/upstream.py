"""Saved strategies, asked of the service that has them, with the caller's own token."""

from __future__ import annotations

from typing import Final, NoReturn

import grpc

from algotrade.engine.compile import Artefact
from algotrade.platform import errors
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

DEADLINE_SECONDS: Final = 20.0
_ERRORS: Final = {code: kind for kind, code in errors.CODES.items()}


class Upstream:
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
            _pass_on(error)
        return response.strategy

    async def artefact(self, artefact_hash: str) -> Artefact:
        """Return an artefact, after its bytes have been checked against its hash. Raises NotFound."""
        request = strategy_pb.GetArtefactRequest(artefact_hash=artefact_hash)
        try:
            response = await self._strategies.GetArtefact(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            _pass_on(error)
        artefact = Artefact.from_wasm(response.module)
        if artefact.hash != artefact_hash:
            raise ValueError(f"asked for the artefact {artefact_hash}, got {artefact.hash}")
        return artefact


def _pass_on(error: grpc.aio.AioRpcError) -> NoReturn:
    """Give the caller the service's error as it is, or say that the service is away."""
    info, kind = errors.info(error), _ERRORS.get(error.code())
    if kind is None or not info.reason or issubclass(kind, errors.Unavailable | errors.Internal):
        sentence = "strategy does not answer"
        raise errors.Unavailable("DEPENDENCY_UNAVAILABLE", sentence, dependency="strategy") from error
    violations = list(errors.violations(error).items())
    raise kind(info.reason, error.details() or "", violations=violations, **info.metadata) from error
