"""What belongs to somebody else is not there: the answer is that for an id that nobody has, in every protocol."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from algotrade.platform.policy import Access
from clients.api import BY_NAME, RPCS, Rpc
from clients.callers import Answer
from clients.conftest import Stage
from clients.samples import World, sample


def named_things(message: Descriptor, prefix: str = "") -> Iterator[str]:
    """Return the paths of the fields that name a thing of a user: ids, and hashes of what a user has."""
    for field in message.fields:
        if field.message_type and field.message_type.file.package == message.file.package and not field.is_repeated:
            yield from named_things(field.message_type, f"{prefix}{field.name}.")
        elif (field.name.endswith("_id") and field.name != "request_id") or field.name.endswith("_hash"):
            yield prefix + field.name


OWN_TESTS = {("NotificationService.UpdateRule", "channel_id")}  # names two things, one of them the caller's
CASES = [
    (rpc, path)
    for rpc in RPCS
    if rpc.access in (Access.USER, Access.LOGIN)  # an administrator sees all
    for path in named_things(rpc.method.input_type)
    if (str(rpc), path) not in OWN_TESTS
]
# Where a request may name one thing of several, it has to name this one.
INSTEAD = {
    ("BacktestService.StartBacktest", "saved.strategy_id"): "graph",
    ("BacktestService.StartBacktest", "data_hash"): "sample",
    ("BacktestService.GetBars", "data_hash"): "sample",
    ("BacktestService.StartOptimization", "saved.strategy_id"): "graph",
    ("BacktestService.StartOptimization", "data_hash"): "sample",
}


def put(request: Any, path: str, value: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        request = getattr(request, parent)
    setattr(request, name, value)


def found(request: Any, path: str) -> str:
    for name in path.split("."):
        request = getattr(request, name)
    return str(request)


async def hers(rpc: Rpc, path: str, ada: World) -> tuple[Any, str]:
    """Return a good request of hers, and the id in it."""
    request: Any = await sample(rpc, ada)
    if (str(rpc), path) in INSTEAD:
        own = ada.strategy_of(request.graph) if path.endswith("strategy_id") else ada.data()
        request.ClearField(INSTEAD[str(rpc), path])
        put(request, path, await own)
    return request, found(request, path)


def shape(answer: Answer, given: str) -> Any:
    """Everything about a refusal but the id that it repeats."""
    metadata = {key: value.replace(given, "…") for key, value in answer.metadata.items()}
    return answer.code, answer.reason, answer.message.replace(given, "…"), metadata, answer.violations


def test_the_cases_cover_the_api() -> None:
    assert len(CASES) > 30
    assert {path.rpartition(".")[2] for _, path in CASES} >= {
        "strategy_id", "session_id", "backtest_id", "optimization_id", "api_key_id", "artefact_hash", "data_hash",
        "channel_id", "rule_id", "login_id",
    }  # fmt: skip


@pytest.mark.parametrize(("rpc", "path"), CASES, ids=lambda value: str(value))
async def test_somebody_elses_is_as_one_that_nobody_has(
    stage: Stage, ada: World, eve: World, root: World, rpc: Rpc, path: str
) -> None:
    request, known = await hers(rpc, path, ada)
    unknown = secrets.token_hex(32) if path.endswith("hash") else str(uuid.uuid4())
    missing = rpc.request.FromString(request.SerializeToString())
    put(missing, path, unknown)
    shapes = set()
    for way in stage.through:
        if rpc.streaming and way == "web":
            continue  # as in gRPC, frame by frame
        refused = await stage.through[way](rpc, request, eve.token)
        assert refused.code == "NOT_FOUND", (way, refused)
        nobody = await stage.through[way](rpc, missing, eve.token)
        assert shape(refused, known) == shape(nobody, unknown)
        assert known in refused.metadata.values()
        shapes.add(str(shape(refused, known)))
    shapes.add(str(shape(await stage.direct(rpc, request, root.token), known)))  # who administers trades like others
    assert len(shapes) == 1, shapes
    assert (await stage.direct(rpc, request, ada.token)).code == "OK"  # it is hers, and still there


async def test_a_rule_of_ones_own_cannot_send_to_somebody_elses_channel(stage: Stage, ada: World, bob: World) -> None:
    rpc, known, unknown = BY_NAME["NotificationService.UpdateRule"], await ada.channel(), str(uuid.uuid4())
    mask = {"paths": ["channel_id"]}
    for call in stage.through.values():
        fields = {"rule_id": await bob.rule(), "update_mask": mask}
        refused = await call(rpc, rpc.request(**fields, channel_id=known), bob.token)
        nobody = await call(rpc, rpc.request(**fields, channel_id=unknown), bob.token)
        assert refused.error == ("NOT_FOUND", "CHANNEL_NOT_FOUND")
        assert shape(refused, known) == shape(nobody, unknown)


@pytest.mark.parametrize("way", ["direct", "grpc", "web", "rest"])
async def test_a_screen_shows_ones_own_sessions(stage: Stage, ada: World, bob: World, way: str) -> None:
    rpc, known, unknown = BY_NAME["RealtimeService.StreamUpdates"], await ada.traded(), str(uuid.uuid4())
    refused = await stage.through[way](rpc, rpc.request(session_ids=[known]), bob.token)
    nobody = await stage.through[way](rpc, rpc.request(session_ids=[unknown]), bob.token)
    assert refused.error == ("NOT_FOUND", "SESSION_NOT_FOUND")
    assert shape(refused, known) == shape(nobody, unknown)


async def test_lists_show_ones_own(stage: Stage, ada: World, bob: World) -> None:
    mine = {
        await ada.strategy(),
        await ada.session(),
        await ada.backtest(),
        await ada.optimization(),
        (await ada.api_key())[0],
    }
    for rpc in RPCS:
        if (
            rpc.name.startswith("List")
            and rpc.access in (Access.USER, Access.LOGIN)
            and not any(named_things(rpc.method.input_type))
        ):
            answer = await stage.direct(rpc, await sample(rpc, bob), bob.token)
            assert answer.code == "OK"
            assert not [known for known in mine if known in str(answer.reply)], rpc
