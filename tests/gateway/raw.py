"""Clients that keep to no rule: bytes on a socket, HTTP/1.1 as text, HTTP/2 frame by frame."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
MAX_CONCURRENT_STREAMS = 3
PATIENCE_SECONDS = 20  # a server that neither answers nor closes for so long has failed


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def h2_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Write headers as HPACK literals that are neither indexed nor compressed; values below 127 bytes."""
    block = b""
    for name, value in headers:
        assert len(name) < 127
        assert len(value) < 127
        block += b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return block


def h2_get(path: str, *more: tuple[str, str]) -> bytes:
    return h2_headers([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path), *more])


@dataclass
class Raw:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> int:
        """Read an HTTP/1.1 status; 0 where the connection is closed without one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                line = await self.reader.readline()
                return int(line.split()[1]) if line else 0
        return 0

    async def head(self) -> str:
        """Read an HTTP/1.1 answer up to its body."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def closed(self) -> bytes:
        """Return what comes until the other side closes."""
        got = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    got += data
        return got

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Read an HTTP/2 frame: kind, flags, stream, payload."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readexactly(9)
            size = int.from_bytes(head[:3], "big")
            return head[3], head[4], int.from_bytes(head[5:], "big"), await self.reader.readexactly(size)

    async def flood(self, data: bytes, times: int) -> None:
        """Send the same again and again, or until the other side has had enough."""
        with suppress(ConnectionError):
            for _ in range(times):
                self.writer.write(data)
                await self.writer.drain()


@asynccontextmanager
async def connected(address: str, first: bytes = b"") -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Cut what came into frames: kind and payload."""
    found = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[9 : 9 + size]))
        data = data[9 + size :]
    return found
