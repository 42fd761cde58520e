"""What other services have of a user, ended in identity's own name when the account goes."""

from __future__ import annotations

from typing import Final, Protocol

import grpc

from algotrade.platform.upstream import DEADLINE_SECONDS, pass_on
from algotrade.v1 import backtest_service_pb2 as backtest_pb
from algotrade.v1 import forward_test_service_pb2 as session_pb
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub

FORWARD_TEST: Final = "algotrade.v1.ForwardTestService"
BACKTEST: Final = "algotrade.v1.BacktestService"


class Belongings(Protocol):
    """What goes on, or is kept, in other services on behalf of a user."""

    async def end(self, user_id: str) -> None:
        """End it; twice is as good as once. Raises Unavailable where a service does not answer."""
        ...


class Upstream:
    """ForwardTestService and BacktestService behind their channels, which carry a service token."""

    def __init__(self, sessions: grpc.aio.Channel, backtests: grpc.aio.Channel) -> None:
        """Take the channels."""
        self._sessions = ForwardTestServiceStub(sessions)
        self._backtests = BacktestServiceStub(backtests)

    async def end(self, user_id: str) -> None:
        """Stop the sessions, which workers hold, and delete the backtests, whose bars are shared: no cascade can."""
        ending = session_pb.EndUserSessionsRequest(user_id=user_id)
        try:
            await self._sessions.EndUserSessions(ending, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            pass_on(error, "forward_test")
        deleting = backtest_pb.DeleteUserBacktestsRequest(user_id=user_id)
        try:
            await self._backtests.DeleteUserBacktests(deleting, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            pass_on(error, "backtest")
