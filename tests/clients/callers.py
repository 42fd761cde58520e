"""One call in any of the protocols: gRPC to the services or through the gateway, gRPC-Web, REST."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from algotrade.platform import errors
from clients.api import Rpc

CODES = {code.value[0]: code.name for code in grpc.StatusCode}
CALL_SECONDS = 20


@dataclass
class Answer:
    """What came back, whatever the protocol. Of a stream the first message only."""

    code: str = "OK"
    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)
    reply: Any = None

    @property
    def error(self) -> tuple[str, str]:
        return self.code, self.reason


def _of_status(status: status_pb2.Status) -> Answer:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for kind in (info, bad):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    violations = {one.field: one.description for one in bad.field_violations}
    return Answer(CODES[status.code], status.message, info.reason, dict(info.metadata), violations)


class Grpc:
    """Native gRPC."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)

    async def close(self) -> None:
        await self._channel.close()

    async def __call__(self, rpc: Rpc, request: Message, token: str | None = None) -> Answer:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        codec = {"request_serializer": rpc.request.SerializeToString, "response_deserializer": rpc.reply.FromString}
        try:
            if not rpc.streaming:
                call = self._channel.unary_unary(rpc.path, **codec)
                return Answer(reply=await call(request, metadata=metadata, timeout=CALL_SECONDS))
            stream = self._channel.unary_stream(rpc.path, **codec)(request, metadata=metadata, timeout=CALL_SECONDS)
            first = await stream.read()
            stream.cancel()
            return Answer(reply=first)
        except grpc.aio.AioRpcError as error:
            info = errors.info(error)
            return Answer(
                error.code().name, error.details() or "", info.reason, dict(info.metadata), errors.violations(error)
            )


class Web:
    """gRPC-Web, as a browser speaks it."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://{address}", timeout=CALL_SECONDS)

    async def close(self) -> None:
        await self._http.aclose()

    async def __call__(self, rpc: Rpc, request: Message, token: str | None = None) -> Answer:
        headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = request.SerializeToString()
        reply, data = None, b""
        content = struct.pack(">BI", 0, len(body)) + body
        async with self._http.stream("POST", rpc.path, content=content, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            trailers = dict(response.headers)
            async for chunk in response.aiter_raw():
                data += chunk
                while len(data) >= 5 and len(data) >= 5 + (size := int.from_bytes(data[1:5], "big")):
                    flags, body, data = data[0], data[5 : 5 + size], data[5 + size :]
                    if flags & 0x80:
                        trailers |= dict(line.split(":", 1) for line in body.decode().splitlines() if line)
                    else:
                        reply = rpc.reply.FromString(body)
                        if rpc.streaming:
                            return Answer(reply=reply)
        if (code := int(trailers["grpc-status"])) == 0:
            return Answer(reply=reply)
        details = trailers.get("grpc-status-details-bin", "").strip()
        status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
        assert status.code == code, trailers
        return _of_status(status)


class Rest:
    """JSON over HTTP."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://{address}", timeout=CALL_SECONDS)

    async def close(self) -> None:
        await self._http.aclose()

    async def __call__(self, rpc: Rpc, request: Message, token: str | None = None) -> Answer:
        verb, path, body, parameters = rpc.rest(request)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self._http.stream(verb, path, json=body, params=parameters, headers=headers) as response:
            if rpc.streaming and response.is_success:
                async for line in response.aiter_lines():
                    return Answer(reply=json_format.Parse(line, rpc.reply()))
                raise AssertionError("the stream ended without a message")
            text = await response.aread()
        if response.is_success:
            return Answer(reply=json_format.Parse(text, rpc.reply()))
        found = json.loads(text)
        assert set(found) == {"code", "message", "details"}, found
        return _of_status(json_format.ParseDict(found, status_pb2.Status()))


Caller = Grpc | Web | Rest


async def called_at_once(caller: Caller, rpc: Rpc, request: Message, token: str, times: int) -> list[Answer]:
    """Call so many times concurrently."""
    return await asyncio.gather(*(caller(rpc, request, token) for _ in range(times)))
