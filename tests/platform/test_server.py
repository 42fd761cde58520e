"""What happens around every handler, seen from outside: a real server, real channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from chaos.proxy import Wire, tcp
from echo_service import echo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sqlalchemy.exc import OperationalError

from algotrade.platform import errors, limits
from algotrade.platform.caller import CORRELATION_ID, principal
from algotrade.platform.channel import open_channel
from algotrade.platform.errors import info, violations
from algotrade.platform.http import AddressError
from algotrade.platform.process import Platform, serving
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

WINDOW = pb.GetWindowRequest(symbol="AAA")
TICKS = pb.StreamTicksRequest(symbol="AAA")
SERVICE = "algotrade.v1.MarketDataService"


async def failure(awaitable: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def drained(call: Any) -> list[Any]:
    return [message async for message in call]


def raising(error: BaseException) -> dict[str, Any]:
    """Return handlers that fail, the stream after its first message."""

    async def unary(request: Any, context: Any) -> pb.GetWindowResponse:
        raise error

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        yield pb.StreamTicksResponse(sequence=1)
        raise error

    return {"unary": unary, "stream": stream}


async def test_calls_and_streams_pass_through_the_layers(serve: Any, connect: Any, user: str) -> None:
    seen: list[str] = []

    async def unary(request: Any, context: Any) -> pb.GetWindowResponse:
        seen.append(principal().user_id)
        return pb.GetWindowResponse(last_sequence=7)

    stub = MarketDataServiceStub(connect(await serve(echo(unary)), user))
    assert (await stub.GetWindow(WINDOW)).last_sequence == 7
    assert [message.sequence for message in await drained(stub.StreamTicks(TICKS))] == [0, 1, 2]
    assert seen == [user]


@pytest.mark.parametrize("kind", sorted(errors.CODES, key=lambda kind: kind.__name__))
async def test_every_error_becomes_its_code_with_details(
    serve: Any, connect: Any, user: str, kind: type[errors.ServiceError]
) -> None:
    error = kind("SYMBOL_NOT_FOUND", "a sentence", violations=[("graph.nodes[3]", "is wrong")], symbol="AAA")
    stub = MarketDataServiceStub(connect(await serve(echo(**raising(error))), user))
    for caught in (await failure(stub.GetWindow(WINDOW)), await failure(drained(stub.StreamTicks(TICKS)))):
        assert (caught.code(), caught.details()) == (errors.CODES[kind], "a sentence")
        assert (info(caught).reason, info(caught).domain) == ("SYMBOL_NOT_FOUND", "algotrade")
        assert info(caught).metadata == {"symbol": "AAA"}
        assert violations(caught) == {"graph.nodes[3]": "is wrong"}


async def test_a_defect_is_internal_and_its_text_stays_here(serve: Any, connect: Any, user: str) -> None:
    stub = MarketDataServiceStub(connect(await serve(echo(**raising(KeyError("secret")))), user))
    for caught in (await failure(stub.GetWindow(WINDOW)), await failure(drained(stub.StreamTicks(TICKS)))):
        assert caught.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(caught)
        assert info(caught).reason == "INTERNAL"
        assert info(caught).metadata["correlation_id"]


async def test_an_absent_database_is_unavailable(serve: Any, connect: Any, user: str) -> None:
    away = OperationalError("SELECT", {}, ConnectionRefusedError("no server"))
    stub = MarketDataServiceStub(connect(await serve(echo(**raising(away))), user))
    caught = await failure(stub.GetWindow(WINDOW))
    assert (caught.code(), info(caught).reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


async def test_a_request_is_held_to_its_field_rules(serve: Any, connect: Any, user: str) -> None:
    stub = MarketDataServiceStub(connect(await serve(echo()), user))
    caught = await failure(stub.GetWindow(pb.GetWindowRequest(symbol="not a symbol", limit=-1)))
    assert (caught.code(), info(caught).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert violations(caught).keys() == {"symbol", "limit"}
    streamed = await failure(drained(stub.StreamTicks(pb.StreamTicksRequest(symbol=""))))
    assert violations(streamed).keys() == {"symbol"}


async def test_a_unary_call_is_ended_at_the_cap_and_a_stream_is_not(
    serve: Any, connect: Any, platform: Platform, user: str
) -> None:
    ended = asyncio.Event()

    async def unary(request: Any, context: Any) -> pb.GetWindowResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        await ended.wait()
        yield pb.StreamTicksResponse(sequence=1)

    on = replace(platform, settings=platform.settings.model_copy(update={"unary_deadline_seconds": 0.05}))
    stub = MarketDataServiceStub(connect(await serve(echo(unary, stream), on=on), user))
    call = stub.StreamTicks(TICKS)
    caught = await failure(stub.GetWindow(WINDOW))
    assert (caught.code(), info(caught).reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert [message.sequence for message in await drained(call)] == [1]


@pytest.mark.parametrize("given", ["req-1", None, "bad id with spaces", "x" * 500])
async def test_a_correlation_id_is_kept_or_made(serve: Any, connect: Any, user: str, given: str | None) -> None:
    seen: list[str] = []

    async def unary(request: Any, context: Any) -> pb.GetWindowResponse:
        seen.append(CORRELATION_ID.get())
        if len(seen) == 2:
            raise errors.NotFound("SYMBOL_NOT_FOUND", "gone")
        return pb.GetWindowResponse()

    stub = MarketDataServiceStub(connect(await serve(echo(unary)), user))
    metadata = (("x-correlation-id", given),) if given else ()
    call = stub.GetWindow(WINDOW, metadata=metadata)
    await call
    answered = dict(await call.trailing_metadata())["x-correlation-id"]
    failed = await failure(stub.GetWindow(WINDOW, metadata=metadata))
    trailing: Any = failed.trailing_metadata()
    assert [answered, dict(trailing)["x-correlation-id"]] == seen
    assert (seen[0] == given) == (given == "req-1")
    assert len(seen[0]) <= limits.MAX_CORRELATION_ID_CHARS


async def test_calls_are_counted_and_timed_by_code(serve: Any, connect: Any, platform: Platform, user: str) -> None:
    server = await serve(echo(**raising(errors.NotFound("SYMBOL_NOT_FOUND", "gone"))))
    stub = MarketDataServiceStub(connect(server, user))
    await failure(stub.GetWindow(WINDOW))
    await failure(drained(stub.StreamTicks(TICKS)))
    await failure(MarketDataServiceStub(connect(server)).GetWindow(WINDOW))
    value = platform.metrics.registry.get_sample_value
    unary = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "GetWindow"}
    streamed = {"grpc_type": "server_stream", "grpc_service": SERVICE, "grpc_method": "StreamTicks"}
    assert value("grpc_server_started_total", unary) == 2
    assert value("grpc_server_handled_total", {**unary, "grpc_code": "NOT_FOUND"}) == 1
    assert value("grpc_server_handled_total", {**unary, "grpc_code": "UNAUTHENTICATED"}) == 1
    assert value("grpc_server_handling_seconds_count", unary) == 2
    assert value("grpc_server_handled_total", {**streamed, "grpc_code": "NOT_FOUND"}) == 1
    assert value("grpc_server_msg_sent_total", streamed) == 1
    assert value("algotrade_grpc_open_streams", streamed) == 0


async def test_a_stream_that_is_left_cleans_up(serve: Any, connect: Any, platform: Platform, user: str) -> None:
    cleaned = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        try:
            yield pb.StreamTicksResponse(sequence=1)
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    stub = MarketDataServiceStub(connect(await serve(echo(stream=stream)), user))
    call = stub.StreamTicks(TICKS)
    await call.read()
    call.cancel()
    async with asyncio.timeout(20):
        await cleaned.wait()


async def test_a_client_that_goes_while_it_is_sent_something_has_cancelled(
    serve: Any, token: Any, platform: Platform, user: str
) -> None:
    """A connection that breaks in the middle of a message is nobody's fault here."""
    batch = types_pb2.TickBatch(times_nanos=range(10_000))

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        for number in range(1_000_000):
            yield pb.StreamTicksResponse(sequence=number, ticks=batch)

    server = await serve(echo(stream=stream))
    wire = Wire(tcp(f"127.0.0.1:{server.port}"))
    async with wire.listening(), open_channel(wire.address, lambda: token(user)) as channel:
        call = MarketDataServiceStub(channel).StreamTicks(TICKS)
        await call.read()
        wire.cut()
        call.cancel()
    streamed = {"grpc_type": "server_stream", "grpc_service": SERVICE, "grpc_method": "StreamTicks"}
    value = platform.metrics.registry.get_sample_value
    async with asyncio.timeout(20):
        while value("algotrade_grpc_open_streams", streamed):  # noqa: ASYNC110  (a figure wakes nobody)
            await asyncio.sleep(0)
    assert value("grpc_server_handled_total", {**streamed, "grpc_code": "CANCELLED"}) == 1


async def test_a_client_that_takes_nothing_is_ended(serve: Any, connect: Any, platform: Platform, user: str) -> None:
    batch = types_pb2.TickBatch(times_nanos=range(10_000))
    ended = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        try:
            for number in range(1_000_000):
                yield pb.StreamTicksResponse(sequence=number, ticks=batch)
        finally:
            ended.set()

    on = replace(platform, settings=platform.settings.model_copy(update={"stream_write_seconds": 0.2}))
    stub = MarketDataServiceStub(connect(await serve(echo(stream=stream), on=on), user))
    messages = aiter(stub.StreamTicks(TICKS))
    await anext(messages)
    async with asyncio.timeout(30):
        await ended.wait()
    taken = 0

    async def take_the_rest() -> None:
        nonlocal taken
        async for _ in messages:
            taken += 1

    caught = await failure(take_the_rest())
    assert (caught.code(), info(caught).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONSUMER_TOO_SLOW")
    assert 0 < taken < 1000, "what was under way arrives, and no more was made"


async def test_a_message_too_large_is_refused(serve: Any, connect: Any, user: str) -> None:
    stub = MarketDataServiceStub(connect(await serve(echo()), user))
    caught = await failure(stub.ListSymbols(pb.ListSymbolsRequest(page_token="x" * (limits.MAX_REQUEST_BYTES + 1))))
    assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.GetWindow(WINDOW)).last_sequence == 7, "the server lives on"


async def test_health_and_reflection_need_no_token(serve: Any, connect: Any) -> None:
    channel = connect(await serve(echo()))
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    unknown = await failure(health.Check(health_pb2.HealthCheckRequest(service="nobody")))
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = reflect.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    [listed] = await drained(call)
    assert SERVICE in {service.name for service in listed.list_services_response.service}


async def test_stopping_says_so_first_and_ends_streams_with_unavailable(
    platform: Platform, connect: Any, user: str
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def unary(request: Any, context: Any) -> pb.GetWindowResponse:
        entered.set()
        await leave.wait()
        return pb.GetWindowResponse(last_sequence=9)

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        yield pb.StreamTicksResponse(sequence=1)
        await asyncio.Event().wait()

    async with serving(platform, [echo(unary, stream)]) as server:
        channel = connect(server, user)
        stub = MarketDataServiceStub(channel)
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = stub.StreamTicks(TICKS)
        await call.read()
        finishing = asyncio.ensure_future(stub.GetWindow(WINDOW))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        caught = await failure(drained(call))
        assert (caught.code(), info(caught).reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        leave.set()
        assert (await finishing).last_sequence == 9, "a call under way is finished"
        watching.cancel()
        await stopping


@pytest.mark.parametrize("which", ["grpc_address", "http_address"])
async def test_an_address_in_use_is_named(platform: Platform, serve: Any, which: str) -> None:
    server = await serve(echo())
    address = f"127.0.0.1:{server.port}"
    on = replace(platform, settings=platform.settings.model_copy(update={which: address}))
    with pytest.raises(AddressError, match=address):
        await serve(echo(), on=on)
