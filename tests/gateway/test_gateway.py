"""The gateway as its three kinds of clients see it: native gRPC, gRPC-Web and REST."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from joserfc import jwt
from joserfc.jwk import ECKey

from algotrade.v1 import health_service_pb2 as health
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import market_data_service_pb2_grpc as market_grpc

from .conftest import Method, frame, unframe

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"
IDENTITY, MARKET = "/algotrade.v1.IdentityService", "/algotrade.v1.MarketDataService"
REGISTER = Method(
    f"{IDENTITY}/Register",
    ("POST", "/v1/identity/register"),
    identity.RegisterRequest(email=EMAIL, password=PASSWORD),
    identity.RegisterResponse,
)
GET_ME = Method(f"{IDENTITY}/GetMe", ("GET", "/v1/identity/me"), identity.GetMeRequest(), identity.GetMeResponse)
LIST_SYMBOLS = Method(
    f"{MARKET}/ListSymbols", ("GET", "/v1/symbols"), market.ListSymbolsRequest(), market.ListSymbolsResponse
)
GET_WINDOW = Method(
    f"{MARKET}/GetWindow",
    ("GET", "/v1/symbols/BTC-USD/window"),
    market.GetWindowRequest(symbol="BTC-USD"),
    market.GetWindowResponse,
)
HEALTH = Method(
    "/algotrade.v1.HealthService/GetDetailedHealth",
    ("GET", "/health/detailed"),
    health.GetDetailedHealthRequest(),
    health.GetDetailedHealthResponse,
)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def claims(mesh, **changed):
    now = int(time.time())
    settings = mesh.platform.settings
    whole = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": str(uuid.uuid4()),
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 300,
    }
    return {key: value for key, value in (whole | changed).items() if value is not None}


def sign(mesh, key: ECKey | None = None, header=None, **changed) -> str:
    key = key or mesh.platform.key
    whole = {"alg": "ES256", "kid": mesh.platform.key.kid, "typ": "at+jwt"} | (header or {})
    return jwt.encode(whole, claims(mesh, **changed), key)


def unsigned(mesh) -> str:
    def part(value) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': mesh.platform.key.kid})}.{part(claims(mesh))}."


def tampered(mesh) -> str:
    header, _, signature = sign(mesh).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(mesh)).encode()).decode().rstrip("=")
    return f"{header}.{body}.{signature}"


async def test_register_then_ask_who_i_am(call):
    registered = await call(REGISTER)
    assert registered.code == "OK", registered
    me = await call(GET_ME, bearer(registered.reply.token.token))
    assert me.code == "OK", me
    assert me.reply.user == registered.reply.user
    assert me.reply.user.email == EMAIL


BAD_TOKENS = {
    "absent": (None, "TOKEN_MISSING"),
    "rubbish": (lambda mesh: "rubbish", "TOKEN_INVALID"),
    "expired": (lambda mesh: sign(mesh, iat=int(time.time()) - 700, exp=int(time.time()) - 100), "TOKEN_EXPIRED"),
    "of another key": (lambda mesh: sign(mesh, ECKey.generate_key("P-256")), "TOKEN_INVALID"),
    "of an unknown key": (
        lambda mesh: sign(mesh, ECKey.generate_key("P-256"), header={"kid": "unknown"}),
        "TOKEN_INVALID",
    ),
    "without a signature": (unsigned, "TOKEN_INVALID"),
    "changed after signing": (tampered, "TOKEN_INVALID"),
    "for another audience": (lambda mesh: sign(mesh, aud="another"), "TOKEN_INVALID"),
    "of another issuer": (lambda mesh: sign(mesh, iss="another"), "TOKEN_INVALID"),
    "without an end": (lambda mesh: sign(mesh, exp=None), "TOKEN_INVALID"),
    "too long a life": (lambda mesh: sign(mesh, exp=int(time.time()) + 10**6), "TOKEN_INVALID"),
    "of another type": (lambda mesh: sign(mesh, header={"typ": "JWT"}), "TOKEN_INVALID"),
}


async def refused(call, mesh, headers, reason):
    answer = await call(LIST_SYMBOLS, headers)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", reason)
    assert "token" in answer.message
    assert answer.headers.get(":status", "401") == "401"
    assert mesh.upstream.metadata == {}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_without_a_good_token_nothing_is_told(call, mesh, kind):
    make, reason = BAD_TOKENS[kind]
    await refused(call, mesh, bearer(make(mesh)) if make else [], reason)


async def test_another_scheme_is_no_token(call, mesh):
    await refused(call, mesh, [("authorization", "Basic YWRhOnB3")], "TOKEN_MISSING")


async def test_only_the_gateway_says_who_calls(call, mesh):
    user_id = str(uuid.uuid4())
    forged = [("x-user-id", "somebody-else"), ("x-jwt-payload", "e30")]
    answer = await call(LIST_SYMBOLS, [*bearer(sign(mesh, sub=user_id)), *forged])
    assert answer.code == "OK", answer
    seen = mesh.upstream.metadata
    assert seen["x-user-id"] == [user_id]
    assert "x-jwt-payload" not in seen


async def test_a_forged_identity_does_not_reach_a_public_method(http, mesh):
    answer = await http.get("/v1/symbols", headers={"x-user-id": "somebody-else"})
    assert answer.status_code == 401
    assert mesh.upstream.metadata == {}


async def test_an_error_of_a_service_keeps_its_code_and_details(call):
    assert (await call(REGISTER)).code == "OK"
    again = await call(REGISTER)
    assert (again.code, again.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")
    assert again.headers.get(":status", "409") == "409"
    bad = Method(REGISTER.path, REGISTER.rest, identity.RegisterRequest(email="no"), identity.RegisterResponse)
    answer = await call(bad)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_numbers_and_decimals_come_through_unchanged(call, mesh):
    answer = await call(GET_WINDOW, bearer(sign(mesh)))
    assert answer.reply.ticks[0].sequence == 2**53 + 1
    assert answer.reply.ticks[0].price == "0.00000001"


async def test_a_message_too_large_is_refused_and_the_next_one_answered(call):
    large = identity.RegisterRequest(email=EMAIL, password="x" * (3 << 20))
    answer = await call(Method(REGISTER.path, REGISTER.rest, large, identity.RegisterResponse))
    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert answer.headers.get(":status", "413") == "413"
    assert (await call(REGISTER)).code == "OK"


async def test_a_document_of_one_mebibyte_passes(call, mesh):
    """The size limit lets the largest graph through, also with JSON's escapes: the rule of the field answers."""
    request = identity.RegisterRequest(
        email=EMAIL, password='"' * (1 << 20) if call.protocol != "rest" else "x" * (1 << 20)
    )
    answer = await call(Method(REGISTER.path, REGISTER.rest, request, identity.RegisterResponse))
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


@pytest.mark.parametrize("path", ["/algotrade.v1.NoService/Get", "/nothing.at.All/Get", "/v1/nothing"])
async def test_an_unknown_path_is_closed_and_then_unknown(call, mesh, path):
    unknown = Method(path, ("GET", path), identity.GetMeRequest(), identity.GetMeResponse)
    assert (await call(unknown)).code == "UNAUTHENTICATED"
    answer = await call(unknown, bearer(sign(mesh)))
    assert answer.code == ("NOT_FOUND" if call.protocol == "rest" else "UNIMPLEMENTED")


@pytest.mark.parametrize(
    "path",
    [
        "//v1/symbols",
        "/v1/./symbols",
        "/v1/identity/../symbols",
        "/v1%2Fsymbols",
        "/v1/identity/login/..%2f..%2fsymbols",
        "/V1/SYMBOLS",
        "/v1/symbols;a=b",
        "/v1/symbols/",
        "/algotrade.v1.IdentityService/Login/../../algotrade.v1.MarketDataService/ListSymbols",
        "/algotrade.v1.MarketDataService/ListSymbols?x=/algotrade.v1.IdentityService/Login",
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
async def test_no_spelling_of_a_path_gets_round_the_token(mesh, path, verb):
    host, port = mesh.gateway.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{verb} {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.readline()
    writer.close()
    assert int(answer.split()[1]) in {400, 401, 404}
    assert mesh.upstream.metadata == {}


async def test_a_header_with_an_underscore_is_refused(http, mesh):
    answer = await http.get("/v1/symbols", headers=[*bearer(sign(mesh)), ("x_user_id", "somebody-else")])
    assert answer.status_code == 400


async def test_rest_refuses_a_parameter_it_does_not_know(http, mesh):
    answer = await http.get("/v1/symbols?page_sice=3", headers=bearer(sign(mesh)))
    assert answer.status_code == 400
    assert answer.json()["code"] == 3


async def test_rest_refuses_a_broken_body(http):
    answer = await http.post("/v1/identity/login", content=b'{"email": ', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == 3


async def test_anybody_may_see_every_service_with_its_dependencies(call):
    answer = await call(HEALTH)
    assert answer.code == "OK", answer
    found = {service.service: [one.name for one in service.dependencies] for service in answer.reply.services}
    assert found["algotrade.v1.IdentityService"] == ["database"]


async def test_probes_need_no_token(http, channel):
    assert (await http.get("/healthz")).status_code == 200
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(channel):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    names = [service.name async for answer in stream for service in answer.list_services_response.service]
    assert "algotrade.v1.IdentityService" in names


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-grpc-web"}


class TestCors:
    """A browser asks first, and may read what it needs."""

    @pytest.mark.parametrize("path", [GET_ME.path, "/v1/identity/me"])
    async def test_a_page_of_this_machine_may_call(self, http, path):
        answer = await http.options(path, headers={"origin": "http://localhost:5173", **PREFLIGHT})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert "x-grpc-web" in answer.headers["access-control-allow-headers"]

    async def test_a_foreign_page_may_not(self, http, mesh):
        for origin in ("http://evil.example", "http://localhost.evil.example", "null"):
            answer = await http.options(LIST_SYMBOLS.path, headers={"origin": origin, **PREFLIGHT})
            assert "access-control-allow-origin" not in answer.headers
        assert mesh.upstream.metadata == {}

    async def test_rest_can_be_read_by_the_page(self, http, mesh):
        headers = [("origin", "http://localhost:5173"), *bearer(sign(mesh))]
        answer = await http.get("/v1/symbols", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"

    async def test_errors_can_be_read_by_the_page(self, http):
        headers = {"origin": "http://localhost:5173", "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        answer = await http.post(GET_ME.path, content=frame(GET_ME.request), headers=headers)
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert "grpc-status-details-bin" in answer.headers["access-control-expose-headers"]


class TestStreams:
    """Messages come one by one; who goes away is noticed."""

    REQUEST = market.StreamTicksRequest(symbol="BTC-USD")

    async def test_native(self, channel, mesh):
        stub = market_grpc.MarketDataServiceStub(channel)
        stream = stub.StreamTicks(self.REQUEST, metadata=bearer(sign(mesh)))
        assert (await stream.read()).sequence == 1  # while the second still waits
        mesh.upstream.go_on.set()
        assert (await stream.read()).sequence == 2
        assert await stream.read() == grpc.aio.EOF

    async def test_web(self, http, mesh):
        headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **dict(bearer(sign(mesh)))}
        path = f"{MARKET}/StreamTicks"
        async with http.stream("POST", path, content=frame(self.REQUEST), headers=headers) as response:
            chunks = response.aiter_raw()
            ((flags, body),) = unframe(await anext(chunks))
            assert flags == 0
            assert market.StreamTicksResponse.FromString(body).sequence == 1
            mesh.upstream.go_on.set()
            rest = unframe(b"".join([chunk async for chunk in chunks]))
        assert market.StreamTicksResponse.FromString(rest[0][1]).sequence == 2
        assert rest[-1][0] == 0x80
        assert b"grpc-status:0" in rest[-1][1]

    @pytest.mark.parametrize(("accept", "prefix"), [("application/json", ""), ("text/event-stream", "data: ")])
    async def test_rest(self, http, mesh, accept, prefix):
        headers = [*bearer(sign(mesh)), ("accept", accept)]
        async with http.stream("GET", "/v1/symbols/BTC-USD/ticks", headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == accept
            lines = response.aiter_lines()
            first = json.loads((await anext(lines)).removeprefix(prefix))
            assert first["sequence"] == "1"
            assert first["ticks"]["prices_e8"] == ["5"]
            mesh.upstream.go_on.set()
            second = [json.loads(line.removeprefix(prefix)) async for line in lines if line]
        assert [message["sequence"] for message in second] == ["2"]

    async def test_the_service_notices_that_the_client_went(self, channel, mesh):
        stub = market_grpc.MarketDataServiceStub(channel)
        stream = stub.StreamTicks(self.REQUEST, metadata=bearer(sign(mesh)))
        assert (await stream.read()).sequence == 1
        stream.cancel()
        async with asyncio.timeout(10):
            await mesh.upstream.cancelled.wait()

    async def test_a_stream_wants_a_token_too(self, channel, mesh):
        stream = market_grpc.MarketDataServiceStub(channel).StreamTicks(self.REQUEST)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_method_by_its_path_wants_grpc(http, mesh):
    """Plain HTTP on a gRPC path is unknown, and never sent to a server that would take it for an attack."""
    answer = await http.post(LIST_SYMBOLS.path, json={}, headers=bearer(sign(mesh)))
    assert answer.status_code == 404
    assert answer.json()["code"] == 5
