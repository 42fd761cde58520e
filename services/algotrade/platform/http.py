"""The loopback HTTP port of a process: metrics for Prometheus, keys for whoever verifies tokens, the built frontend."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from algotrade.platform import pages
from algotrade.platform.certificates import Certificates
from algotrade.platform.log import logger

log = logger(__name__)

JWKS_PATH: Final = "/.well-known/jwks.json"
METRICS_PATH: Final = "/metrics"
_REQUEST_SECONDS: Final = 5.0


class AddressError(Exception):
    """A server cannot listen where it should."""


StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class _Server(ThreadingWSGIServer):
    daemon_threads = True
    allow_reuse_address = True
    wrap: Callable[[socket.socket], socket.socket] | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; its handshake, where there is one, waits for its own thread."""
        connection, address = super().get_request()
        return (self.wrap(connection) if self.wrap else connection), address


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_SECONDS  # a client that trickles holds a thread for so long

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Write nothing: scrapes are not news."""


@asynccontextmanager
async def http_server(
    address: str,
    registry: CollectorRegistry,
    jwks: dict[str, Any] | Callable[[], dict[str, Any]],
    files: Mapping[str, pages.File] | None = None,
    certificates: Certificates | None = None,
) -> AsyncIterator[int]:
    """Serve metrics, keys and files while the context is open; yield the port. AddressError where it is taken.

    Keys that may change are asked for each time. With certificates it is HTTPS, to whoever comes: nothing here is
    secret, but who reads keys has to know whose they are.
    """
    host, _, port = address.rpartition(":")
    keys = jwks if callable(jwks) else lambda: jwks
    try:
        server = make_server(host, int(port), _app(registry, keys, files or {}), _Server, _Handler)
        if certificates is not None:
            server.wrap = certificates.server_wrap()
    except OSError as error:
        raise AddressError(f"cannot listen on {address}: is it in use?") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="http", daemon=True)
    thread.start()
    log.info("http.started", port=server.server_port)
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(_close, server)


def _close(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()


def _app(
    registry: CollectorRegistry, jwks: Callable[[], dict[str, Any]], files: Mapping[str, pages.File]
) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in {"GET", "HEAD"}:
            return _answer(start_response, "405 Method Not Allowed", b"")
        if path == METRICS_PATH:
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        if path == JWKS_PATH:
            return _answer(start_response, "200 OK", orjson.dumps(jwks()), "application/jwk-set+json")
        if path in files:
            return _file(start_response, files[path], environ)
        return _answer(start_response, "404 Not Found", pages.NOT_BUILT if path == pages.PAGE else b"")

    return app


def _file(start_response: StartResponse, file: pages.File, environ: Mapping[str, Any]) -> list[bytes]:
    if environ.get("HTTP_IF_NONE_MATCH") == file.etag:
        start_response("304 Not Modified", list(file.headers))
        return []
    packed = file.packed if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "") else b""
    body, encoding = (packed, [("Content-Encoding", "gzip")]) if packed else (file.body, [])
    start_response("200 OK", [*file.headers, *encoding, ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _answer(start_response: StartResponse, status: str, body: bytes, kind: str = "text/plain") -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
