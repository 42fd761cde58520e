"""Making, steering and ending sessions: what may be done, and what the worker is then told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import numpy as np

from algotrade.engine.backtest import fitting
from algotrade.engine.compile import Artefact
from algotrade.engine.records import BAR
from algotrade.engine.runtime import Sessions, bind
from algotrade.engine.settings import RunSettings, SettingsError
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.messages import session_message
from algotrade.forward_test.session import Command, CommandKind, Session, Status
from algotrade.forward_test.store import Draft, SessionStore
from algotrade.forward_test.tell import outgoing_command
from algotrade.forward_test.upstream import Feed, Upstream
from algotrade.platform import failpoints
from algotrade.platform.caller import CORRELATION_ID, TRACEPARENT
from algotrade.platform.clock import Clock
from algotrade.platform.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from algotrade.platform.once import Once
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2

# Where a command makes sense, be it that it changes nothing.
_ALLOWED: Final = {
    CommandKind.START: (Status.CREATED, Status.RUNNING),
    CommandKind.PAUSE: (Status.RUNNING, Status.PAUSED),
    CommandKind.RESUME: (Status.RUNNING, Status.PAUSED),
    CommandKind.FLATTEN: (Status.RUNNING, Status.PAUSED),
}


class Lifecycle:
    """Decides about sessions on behalf of their owners."""

    def __init__(
        self,
        store: SessionStore,
        upstream: Upstream,
        changes: Changes,
        clock: Clock,
        *,
        apply_seconds: float,
        poll_seconds: float,
        stored: Callable[[Collection[int]], None],
    ) -> None:
        """Take where things are, how long a command may take, and who sends what was stored."""
        self._store = store
        self._upstream = upstream
        self._changes = changes
        self._clock = clock
        self._apply_seconds = apply_seconds
        self._poll_seconds = poll_seconds
        self._stored = stored

    async def create(self, user_id: str, request: pb.CreateSessionRequest) -> pb.CreateSessionResponse:
        """Make a session of a strategy as it is now. Raises InvalidArgument naming the setting or parameter."""
        first = Once.of(user_id, "CreateSession", request, pb.CreateSessionResponse())
        if first is not None and (known := await self._store.answered(first)) is not None:
            return pb.CreateSessionResponse.FromString(known)
        strategy = await self._upstream.strategy(request.strategy_id, request.strategy_version)
        if not strategy.artefact_hash:
            raise FailedPrecondition(
                "STRATEGY_NOT_COMPILABLE",
                "the strategy has errors; ValidateStrategy tells them",
                strategy_id=strategy.strategy_id,
                version=strategy.version,
            )
        feed = await self._upstream.feed(request.symbol)
        artefact = await self._upstream.artefact(strategy.artefact_hash)
        times = await self._upstream.bar_times(feed.symbol) if feed.bars else []
        settings = settings_of(request.settings, feed, artefact, times)
        parameters = parameters_of(request.parameters, artefact)
        warmup_bars = await asyncio.to_thread(warmup_bars_of, artefact, settings, parameters)
        session = Session(
            session_id=str(uuid.uuid4()),
            user_id=user_id,
            name=request.name.strip() or f"{strategy.name} · {feed.symbol}"[:255],
            strategy_id=strategy.strategy_id,
            strategy_version=strategy.version,
            artefact_hash=artefact.hash,
            symbol=feed.symbol,
            settings=settings,
            parameters=parameters,
            from_first_tick=feed.replay,
            create_time=datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC),
            warmup_bars=warmup_bars,
            cash=settings.initial_cash,
            equity=settings.initial_cash,
            source=feed.provider,
        )
        # The graph is kept as the text it is: JSON of the database would spell its numbers anew.
        snapshot = {
            "strategy_id": strategy.strategy_id,
            "version": strategy.version,
            "name": strategy.name,
            "description": strategy.description,
            "graph": strategy.graph,
        }
        answer = pb.CreateSessionResponse(session=session_message(session))
        once = Once.of(user_id, "CreateSession", request, answer)
        earlier = await self._store.create(Draft(session, snapshot, artefact.wasm), once)
        failpoints.reached("session.created")
        return answer if earlier is None else pb.CreateSessionResponse.FromString(earlier)

    async def start(self, user_id: str, request: pb.StartSessionRequest) -> Session:
        """Start a session and return it once its place in the feed is fixed."""
        once = Once.of(user_id, "StartSession", request, pb.StartSessionResponse())
        return await self._steer(user_id, request.session_id, CommandKind.START, once)

    async def stop(self, user_id: str, request: pb.StopSessionRequest) -> Session:
        """Stop a session and return it as it then is."""
        session = await self.get(user_id, request.session_id)
        if session.status is Status.STOPPED:
            return session
        if session.status not in (Status.RUNNING, Status.PAUSED, Status.STOPPING):
            raise _wrong_status(session, "stop")
        flatten = request.mode == pb.STOP_MODE_FLATTEN
        return await self._tell(session, CommandKind.STOP_FLATTEN if flatten else CommandKind.STOP_KEEP, None)

    async def pause(self, user_id: str, request: pb.PauseSessionRequest) -> Session:
        """Let a session enter no position, and return it as it then is."""
        once = Once.of(user_id, "PauseSession", request, pb.PauseSessionResponse())
        return await self._steer(user_id, request.session_id, CommandKind.PAUSE, once)

    async def resume(self, user_id: str, request: pb.ResumeSessionRequest) -> Session:
        """Let a session enter positions again, and return it as it then is."""
        once = Once.of(user_id, "ResumeSession", request, pb.ResumeSessionResponse())
        return await self._steer(user_id, request.session_id, CommandKind.RESUME, once)

    async def flatten(self, user_id: str, request: pb.FlattenSessionRequest) -> Session:
        """Have a session sell its position at the next price, and return it once that is ordered."""
        once = Once.of(user_id, "FlattenSession", request, pb.FlattenSessionResponse())
        return await self._steer(user_id, request.session_id, CommandKind.FLATTEN, once)

    async def delete(self, user_id: str, request: pb.DeleteSessionRequest) -> None:
        """Delete a session that does not run."""
        once = Once.of(user_id, "DeleteSession", request, pb.DeleteSessionResponse())
        if await self._done(once):
            return
        try:
            session = await self.get(user_id, request.session_id)
        except NotFound:
            if await self._done(once):  # by the same request, that came a moment earlier
                return
            raise
        if not await self._store.delete(session, once):
            raise _wrong_status(await self.get(user_id, request.session_id), "be deleted")

    async def end_all(self, user_id: str) -> int:
        """Stop all of a user's sessions that go on, what they hold kept; return how many. Raises Unavailable."""
        going = await self._store.going(user_id)
        await asyncio.gather(*(self._tell(session, CommandKind.STOP_KEEP, None) for session in going))
        return len(going)

    async def _steer(self, user_id: str, session_id: str, kind: CommandKind, once: Once | None) -> Session:
        """Tell a session something that its status allows; what it was told before it is not told again."""
        session = await self.get(user_id, session_id)
        if once is not None and await self._done(once):
            return await self._after(session, _command(session, kind, once))
        if session.status not in _ALLOWED[kind]:
            raise _wrong_status(session, kind)
        return await self._tell(session, kind, once)

    async def get(self, user_id: str, session_id: str) -> Session:
        """Return a session of a user. Raises NotFound."""
        session = await self._store.get(user_id, session_id)
        if session is None:
            raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session_id)
        return session

    async def _done(self, once: Once | None) -> bool:
        """Tell whether the same request was obeyed before. Raises AlreadyExists where it was another."""
        return once is not None and await self._store.answered(once) is not None

    async def started(self, user_id: str, session_id: str) -> Session:
        """Return a session of a user that has been started. Raises NotFound, FailedPrecondition."""
        session = await self.get(user_id, session_id)
        if session.status is Status.CREATED:
            raise _wrong_status(session, "be verified")
        return session

    async def _tell(self, session: Session, kind: CommandKind, once: Once | None) -> Session:
        """Store a command, or find it stored by the same request; return the session after it."""
        command = _command(session, kind, once)
        outgoing = outgoing_command(session, command, self._clock.now_ns())
        if await self._store.tell(session, command, outgoing, once):
            failpoints.reached("command.told")
            self._stored([session.shard])
        return await self._after(session, command)

    async def _after(self, session: Session, command: Command) -> Session:
        """Return the session once the worker has applied a command. Raises Unavailable where none does in time."""
        with self._changes.watching(session.session_id) as watch:
            try:
                async with asyncio.timeout(self._apply_seconds):
                    while not await self._store.is_applied(command):
                        await watch.wait(self._poll_seconds)
            except TimeoutError:
                raise Unavailable(
                    "DEPENDENCY_UNAVAILABLE",
                    "no worker has taken the command yet; it stays and will be",
                    dependency="worker",
                ) from None
        return await self.get(session.user_id, session.session_id)


def _command(session: Session, kind: CommandKind, once: Once | None) -> Command:
    """Write a command. That of a request_id has an id made from it, so that who repeats it can wait for it too."""
    command_id = uuid.uuid5(uuid.UUID(session.session_id), once.request_id) if once else uuid.uuid4()
    return Command(str(command_id), session.session_id, kind, CORRELATION_ID.get(), TRACEPARENT.get())


def settings_of(given: types_pb2.RunSettings, feed: Feed, artefact: Artefact, bar_times: Sequence[int]) -> RunSettings:
    """Read run settings against a feed, the starts of its bars, and a strategy.

    Raises InvalidArgument naming the setting.
    """
    texts = {field.name: value for field, value in given.ListFields() if value != ""}
    try:
        settings = RunSettings.parse({"interval": "native" if feed.bars else "1m", **texts})
        _check(settings, feed, artefact)
        if feed.bars:
            bars = np.zeros(len(bar_times), BAR)
            bars["ts"] = bar_times
            settings = fitting(settings, bars, artefact)
        settings.check_timeframes(artefact.report.timeframes)
    except SettingsError as error:
        raise _bad_setting(f"settings.{error.field}", error) from error
    return settings


def _check(settings: RunSettings, feed: Feed, artefact: Artefact) -> None:
    if not feed.bars and settings.interval == "native":
        raise SettingsError("interval", "the feed has trades, no bars; use tick or an interval")
    if settings.path == "worst":
        raise SettingsError("path", "a feed comes in the order in which it comes; worst is for backtests")
    settings.check_short(sells_short=artefact.manifest.has_short)


def parameters_of(given: Mapping[str, str], artefact: Artefact) -> dict[str, str]:
    """Return every parameter's value as a decimal. Raises InvalidArgument naming the parameter."""
    try:
        bound = bind(artefact.manifest.parameters, given)
    except SettingsError as error:
        raise _bad_setting(f"parameters.{error.field}", error) from error
    return {name: str(value) if isinstance(value, int) else _decimal(value) for name, value in bound.items()}


def _decimal(value: float) -> str:
    """Write the shortest decimal that names a float, without an exponent."""
    return format(Decimal(repr(value)), "f")


def warmup_bars_of(artefact: Artefact, settings: RunSettings, parameters: Mapping[str, str]) -> int:
    """Ask the module itself. Raises InvalidArgument for settings it cannot run under."""
    sessions = Sessions(artefact)
    try:
        return sessions.state(sessions.add(settings, parameters)).warmup_bars
    except SettingsError as error:
        raise _bad_setting(f"settings.{error.field}", error) from error


def _bad_setting(field: str, error: SettingsError) -> InvalidArgument:
    return InvalidArgument("SETTINGS_INVALID", f"{field}: {error.message}", violations=[(field, error.message)])


def _wrong_status(session: Session, verb: str) -> FailedPrecondition:
    return FailedPrecondition(
        "SESSION_STATUS",
        f"a session that is {session.status} cannot {verb}",
        session_id=session.session_id,
        status=session.status,
    )
