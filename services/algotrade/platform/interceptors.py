"""Everything that happens around a handler, as one ordered list of layers.

A layer is an asynchronous context manager around the running call, so it is written once for unary calls and for
streams. From the outside in: correlation id, the span where there are any, metrics and log, error mapping, deadline,
which process calls, authentication, field rules, and how many streams a user may have open.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from typing import Any, Final, NoReturn

import grpc
import protovalidate
import structlog
from google.protobuf.message import Message

from algotrade.platform import errors, tracing
from algotrade.platform.call import Call, Layer
from algotrade.platform.caller import CORRELATION_ID, PRINCIPAL, Principal, carried
from algotrade.platform.certificates import Certificates, service_uri
from algotrade.platform.database import is_away
from algotrade.platform.mesh import CALLS, GATEWAY
from algotrade.platform.metrics import Metrics
from algotrade.platform.observed import correlated, measured
from algotrade.platform.policy import Access, Need
from algotrade.platform.settings import Settings
from algotrade.platform.timestamps import bad_timestamps
from algotrade.platform.tokens import TokenVerifier

RETRY_SECONDS: Final = 1.0  # a stream that was closed is seen to be gone by then


def layers(
    metrics: Metrics,
    verifier: TokenVerifier,
    needs: Mapping[str, Need],
    settings: Settings,
    certificates: Certificates | None = None,
) -> tuple[Layer, ...]:
    """Return the layers in order, the outermost first. With certificates, processes are told apart by theirs."""
    spans = tracing.running()
    return (
        correlated,
        *([spans.layer] if spans else []),
        measured(metrics),
        mapped,
        capped(settings.unary_deadline_seconds),
        *([admitted(certificates, needs)] if certificates else []),
        authenticated(verifier, needs, settings.stream_token_grace_seconds),
        validated(protovalidate.Validator()),
        bounded(settings.streams_per_user),
    )


@asynccontextmanager
async def mapped(call: Call) -> AsyncIterator[None]:
    """Turn exceptions into statuses. What is not meant for the caller goes to the log, not over the wire."""
    try:
        yield
    except errors.ServiceError as error:
        await _end(call, error)
    except grpc.aio.AbortError:
        call.code = _code(call.context)
        raise
    except asyncio.CancelledError:
        if not call.stopping:
            raise
        await _end(call, errors.Unavailable("SHUTTING_DOWN", "the server is stopping; connect again"))
    except Exception as error:
        call.error = error  # for the log
        if is_away(error):
            await _end(call, errors.Unavailable("DEPENDENCY_UNAVAILABLE", "no database", dependency="database"))
        await _end(call, errors.Internal("INTERNAL", "internal error", correlation_id=CORRELATION_ID.get()))


async def _end(call: Call, error: errors.ServiceError) -> NoReturn:
    status = errors.status(error, CORRELATION_ID.get())
    call.code, call.reason = status.code, error.reason
    await call.context.abort(status.code, status.details, (*status.trailing_metadata, *carried()))
    raise AssertionError("abort always raises")


def _code(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    number: Any = context.code()
    return next((code for code in grpc.StatusCode if number in (code, code.value[0])), grpc.StatusCode.UNKNOWN)


def capped(seconds: float) -> Layer:
    """End a unary call after so long, whatever the client allows; a stream lasts as long as its client wishes."""

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        if call.streaming:
            yield
            return
        try:
            async with asyncio.timeout(seconds) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise errors.DeadlineExceeded("DEADLINE_EXCEEDED", f"not done after {seconds:g} s") from None

    return layer


def admitted(certificates: Certificates, needs: Mapping[str, Need]) -> Layer:
    """Let a process call what it needs, whosever token it brings along; the gateway what clients may call.

    TLS has seen to it that the certificate is good, and of an authority that this process trusts.
    """
    domain, own = certificates.trust_domain, certificates.uri
    allowed = {service_uri(domain, process): methods for process, methods in CALLS.items()}
    allowed[service_uri(domain, GATEWAY)] = frozenset(
        method for method, need in needs.items() if need.access is not Access.SERVICE
    )

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        names = list(call.context.auth_context().get("peer_uri", ()))
        caller = names[0].decode() if len(names) == 1 else ""
        structlog.contextvars.bind_contextvars(peer=caller)
        if caller != own and call.method not in allowed.get(caller, ()):
            raise errors.PermissionDenied("PEER_NOT_ADMITTED", "this process does not call that", peer=caller)
        yield

    return layer


def authenticated(verifier: TokenVerifier, needs: Mapping[str, Need], stream_grace_seconds: float) -> Layer:
    """Verify the token of every call that needs one, whoever verified it before. A stream ends with its token."""

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        need = needs[call.method]
        if need.access is Access.PUBLIC:
            yield
            return
        if need.access is Access.SERVICE:
            structlog.contextvars.bind_contextvars(service=verifier.verify_service(_bearer(call)))
            yield
            return
        caller = verifier.verify(_bearer(call))
        _check(caller, need)
        PRINCIPAL.set(caller)
        structlog.contextvars.bind_contextvars(user_id=caller.user_id)
        if not call.streaming:
            yield
            return
        async with _while_good(caller, verifier, stream_grace_seconds):
            yield

    return layer


def _check(caller: Principal, need: Need) -> None:
    """Raise PermissionDenied where a good token is not good for this."""
    if need.access in (Access.LOGIN, Access.ADMIN) and not caller.login_id:
        raise errors.PermissionDenied("LOGIN_REQUIRED", "an API key may not do this; log in")
    if need.access is Access.ADMIN and not caller.is_admin:
        raise errors.PermissionDenied("ADMIN_REQUIRED", "only an administrator may do this")
    if caller.scopes is not None and need.scope.value not in caller.scopes:
        scope = need.scope.value
        raise errors.PermissionDenied("SCOPE_MISSING", f"the API key was not made for this: {scope}", scope=scope)


@asynccontextmanager
async def _while_good(caller: Principal, verifier: TokenVerifier, grace_seconds: float) -> AsyncIterator[None]:
    """Raise Unauthenticated some time after the token expires, and as soon as it is known to be revoked."""
    try:
        async with asyncio.timeout(caller.expires_at - verifier.clock() + grace_seconds) as life:

            def end() -> None:
                if not life.expired():
                    life.reschedule(0)

            with verifier.revocations.told(caller, end) if verifier.revocations else nullcontext():
                yield
    except TimeoutError:
        if not life.expired():
            raise
        if verifier.revocations:
            verifier.revocations.check(caller)
        raise errors.Unauthenticated(
            "TOKEN_EXPIRED", "the token has expired; go on from the cursor with a new one"
        ) from None


def _bearer(call: Call) -> str:
    given = call.metadata.get("authorization", [])
    if not given:
        raise errors.Unauthenticated("TOKEN_MISSING", "this call needs a bearer token")
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise errors.Unauthenticated("TOKEN_INVALID", "authorization must be one bearer token")
    return token.strip()


def validated(validator: protovalidate.Validator) -> Layer:
    """Hold the request to the rules its proto file states."""

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        violations = [(path, "is no time") for path in bad_timestamps(call.request)]
        if not violations:  # rules reckon with times
            found = validator.collect_violations(call.request)
            violations = [(_path(violation.proto), violation.proto.message) for violation in found]
        if violations:
            sentence = "; ".join(f"{path}: {text}" for path, text in violations)
            raise errors.InvalidArgument("FIELD_INVALID", sentence, violations=violations)
        yield

    return layer


def bounded(streams_per_user: int) -> Layer:
    """Refuse a stream to a user who has so many open in this process; unary calls pass."""
    open_streams: Counter[str] = Counter()

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        caller = PRINCIPAL.get()
        if not call.streaming or caller is None:
            yield
            return
        if open_streams[caller.user_id] >= streams_per_user:
            sentence = f"a user has at most {streams_per_user} streams open; close one first"
            raise errors.ResourceExhausted(
                "LIMIT_REACHED", sentence, retry_seconds=RETRY_SECONDS, limit="streams", value=streams_per_user
            )
        open_streams[caller.user_id] += 1
        try:
            yield
        finally:
            open_streams[caller.user_id] -= 1
            if not open_streams[caller.user_id]:
                del open_streams[caller.user_id]

    return layer


def _path(violation: Any) -> str:
    """Write a field path as people do: ``graph.nodes[3].id``."""
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = getattr(element, "subscript", None)
        if subscript is not None:
            path += f"[{subscript.value}]"
    return path


class LayeredCalls(grpc.aio.ServerInterceptor):
    """Runs every call of the application's services within the layers; leaves health and reflection alone."""

    def __init__(
        self, metrics: Metrics, methods: Collection[str], around: Sequence[Layer], stream_write_seconds: float
    ) -> None:
        """Take which methods run in the layers, the layers, the outermost first, and how long a client may leave a
        stream's message lying.
        """
        self._write_seconds = stream_write_seconds
        self._metrics = metrics
        self._methods = methods
        self._around = tuple(around)
        self._streams: dict[asyncio.Task[Any], Call] = {}

    def end_streams(self) -> None:
        """End every open stream with UNAVAILABLE: its client connects elsewhere and goes on from its cursor."""
        for task, call in self._streams.items():
            call.stopping = True
            task.cancel()

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Wrap the handler of a method."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method not in self._methods:
            return handler
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codec)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codec)

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def run(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = Call(method, False, request, context)
            async with AsyncExitStack() as stack:
                for layer in self._around:
                    await stack.enter_async_context(layer(call))
                response = await behaviour(request, context)
                call.sent = 1
                return response

        return run

    def _stream(self, method: str, behaviour: Any) -> Any:
        """Pump the generator from a coroutine: then its cleanup runs here and now, not when it is collected."""
        if not inspect.isasyncgenfunction(inspect.unwrap(behaviour)):
            raise TypeError(f"{method}: a streaming handler must be an asynchronous generator")

        async def run(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            call = Call(method, True, request, context)
            sent = self._metrics.messages_sent.labels(*call.labels)
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  (a coroutine runs in a task)
            self._streams[task] = call
            try:
                async with AsyncExitStack() as stack:
                    for layer in self._around:
                        await stack.enter_async_context(layer(call))
                    messages = await stack.enter_async_context(aclosing(behaviour(request, context)))
                    opened = False
                    async for message in messages:
                        if not opened:
                            await _open(context)
                            opened = True
                        await self._send(context, message)
                        call.sent += 1
                        sent.inc()
            finally:
                del self._streams[task]

        return run

    async def _send(self, context: grpc.aio.ServicerContext[Any, Any], message: Any) -> None:
        """Send a message; flow control makes this wait once the client has stopped taking them."""
        try:
            async with asyncio.timeout(self._write_seconds):
                await context.write(message)
        except TimeoutError:
            sentence = f"nothing was taken for {self._write_seconds:g} s; come back with the cursor"
            raise errors.ResourceExhausted("CONSUMER_TOO_SLOW", sentence) from None


async def _open(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the headers, to the end even where the stream is ended meanwhile: until then gRPC takes no status."""
    sending = asyncio.ensure_future(context.send_initial_metadata(carried()))
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending])
        raise
