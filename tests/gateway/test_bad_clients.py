"""What clients do that should not, against a real Envoy: each costs the client, and the next call is answered."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx
import pytest

from algotrade.platform import limits
from algotrade.platform.settings import Settings

from .conftest import Mesh, frame, running
from .raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    connected,
    frames,
    h2_frame,
    h2_get,
)
from .test_gateway import LIST_SYMBOLS, bearer, sign

CONNECTIONS = 12
LOGIN = "/v1/identity/login"
H2 = PREFACE + h2_frame(SETTINGS, 0, 0)
WAITING = h2_get("/algotrade.v1.IdentityService/Login", ("content-type", "application/grpc"))  # for a body


@pytest.fixture(scope="module")
async def hurried(session_mesh: Mesh, gateway_settings: Settings) -> AsyncIterator[Mesh]:
    """A gateway that waits a second for a request, and takes few connections."""
    settings = gateway_settings.model_copy(
        update={
            "unary_deadline_seconds": 1.0,
            "request_headers_seconds": 1.0,
            "gateway_connections": CONNECTIONS,
            "data_dir": gateway_settings.data_dir / "hurried",
        }
    )
    async with running(settings, replace(session_mesh.platform, settings=settings)) as mesh:
        yield mesh


@pytest.fixture(autouse=True)
async def lives_on(hurried: Mesh) -> AsyncIterator[None]:
    """After each attack an honest client is served."""
    yield
    async with httpx.AsyncClient(base_url=hurried.url, timeout=20) as http:
        for _ in range(200):  # connections that were refused are counted until Envoy has closed them
            try:
                answer = await http.get("/v1/symbols", headers=bearer(sign(hurried)))
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            assert answer.status_code == 200
            return
    raise AssertionError("no honest client gets in any more")


def h1(verb: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{verb} {path} HTTP/1.1", "host: gateway", *lines, "", ""]).encode("latin-1")


REQUESTS = {
    "headers too large": (h1("GET", "/v1/symbols", f"a: {'x' * 17 * 1024}"), {431}),
    "too many headers": (h1("GET", "/v1/symbols", *(f"a{n}: x" for n in range(80))), {431}),
    "an underscore in a name": (h1("GET", "/v1/symbols", "x_user_id: somebody"), {400}),
    "a length beyond any": (
        h1("POST", LOGIN, "content-length: 1000000000000", "content-type: application/json"),
        {408, 413},  # it is not there in time, however much it is
    ),
    "a length that overflows": (h1("POST", LOGIN, "content-length: 99999999999999999999999"), {400}),
    "a negative length": (h1("POST", LOGIN, "content-length: -1"), {400}),
    "two lengths": (h1("POST", LOGIN, "content-length: 2", "content-length: 3"), {400}),
    "a length and chunks": (h1("POST", LOGIN, "content-length: 2", "transfer-encoding: chunked"), {400}),
    "an unknown encoding": (h1("POST", LOGIN, "transfer-encoding: gzip"), {400, 501}),
    "a broken chunk": (h1("POST", LOGIN, "transfer-encoding: chunked") + b"zz\r\n", {400}),
    "a line break in a header": (h1("GET", "/v1/symbols", "a: b\rc: d"), {400, 401}),
    "a null in a header": (h1("GET", "/v1/symbols", "a: b\0c"), {400}),
    "a space in a name": (h1("GET", "/v1/symbols", "a b: c"), {400}),
    "no host": (b"GET /v1/symbols HTTP/1.1\r\n\r\n", {400}),
    "an old version": (b"GET /v1/symbols HTTP/1.0\r\n\r\n", {426}),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "CONNECT": (h1("CONNECT", "example.com:443"), {400, 403, 404, 405}),
    "an upgrade to HTTP/2": (
        h1("GET", "/v1/symbols", "upgrade: h2c", "connection: Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAAQ"),
        {401, 403},
    ),
    "an upgrade to a web socket": (h1("GET", "/v1/symbols", "upgrade: websocket", "connection: Upgrade"), {401, 403}),
    "another host in the line": (h1("GET", "http://evil.example/v1/symbols"), {401}),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request_that_cannot_be_is_refused(hurried, kind):
    request, statuses = REQUESTS[kind]
    hurried.upstream.metadata = {}
    async with connected(hurried.gateway.address, request) as raw:
        assert await raw.status() in statuses
    assert hurried.upstream.metadata == {}


async def test_who_is_slow_with_headers_is_told_to_go(hurried):
    async with connected(hurried.gateway.address, b"GET /v1/symbols HTTP/1.1\r\nhost: gateway\r\n") as raw:
        assert await raw.status() == 408


async def test_who_trickles_a_body_is_told_to_go(hurried):
    head = h1("POST", LOGIN, "content-length: 100", "content-type: application/json")
    async with connected(hurried.gateway.address, head + b"{") as raw:
        assert await raw.status() == 408
    length = "content-length: 100"
    for kind in ("application/grpc", "application/grpc-web+proto"):
        path = "/algotrade.v1.IdentityService/Login"
        head = h1("POST", path, f"content-type: {kind}", "te: trailers", length)
        async with connected(hurried.gateway.address, head + b"\0") as raw:
            assert await raw.status() in {200, 408}  # 200: gRPC's way to say DEADLINE_EXCEEDED


def two(first: str, second: str) -> list[str]:
    return [f"authorization: {first}", f"authorization: {second}"]


async def test_two_tokens_are_none(hurried, http):
    good, other = f"Bearer {sign(hurried)}", f"Bearer {sign(hurried)}"
    hurried.upstream.metadata = {}
    for lines in (
        two(good, "Bearer rubbish"),
        two("Bearer rubbish", good),
        two(good, other),
        [f"authorization: {good}, {other}"],
        [f"authorization: {good},"],
    ):
        for path, kind in (("/v1/symbols", "accept: */*"), (LIST_SYMBOLS.path, "content-type: application/grpc-web")):
            verb = "GET" if path.startswith("/v1") else "POST"
            request = h1(verb, path, kind, "x-grpc-web: 1", "content-length: 0", *lines)
            async with connected(hurried.gateway.address, request) as raw:
                answer = await raw.status()
                assert answer in {200, 401}, lines  # 200: gRPC-Web says it in grpc-status
            assert hurried.upstream.metadata == {}, lines


async def test_what_only_a_proxy_may_say_is_not_believed(hurried):
    said = {
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "443",
        "x-forwarded-client-cert": "By=spiffe://evil",
        "forwarded": "for=203.0.113.9",
        "x-real-ip": "203.0.113.9",
        "x-envoy-original-path": "/algotrade.v1.IdentityService/Login",
        "x-envoy-external-address": "203.0.113.9",
        "x-envoy-internal": "true",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "50",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-decorator-operation": "evil",
        "x-original-url": "/v1/identity/login",
        "x-rewrite-url": "/v1/identity/login",
    }
    async with httpx.AsyncClient(base_url=hurried.url) as http:
        answer = await http.get("/v1/symbols", headers=[*bearer(sign(hurried)), *said.items()])
        assert answer.status_code == 200
        refused = await http.get("/v1/symbols", headers=said)
        assert refused.status_code == 401
    seen = hurried.upstream.metadata
    assert {name for name, value in said.items() if value in seen.get(name, [])} == set()
    assert "203.0.113.9" not in str(seen)


PATHS = [
    "/{m}",
    "//{m}",
    "/{s}//{n}",
    "/{s}/./{n}",
    "/x/../{m}",
    "/{p}/../{m}",
    "/{s}%2F{n}",
    "/{s}%2f{n}",
    "/{s}%5C{n}",
    "/{s}\\{n}",
    "/%61lgotrade.v1.MarketDataService/ListSymbols",
    "/{s}/%4cistSymbols",
    "/ALGOTRADE.V1.MARKETDATASERVICE/LISTSYMBOLS",
    "/{s}/listsymbols",
    "/{m}/",
    "/{m};a=b",
    "/{s};a=b/{n}",
    "/{m}?x=/{p}",
    "/{m}#/{p}",
    "/{p}/..;/../{m}",
    "/{m}%00",
    "/{m}%0d%0a",
    "/{m}.",
]


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto", "application/json"])
async def test_no_spelling_of_a_method_gets_round_the_token(hurried, kind):
    service, name = "algotrade.v1.MarketDataService", "ListSymbols"
    hurried.upstream.metadata = {}
    names = {"s": service, "n": name, "m": f"{service}/{name}", "p": "algotrade.v1.IdentityService/Login"}
    body = frame(LIST_SYMBOLS.request)
    for path in PATHS:
        web = ["x-grpc-web: 1"] if "web" in kind else []
        lines = [f"content-type: {kind}", "te: trailers", f"content-length: {len(body)}", *web]
        request = h1("POST", path.format(**names), *lines) + body
        async with connected(hurried.gateway.address, request) as raw:
            answer = await raw.head()
        status = int(answer.split()[1])
        refused = status in {400, 401, 404} or any(f"grpc-status: {code}\r\n" in answer for code in (3, 12, 16))
        assert refused, (path, answer)
        assert hurried.upstream.metadata == {}, path


class TestHttp2:
    """Frames that are allowed one by one and too many together, or never."""

    async def test_it_says_how_many_streams_a_connection_may_have(self, hurried):
        async with connected(hurried.gateway.address, H2) as raw:
            kind, _, _, payload = await raw.frame()
            assert kind == SETTINGS
            said = dict(struct.iter_unpack(">HI", payload))
            assert said[MAX_CONCURRENT_STREAMS] == limits.MAX_CLIENT_STREAMS

    async def test_more_streams_than_that_are_refused(self, hurried):
        """Each waits for a body that never comes."""
        many = limits.MAX_CLIENT_STREAMS + 20
        opening = b"".join(h2_frame(HEADERS, END_HEADERS, 2 * n + 1, WAITING) for n in range(many))
        async with connected(hurried.gateway.address, H2 + opening) as raw:
            refused = 0
            while refused < 20:
                kind, _, stream, payload = await raw.frame()
                if kind == GOAWAY:
                    return  # a client that ignores what it was told may also be sent away
                refused += kind == RST_STREAM and stream > 2 * limits.MAX_CLIENT_STREAMS and payload[3] == 7

    async def test_streams_opened_and_reset_end_the_connection(self, hurried):
        """CVE-2023-44487: a reset stream is no longer counted, and has cost something all the same."""
        async with connected(hurried.gateway.address, H2) as raw:
            for n in range(40):
                part = b"".join(
                    h2_frame(HEADERS, END_HEADERS, stream, WAITING) + h2_frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                    for stream in range(100 * n + 1, 100 * n + 101, 2)
                )
                await raw.flood(part, 1)
            await raw.closed()
        async with httpx.AsyncClient() as http:
            stats = (await http.get(f"http://{hurried.gateway.admin_address}/stats?filter=premature_resets")).text
        assert int(stats.split()[-1]) >= 1, stats

    @pytest.mark.parametrize(
        "name", ["a ping", "empty data", "settings", "headers without an end", "a frame too large", "garbage"]
    )
    async def test_a_flood_ends_the_connection(self, hurried, name):
        start = h2_frame(HEADERS, END_HEADERS, 1, WAITING)
        first, again, times = {
            "a ping": (b"", h2_frame(PING, 0, 0, b"12345678") * 1000, 100),
            "empty data": (start, h2_frame(DATA, 0, 1) * 1000, 10),
            "settings": (b"", h2_frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 1000, 100),
            "headers without an end": (
                h2_frame(HEADERS, 0, 1, h2_get("/v1/symbols")),
                h2_frame(CONTINUATION, 0, 1, b"\x00\x01a\x64" + b"x" * 100) * 100,
                100,
            ),
            "a frame too large": (b"", h2_frame(DATA, 0, 1, b"x" * 2**20), 1),
            "garbage": (b"", b"\xff" * 4096, 1),
        }[name]
        async with connected(hurried.gateway.address, H2 + first) as raw:
            await raw.flood(again, times)
            got = await raw.closed()
        assert not any(kind == HEADERS and b"200" in payload for kind, payload in frames(got))


async def test_so_many_connections_and_the_next_is_closed(hurried):
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(hurried.gateway.address)) for _ in range(CONNECTIONS + 8)]
        closing = [asyncio.create_task(one.closed()) for one in opened]
        done, _ = await asyncio.wait(closing, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert done, "more connections than may be stay open"
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
