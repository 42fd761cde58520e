"""A client of AlgoTrade in Python: logs in, makes a strategy from a template, trades it on paper over a replay, and
follows the session, also across a cut.

    .venv/bin/python examples/python/main.py 127.0.0.1:8080
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from algotrade.v1 import forward_test_service_pb2 as forward
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import strategy_service_pb2 as strategy
from algotrade.v1 import types_pb2
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub


class Login:
    """The newest access token, put into the metadata of every call."""

    token = ""

    def details(self, given: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(given.metadata or ()))
        if self.token:
            metadata.add("authorization", f"Bearer {self.token}")
        return given._replace(metadata=metadata)


class UnaryLogin(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, login: Login) -> None:
        self._login = login

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._login.details(client_call_details), request)


class StreamLogin(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, login: Login) -> None:
        self._login = login

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._login.details(client_call_details), request)


async def enter(stub: IdentityServiceStub, login: Login) -> None:
    """Make an account, which logs it in; trade its refresh token for the next, as one does before a token expires."""
    email = f"python-{secrets.token_hex(8)}@example.com"
    registered = await stub.Register(identity.RegisterRequest(email=email, password=secrets.token_urlsafe(16)))
    refreshed = await stub.RefreshToken(identity.RefreshTokenRequest(refresh_token=registered.refresh_token.token))
    login.token = refreshed.token.token
    print("logged in as", email)


async def watch_ticks(stub: MarketDataServiceStub, symbol: str, count: int) -> None:
    """Print ticks as they come. They travel in columns: prices are integers in units of 1e-8."""
    stream = stub.StreamTicks(market.StreamTicksRequest(symbol=symbol, after_sequence=0))
    seen = 0
    async for message in stream:
        for number, price in enumerate(message.ticks.prices_e8, message.ticks.first_sequence):
            print(f"{symbol} tick {number} at {price / 1e8:.2f}")
            seen += 1
            if seen == count:
                stream.cancel()
                return


async def from_template(stub: StrategyServiceStub, template_id: str) -> strategy.Strategy:
    listed = await stub.ListTemplates(strategy.ListTemplatesRequest())
    graph = next(one.graph for one in listed.templates if one.template_id == template_id)
    return (await stub.CreateStrategy(strategy.CreateStrategyRequest(graph=graph))).strategy


async def trade(stub: ForwardTestServiceStub, saved: strategy.Strategy) -> None:
    """Run a strategy over AAPL's daily bars, print its fills, and end it."""
    request = forward.CreateSessionRequest(
        strategy_id=saved.strategy_id,
        symbol="AAPL",
        settings=types_pb2.RunSettings(fee_bps="5"),
        parameters={"fast": "10", "slow": "30"},
    )
    session_id = (await stub.CreateSession(request)).session.session_id
    await stub.StartSession(forward.StartSessionRequest(session_id=session_id))
    before = await follow(stub, session_id, after=0, count=4)
    # The stream was cut: the number of the last event that arrived is where the next one goes on.
    after = await follow(stub, session_id, after=before[-1].sequence, count=4)
    if after[0].sequence != before[-1].sequence + 1:
        raise RuntimeError(f"event {after[0].sequence} follows event {before[-1].sequence}")
    show([*before, *after])
    await stub.StopSession(forward.StopSessionRequest(session_id=session_id, mode=forward.STOP_MODE_KEEP))


async def follow(stub: ForwardTestServiceStub, session_id: str, after: int, count: int) -> list[forward.SessionEvent]:
    """Return so many events behind a cursor, then cut the stream."""
    stream = stub.StreamSession(forward.StreamSessionRequest(session_id=session_id, after_sequence=after))
    events: list[forward.SessionEvent] = []
    async for message in stream:
        if message.HasField("event"):  # else a snapshot, a mark or a heartbeat
            events.append(message.event)
            if len(events) == count:
                stream.cancel()
                return events
    raise RuntimeError("the session ended early")


def show(events: list[forward.SessionEvent]) -> None:
    print(" # date       event     quantity      price         pnl")
    for event in events:
        kind = forward.SessionEventKind.Name(event.kind).removeprefix("SESSION_EVENT_KIND_")
        day = event.event_time.ToDatetime().date()
        print(f"{event.sequence:2} {day} {kind:5} {event.quantity:>12} {event.price:>10} {event.pnl:>11}")


def explained(error: grpc.aio.AioRpcError) -> str:
    """Write an error with the reason and the fields that its details name."""
    text = f"{error.code().name}: {error.details()}"
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            text += f" [{info.reason} {dict(info.metadata)}]"
        elif detail.Unpack(bad):
            text += "".join(f"\n  {field.field}: {field.description}" for field in bad.field_violations)
    return text


async def main(address: str) -> None:
    login = Login()
    interceptors = [UnaryLogin(login), StreamLogin(login)]
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        try:
            await enter(IdentityServiceStub(channel), login)
            await watch_ticks(MarketDataServiceStub(channel), "BTC-USD", 5)
            await trade(ForwardTestServiceStub(channel), await from_template(StrategyServiceStub(channel), "sma_cross"))
        except grpc.aio.AioRpcError as error:
            sys.exit(explained(error))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080"))
