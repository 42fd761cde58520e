"""gRPC-Web and REST over plain sockets, many calls in flight, so that thousands of them cost seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

from google.protobuf.message import Message

from clients.api import Rpc
from clients.callers import CODES

CONNECTIONS = 8
PATIENCE_SECONDS = 20
EMPTY_FRAME = bytes(5)
# What the gateway makes of a status that has a detail; any other is a code that refused nobody.
HTTP = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 200: "OK"}
ANY_ID = "00000000-0000-4000-8000-000000000000"

Bearers = Sequence[str]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """A pool of connections to an address. A call is an empty request; of the answer only the code is told."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._idle: list[Connection] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def web(self, rpc: Rpc, bearers: Bearers) -> str:
        """Return the code of a call by gRPC-Web."""
        headers = ["content-type: application/grpc-web+proto", "x-grpc-web: 1"]
        return await self._call("POST", rpc.path, headers, EMPTY_FRAME, bearers, streaming=rpc.streaming)

    async def rest(self, rpc: Rpc, bearers: Bearers) -> str:
        """Return the code of a call by REST, the names in its path those of nothing."""
        verb, path, body, _ = rpc.rest(_named(rpc))
        content = b"" if body is None else json.dumps(body).encode()
        headers = ["content-type: application/json"]
        return await self._call(verb, path, headers, content, bearers, streaming=rpc.streaming)

    async def _call(
        self, verb: str, path: str, headers: list[str], content: bytes, bearers: Bearers, *, streaming: bool
    ) -> str:
        lines = [f"{verb} {path} HTTP/1.1", "host: a", f"content-length: {len(content)}", *headers]
        lines += [f"authorization: {bearer}" for bearer in bearers]
        call = "\r\n".join([*lines, "", ""]).encode() + content
        async with self._turns, asyncio.timeout(PATIENCE_SECONDS):
            while True:
                fresh = not self._idle
                connection = await asyncio.open_connection(self._host, self._port) if fresh else self._idle.pop()
                try:
                    return await self._sent(connection, call, streaming=streaming)
                except (OSError, asyncio.IncompleteReadError):
                    connection[1].close()
                    if fresh:  # else Envoy had closed it: it does where it refuses before the body is read
                        raise

    async def _sent(self, connection: Connection, call: bytes, *, streaming: bool) -> str:
        reader, writer = connection
        writer.write(call)
        status, fields = _parsed((await reader.readuntil(b"\r\n\r\n")).decode())
        if streaming and status == 200 and "grpc-status" not in fields:
            writer.close()
            return "OK"  # it has begun
        body = await _body(reader, fields)
        if fields.get("connection") == "close":
            writer.close()
        else:
            self._idle.append(connection)
        return _code(status, fields, body)

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _named(rpc: Rpc) -> Message:
    """Return an empty request, but for what its path needs."""
    request = rpc.request()
    for name in rpc.path_fields:
        setattr(request, name, ANY_ID)
    return request


def _parsed(head: str) -> tuple[int, dict[str, str]]:
    first, *lines = head.strip().split("\r\n")
    return int(first.split(" ")[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await reader.readexactly(int(fields.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def _code(status: int, fields: dict[str, str], body: bytes) -> str:
    if not fields.get("content-type", "").startswith("application/grpc-web"):
        return HTTP.get(status, str(status))
    if "grpc-status" in fields:
        return CODES[int(fields["grpc-status"])]
    found = body.rpartition(b"grpc-status:")[2].split(b"\r\n")[0]
    return CODES[int(found)]
