"""What a server that speaks Sentry's protocol is sent: errors with their place, and nothing that is nobody's affair."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from algotrade.platform import log
from algotrade.platform.error_reports import error_reports
from algotrade.platform.settings import Settings

logger = log.logger("algotrade.test")


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield a DSN and the events that come there."""
    events: list[dict[str, Any]] = []

    class Sentry(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert "the-key" in self.headers["x-sentry-auth"]
            assert self.path == "/7/api/42/envelope/"
            lines = body.splitlines()
            assert json.loads(lines[1])["type"] == "event"
            events.append(json.loads(lines[2]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sentry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://the-key@127.0.0.1:{server.server_port}/7/42", events
        server.shutdown()


def fail(password: str) -> None:
    raise ValueError("nobody is named")


async def test_errors_are_reported_without_what_they_were_about(
    received: tuple[str, list[dict[str, Any]]], settings: Settings
) -> None:
    dsn, events = received
    root = logging.getLogger()
    before = root.handlers[:], root.level
    log.configure(settings)
    try:
        async with error_reports(settings.model_copy(update={"sentry_dsn": SecretStr(dsn)}), "identity"):
            try:
                fail("correct horse battery")
            except ValueError as error:
                found = {"correlation_id": "id-1", "method": "Login", "code": "INTERNAL"}
                logger.error("rpc.finished", exc_info=error, **found)  # noqa: TRY400
                logger.exception("again")
            logger.warning("not.an_error")
            logger.error("without.an_exception", correlation_id="id-2", email="ada@example.com")
            logging.getLogger("library").error("it quotes %s", "ada@example.com")
    finally:
        root.handlers[:], root.level = before
    by_message = {event["message"]: event for event in events}
    assert by_message.keys() == {"rpc.finished", "again", "without.an_exception", "library"}
    first = by_message["rpc.finished"]
    assert first["tags"] == found
    assert (first["server_name"], first["logger"], first["level"]) == ("identity", "algotrade.test", "error")
    for event in (first, by_message["again"]):
        [told] = event["exception"]["values"]
        assert (told["type"], told["value"]) == ("ValueError", "nobody is named")
        assert told["stacktrace"]["frames"][-1]["function"] == "fail"
        assert not [frame for frame in told["stacktrace"]["frames"] if "vars" in frame]
    assert "horse" not in str(events)
    assert "ada@" not in str(events)


async def test_a_server_that_is_away_is_no_matter(settings: Settings) -> None:
    away = settings.model_copy(update={"sentry_dsn": SecretStr("http://key@127.0.0.1:9/1")})
    async with asyncio.timeout(30), error_reports(away, "identity"):
        logger.error("lost")


@pytest.mark.parametrize("dsn", ["nonsense", "https://host/1", "https://secret-key@host/", "ftp://secret-key@host/1"])
def test_a_dsn_that_is_none_is_refused_without_being_repeated(dsn: str) -> None:
    with pytest.raises(ValueError, match="https://key@host/project") as refused:
        Settings(sentry_dsn=SecretStr(dsn))
    assert "secret-key" not in str(refused.value)
