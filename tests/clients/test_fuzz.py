"""Every RPC with requests that nobody would make: bent good ones, and bytes that are none. None is a fault of ours.

A request is a good one (`samples.py`) with some of its fields set to odd values, by its descriptor, so that it gets
past the rules of its fields more often than chance would. What was once found is kept in `corpus/` and tried first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from algotrade.platform.errors import info
from algotrade.v1.error_reason_pb2 import ErrorReason
from algotrade.v1.market_data_service_pb2 import ConfigureWindowRequest
from clients.api import BY_NAME, RPCS, Rpc, is_map
from clients.conftest import Stage
from clients.samples import ENDS_LOGIN, World, sample

CORPUS: Final = Path(__file__).with_name("corpus")
SEED: Final = int(os.environ.get("FUZZ_SEED", "20261126"))
BENT: Final = (2, pytest.param(400, marks=pytest.mark.nightly))  # requests an RPC
AT_ONCE: Final = 8
SECONDS: Final = 60
FAULTS: Final = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
# What gRPC itself says of bytes that are no message of the kind.
UNREADABLE: Final = {"INTERNAL", "UNKNOWN", "INVALID_ARGUMENT"}

TEXTS: Final = (
    *(
        "",
        " ",
        "x",
        "\x00",
        "a\x00b",
        "\u202eℵ₀",
        "\U0001f4a9" * 50,
        "x" * 5_000,
        "../../etc/passwd",
        "'; DROP TABLE users",
    ),
    *(
        "00000000-0000-0000-0000-000000000000",
        "NaN",
        "Infinity",
        "-0",
        "1e400",
        "0." + "1" * 40,
        "9" * 60,
        "-1",
        "{}",
        "[]",
    ),
    *('{"nodes": 3}', "BTC-USD", "AAPL", "tick", "native", "1m", "0" * 64, "a" * 64, "%", "_", "\\", "\ud7ff", "null"),
)
INTEGERS: Final = (0, 1, -1, 2, 7, 50, 1_000, 10_001, 2**31 - 1, -(2**31), 253_402_300_799, 2**62, 2**63 - 1, -(2**63))
FLOATS: Final = (0.0, -0.0, 1.0, -1.0, 1e-308, 1e308, float("inf"), float("-inf"), float("nan"))


def odd(field: FieldDescriptor, rng: Random) -> Any:
    """Return an odd value that the field can hold."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = rng.choice(TEXTS)
        return text.encode("utf-8", "replace") if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(FLOATS)
    number = rng.choice(INTEGERS)
    if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM):
        return max(-(2**31), min(2**31 - 1, number))
    return abs(number) if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) else number


def bend(message: Any, rng: Random, depth: int = 0) -> None:
    """Set some field of a message, or of one below it, to something odd, or take it away."""
    if not message.DESCRIPTOR.fields:
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif is_map(field):
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        if value.message_type is None:
            for _ in range(rng.choice((1, 1, 2, 300))):
                getattr(message, field.name)[odd(key, rng)] = odd(value, rng)
    elif field.is_repeated:
        items = getattr(message, field.name)
        for _ in range(rng.choice((1, 2, 50))):
            if field.message_type is None:
                items.append(odd(field, rng))
            elif depth < 4:
                bend(items.add(), rng, depth + 1)
    elif field.message_type is None:
        setattr(message, field.name, odd(field, rng))
    elif depth < 4 and field.message_type.fields:
        below = getattr(message, field.name)
        below.SetInParent()
        bend(below, rng, depth + 1)


def bent(good: Message, rng: Random) -> bytes:
    """Return a request like a good one, with a few things odd; now and then bytes that are no message."""
    request: Any = type(good).FromString(good.SerializeToString())
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        bend(request, rng)
    if type(good) is ConfigureWindowRequest:
        request.symbol = "NOPE-USD"  # others read the windows that there are
    data = request.SerializeToString()
    if rng.random() < 0.1 and data:
        place = rng.randrange(len(data))
        data = data[:place] + rng.randbytes(rng.choice((0, 1, 9))) + data[place + rng.choice((0, 1, 4)) :]
    return data


def readable(rpc: Rpc, data: bytes) -> bool:
    try:
        rpc.request.FromString(data)
    except Exception:  # whatever the parser says of bytes
        return False
    return True


async def called(channel: grpc.aio.Channel, rpc: Rpc, data: bytes, token: str) -> tuple[str, str]:
    """Return the code and the reason of a call; of a stream that begins, OK."""
    metadata = [("authorization", f"Bearer {token}")]
    try:
        if rpc.streaming:
            stream: Any = channel.unary_stream(rpc.path)(data, metadata=metadata, timeout=SECONDS)
            if await stream.read() is not grpc.aio.EOF:
                stream.cancel()
        else:
            await channel.unary_unary(rpc.path)(data, metadata=metadata, timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name, info(error).reason
    return "OK", ""


def kept(rpc: Rpc) -> Iterator[bytes]:
    for path in sorted(CORPUS.glob(f"{rpc}-*.bin")):
        yield path.read_bytes()


async def faults(channel: grpc.aio.Channel, rpc: Rpc, requests: Sequence[bytes], token: str) -> list[str]:
    """Send requests, and keep what is a fault of ours."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> str:
        async with turns:
            code, reason = await called(channel, rpc, data, token)
        typed = not reason or f"ERROR_REASON_{reason}" in ErrorReason.keys()  # noqa: SIM118
        if (
            (code in FAULTS and readable(rpc, data))
            or (not readable(rpc, data) and code not in UNREADABLE)
            or not typed
        ):
            name = f"{rpc}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
            CORPUS.mkdir(exist_ok=True)
            (CORPUS / name).write_bytes(data)
            return f"{name}: {code} {reason}"
        return ""

    return [found for found in await asyncio.gather(*map(one, requests)) if found]


@pytest.fixture
async def fuzzer(stage: Stage) -> World:
    """Return an administrator whom nobody else is."""
    if "fuzzer" not in stage.worlds:
        stage.worlds["fuzzer"] = await stage.administrator()
    return stage.worlds["fuzzer"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", BENT)
async def test_no_request_is_a_fault_of_ours(stage: Stage, fuzzer: World, count: int) -> None:
    wrong, sent = [], 0
    async with grpc.aio.insecure_channel(stage.settings.grpc_address) as channel:
        for rpc in RPCS:
            rng = Random(f"{SEED} {rpc}")
            # An account has so many wrong passwords, and so many things: the next RPC's need is another's.
            spends = {"password", "request_id"} & {one.name for one in rpc.method.input_type.fields}
            alone = str(rpc) in ENDS_LOGIN or spends
            world = await stage.newcomer() if alone else fuzzer
            good = await sample(rpc, world)
            requests = [*kept(rpc), *(bent(good, rng) for _ in range(count))]
            wrong += await faults(channel, rpc, requests, world.token)
            sent += len(requests)
        me = BY_NAME["IdentityService.GetMe"]
        assert await called(channel, me, b"", fuzzer.token) == ("OK", "")
    print(f"fuzz: {sent} requests of {len(RPCS)} RPCs, seed {SEED}: {len(wrong)} faults")
    assert not wrong
