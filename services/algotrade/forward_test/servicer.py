"""ForwardTestService on the wire: messages in, messages out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from grpc.aio import ServicerContext

from algotrade.forward_test.certificate import certificate_message
from algotrade.forward_test.changes import Mark
from algotrade.forward_test.figures import figures_of, record_of
from algotrade.forward_test.lifecycle import Lifecycle
from algotrade.forward_test.messages import (
    event_message,
    mark_message,
    metric_message,
    point_message,
    position_message,
    session_message,
    timestamp,
    trade_message,
)
from algotrade.forward_test.points import PointStore, points_of
from algotrade.forward_test.session import Event, Session
from algotrade.forward_test.store import SessionStore
from algotrade.forward_test.stream import Item, Streamer
from algotrade.forward_test.verify import Verifier
from algotrade.platform import paging
from algotrade.platform.caller import principal
from algotrade.platform.thinning import thinned
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import forward_test_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

LIST_SESSIONS: Final = "ListSessions"
LIST_POSITIONS: Final = "ListPositions"
LIST_TRADES: Final = "ListTrades"
SESSIONS_PAGE: Final = (50, 500)  # by default, at most
LIST_CHART_POINTS: Final = "ListChartPoints"
TRADES_PAGE: Final = (100, 1000)
POINTS_PAGE: Final = (500, 5000)
POINTS: Final = 4000  # of a chart that is thinned out, at most


class ForwardTestServicer(pb_grpc.ForwardTestServiceServicer):
    """Translates between messages and who decides, who keeps, who follows."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        store: SessionStore,
        points: PointStore,
        streamer: Streamer,
        verifier: Verifier,
    ) -> None:
        """Take them."""
        self._points = points
        self._verifier = verifier
        self._lifecycle = lifecycle
        self._store = store
        self._streamer = streamer

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Context) -> pb.CreateSessionResponse:
        """Make a session."""
        return await self._lifecycle.create(principal().user_id, request)

    async def StartSession(self, request: pb.StartSessionRequest, context: Context) -> pb.StartSessionResponse:
        """Begin to trade."""
        session = await self._lifecycle.start(principal().user_id, request)
        return pb.StartSessionResponse(session=session_message(session))

    async def StopSession(self, request: pb.StopSessionRequest, context: Context) -> pb.StopSessionResponse:
        """End a session."""
        session = await self._lifecycle.stop(principal().user_id, request)
        return pb.StopSessionResponse(session=session_message(session))

    async def PauseSession(self, request: pb.PauseSessionRequest, context: Context) -> pb.PauseSessionResponse:
        """Let a session enter no position."""
        session = await self._lifecycle.pause(principal().user_id, request)
        return pb.PauseSessionResponse(session=session_message(session))

    async def ResumeSession(self, request: pb.ResumeSessionRequest, context: Context) -> pb.ResumeSessionResponse:
        """Let a session enter positions again."""
        session = await self._lifecycle.resume(principal().user_id, request)
        return pb.ResumeSessionResponse(session=session_message(session))

    async def FlattenSession(self, request: pb.FlattenSessionRequest, context: Context) -> pb.FlattenSessionResponse:
        """Close the position of a session that goes on."""
        session = await self._lifecycle.flatten(principal().user_id, request)
        return pb.FlattenSessionResponse(session=session_message(session))

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Context) -> pb.DeleteSessionResponse:
        """Delete a session that does not run."""
        await self._lifecycle.delete(principal().user_id, request)
        return pb.DeleteSessionResponse()

    async def EndUserSessions(self, request: pb.EndUserSessionsRequest, context: Context) -> pb.EndUserSessionsResponse:
        """Stop all of a user's sessions."""
        return pb.EndUserSessionsResponse(stopped=await self._lifecycle.end_all(request.user_id))

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:
        """Return one of the caller's sessions."""
        session = await self._lifecycle.get(principal().user_id, request.session_id)
        return pb.GetSessionResponse(session=session_message(session))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        """Return a page of the caller's sessions, the newest first."""
        size = paging.page_size(request.page_size, *SESSIONS_PAGE)
        before = _before(LIST_SESSIONS, request.page_token)
        found = await self._store.newest(principal().user_id, before, size + 1)
        page = found[:size]
        token = _newest_token(LIST_SESSIONS, page[-1]) if len(found) > size else ""
        return pb.ListSessionsResponse(sessions=[session_message(one) for one in page], next_page_token=token)

    async def ListTrades(self, request: pb.ListTradesRequest, context: Context) -> pb.ListTradesResponse:
        """Return a page of a session's closed trades, and on the last page the open one."""
        session = await self._lifecycle.get(principal().user_id, request.session_id)
        size = paging.page_size(request.page_size, *TRADES_PAGE)
        closed, still_open = await self._store.trades(
            session, _after(LIST_TRADES, session, request.page_token), size + 1
        )
        found = closed if still_open is None or len(closed) > size else [*closed, still_open]
        page, token = found[:size], ""
        if len(found) > size:
            token = paging.write_token(f"{LIST_TRADES} {session.session_id}", page[-1].sequence)
        return pb.ListTradesResponse(trades=[trade_message(one) for one in page], next_page_token=token)

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Context) -> pb.ListPositionsResponse:
        """Return a page of what the caller's sessions hold."""
        size = paging.page_size(request.page_size, *SESSIONS_PAGE)
        before = _before(LIST_POSITIONS, request.page_token)
        found = await self._store.positions(principal().user_id, before, size + 1)
        page = found[:size]
        token = _newest_token(LIST_POSITIONS, page[-1][0]) if len(found) > size else ""
        return pb.ListPositionsResponse(positions=[position_message(*one) for one in page], next_page_token=token)

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:
        """Return what a session's trades come to."""
        session = await self._lifecycle.get(principal().user_id, request.session_id)
        record = await record_of(self._store, session)
        points = await points_of(self._points, session)
        figures = await asyncio.to_thread(figures_of, record, points)
        return pb.GetMetricsResponse(
            session_id=session.session_id,
            metrics=[metric_message(one) for one in figures],
            last_sequence=record.session.last_sequence,
        )

    async def ListChartPoints(self, request: pb.ListChartPointsRequest, context: Context) -> pb.ListChartPointsResponse:
        """Return a page of a session's points, or all of them thinned out."""
        session = await self._lifecycle.get(principal().user_id, request.session_id)
        if request.max_points:
            points = await points_of(self._points, session)
            kept = await asyncio.to_thread(lambda: thinned(points.equity, min(request.max_points, POINTS)))
            found = [point_message(points[index]) for index in kept.tolist()]
            return pb.ListChartPointsResponse(points=found, total_points=len(points))
        size = paging.page_size(request.page_size, *POINTS_PAGE)
        after = _after(LIST_CHART_POINTS, session, request.page_token) - 1  # a bar may start at 0
        points, token = await points_of(self._points, session, after, size), ""
        if points.more:
            last = points[len(points) - 1].start_ns
            token = paging.write_token(f"{LIST_CHART_POINTS} {session.session_id}", last + 1)
        page = [point_message(points[index]) for index in range(len(points))]
        return pb.ListChartPointsResponse(points=page, next_page_token=token)

    async def VerifyParity(self, request: pb.VerifyParityRequest, context: Context) -> pb.VerifyParityResponse:
        """Replay a session's past and compare what is stored of it."""
        session = await self._lifecycle.started(principal().user_id, request.session_id)
        return pb.VerifyParityResponse(certificate=certificate_message(await self._verifier.verify(session)))

    async def StreamSession(
        self, request: pb.StreamSessionRequest, context: Context
    ) -> AsyncGenerator[pb.StreamSessionResponse, None]:
        """Send a snapshot, then events after a cursor, marks, and heartbeats in silence."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._streamer.follow(principal().user_id, request.session_id, after)) as items:
            async for item in items:
                yield _response(item)


def _response(item: Item) -> pb.StreamSessionResponse:
    payload, sequence = item.payload, item.sequence
    if isinstance(payload, Session):
        return pb.StreamSessionResponse(sequence=sequence, snapshot=session_message(payload))
    if isinstance(payload, Event):
        return pb.StreamSessionResponse(sequence=sequence, event=event_message(payload))
    if isinstance(payload, Mark):
        return pb.StreamSessionResponse(sequence=sequence, mark=mark_message(payload))
    return pb.StreamSessionResponse(sequence=sequence, heartbeat=types_pb2.Heartbeat(time=timestamp(payload.time_ns)))


def _newest_token(call: str, last: Session) -> str:
    return paging.write_token(call, last.create_time.isoformat(), last.session_id)


def _before(call: str, token: str) -> tuple[datetime, str] | None:
    keys = paging.read_token(call, token, 2)
    if keys is None:
        return None
    try:
        create_time, session_id = datetime.fromisoformat(str(keys[0])), str(uuid.UUID(str(keys[1])))
    except ValueError:
        raise paging.bad_token() from None
    if create_time.tzinfo is None:
        raise paging.bad_token()
    return create_time, session_id


def _after(call: str, session: Session, token: str) -> int:
    keys = paging.read_token(f"{call} {session.session_id}", token, 1)
    if keys is None:
        return 0
    if not isinstance(keys[0], int) or not 0 <= keys[0] < 2**63:
        raise paging.bad_token()
    return keys[0]
