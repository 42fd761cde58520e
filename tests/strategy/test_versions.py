"""What becomes of a strategy after it was saved: versions, deletion, and artefacts in memory."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import orjson
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from graphs import drawing, sma_cross
from sqlalchemy import text

from algotrade.engine.compile import compile_strategy
from algotrade.platform import limits
from algotrade.platform.cache import ENTRY_BYTES, MemoryCache
from algotrade.platform.errors import info, violations
from algotrade.platform.metrics import Metrics
from algotrade.strategy.__main__ import build
from algotrade.strategy.artefacts import ArtefactCache
from algotrade.strategy.postgres import PostgresStrategyStore
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

FIRST = json.dumps(sma_cross(3, 7) | {"name": "Three and seven"})
SECOND = json.dumps(sma_cross(4, 9) | {"name": "Four and nine"})
DRAFT = json.dumps(drawing({"p": "price", "s": "sma", "b": "buy"}, "p>s s>b"))
NOBODY = str(uuid.UUID(int=7))


@pytest.fixture
async def server(serve):
    return await serve(build)


@pytest.fixture
async def ada(server, connect, open_account):
    return StrategyServiceStub(connect(server, await open_account()))


@pytest.fixture
async def bob(server, connect, open_account):
    return StrategyServiceStub(connect(server, await open_account()))


@pytest.fixture
async def saved(ada) -> pb.Strategy:
    request = pb.CreateStrategyRequest(graph=FIRST, name="Mine", description="Before.")
    return (await ada.CreateStrategy(request)).strategy


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def change(stub, strategy_id: str, *paths: str, **fields) -> pb.UpdateStrategyResponse:
    mask = FieldMask(paths=paths)
    return await stub.UpdateStrategy(pb.UpdateStrategyRequest(strategy_id=strategy_id, update_mask=mask, **fields))


async def get(stub, strategy_id: str, version: int = 0) -> pb.Strategy:
    return (await stub.GetStrategy(pb.GetStrategyRequest(strategy_id=strategy_id, version=version))).strategy


async def versions(stub, strategy_id: str, **fields) -> pb.ListStrategyVersionsResponse:
    return await stub.ListStrategyVersions(pb.ListStrategyVersionsRequest(strategy_id=strategy_id, **fields))


async def count(database, table: str) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


# Updating


async def test_every_save_of_the_graph_is_a_version(ada, saved):
    second = await change(ada, saved.strategy_id, "graph", graph=SECOND)
    assert not second.diagnostics
    assert (second.strategy.version, second.strategy.name, second.strategy.graph) == (2, "Mine", "")
    assert second.strategy.artefact_hash == compile_strategy(SECOND).artefact.hash
    third = await change(ada, saved.strategy_id, "graph", graph=SECOND)
    assert (third.strategy.version, third.strategy.artefact_hash) == (3, second.strategy.artefact_hash)
    draft = await change(ada, saved.strategy_id, "graph", graph=DRAFT)
    assert (draft.strategy.version, draft.strategy.artefact_hash) == (4, "")
    assert any(found.edge_id == "e2" for found in draft.diagnostics)
    assert [(await get(ada, saved.strategy_id, version)).graph for version in (1, 2, 3, 4, 0)] == [
        FIRST,
        SECOND,
        SECOND,
        DRAFT,
        DRAFT,
    ]
    first = await get(ada, saved.strategy_id, 1)
    assert (first.artefact_hash, first.update_time) == (saved.artefact_hash, saved.update_time)
    assert second.strategy.create_time == saved.create_time
    assert second.strategy.update_time.ToNanoseconds() > saved.update_time.ToNanoseconds()


async def test_only_what_the_mask_names_is_changed(ada, saved):
    renamed = await change(ada, saved.strategy_id, "name", name=" Yours ", description="Not named.", graph="no JSON")
    assert (renamed.strategy.name, renamed.strategy.description, renamed.strategy.version) == ("Yours", "Before.", 1)
    told = await change(ada, saved.strategy_id, "description", description="")
    assert (told.strategy.name, told.strategy.description) == ("Yours", "")
    found = await get(ada, saved.strategy_id)
    assert (found.name, found.description, found.graph) == ("Yours", "", FIRST)


async def test_without_a_name_it_bears_its_newest_graphs(ada, saved):
    assert (await change(ada, saved.strategy_id, "name")).strategy.name == "Three and seven"
    both = await change(ada, saved.strategy_id, "name", "graph", graph=SECOND)
    assert (both.strategy.name, both.strategy.version) == ("Four and nine", 2)


@pytest.mark.parametrize("paths", [(), ("version",), ("name", "strategy_id"), ("graph.nodes",)])
async def test_a_mask_of_nothing_or_of_something_else_is_refused(ada, saved, paths):
    error = await failure(change(ada, saved.strategy_id, *paths, name="x", graph=SECOND))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(violations(error)) == {"update_mask"}
    assert (await get(ada, saved.strategy_id)).name == "Mine"


@pytest.mark.parametrize("graph", ["", "{", "[]"])
async def test_what_is_no_document_changes_nothing(ada, saved, graph):
    error = await failure(change(ada, saved.strategy_id, "graph", "name", graph=graph, name="x"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_MALFORMED")
    found = await get(ada, saved.strategy_id)
    assert (found.version, found.name) == (1, "Mine")


async def test_saves_at_once_get_a_number_each(ada, saved):
    answers = await asyncio.gather(*(change(ada, saved.strategy_id, "graph", graph=SECOND) for _ in range(5)))
    assert sorted(answer.strategy.version for answer in answers) == [2, 3, 4, 5, 6]


async def test_the_same_request_saves_once(ada, saved, database):
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(change(ada, saved.strategy_id, "graph", graph=DRAFT, request_id=request_id) for _ in range(4))
    )
    await change(ada, saved.strategy_id, "graph", graph=SECOND)
    answers.append(await change(ada, saved.strategy_id, "graph", graph=DRAFT, request_id=request_id))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].strategy.version == 2
    assert answers[0].diagnostics
    assert await count(database, "strategy_versions") == 3
    error = await failure(change(ada, saved.strategy_id, "graph", graph=SECOND, request_id=request_id))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_strategy_keeps_a_bounded_number_of_versions(ada, saved, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STRATEGY_VERSIONS", 1)
    error = await failure(change(ada, saved.strategy_id, "graph", "name", graph=SECOND, name="x"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": "strategy_versions", "value": "1"}
    assert (await get(ada, saved.strategy_id)).name == "Mine"


async def kept_bytes(database):
    query = """
        SELECT (SELECT sum(octet_length(graph)) FROM strategy_versions)
            + (SELECT sum(octet_length(module)) FROM artefacts)
    """
    async with database.connect() as connection:
        return (await connection.execute(text(query))).scalar_one()


async def test_an_account_keeps_so_many_bytes_of_drawings_and_modules(ada, bob, saved, database, monkeypatch):
    before = await kept_bytes(database)
    other = (await ada.CreateStrategy(pb.CreateStrategyRequest(graph=SECOND))).strategy
    both = await kept_bytes(database)
    await ada.DeleteStrategy(pb.DeleteStrategyRequest(strategy_id=other.strategy_id))

    monkeypatch.setattr(limits, "MAX_STRATEGY_BYTES", both - 1)
    error = await failure(change(ada, saved.strategy_id, "graph", graph=SECOND))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": "strategy_bytes", "value": str(both - 1)}
    assert (
        await failure(ada.CreateStrategy(pb.CreateStrategyRequest(graph=SECOND)))
    ).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await get(ada, saved.strategy_id)).version == 1
    renamed = await change(ada, saved.strategy_id, "name", name="still mine")
    assert renamed.strategy.name == "still mine"
    await bob.CreateStrategy(pb.CreateStrategyRequest(graph=SECOND))

    monkeypatch.setattr(limits, "MAX_STRATEGY_BYTES", both)
    assert (await change(ada, saved.strategy_id, "graph", graph=SECOND)).strategy.version == 2
    assert both > before


async def test_saves_at_once_do_not_add_up_to_more_than_there_is_room_for(ada, saved, database, monkeypatch):
    room = await kept_bytes(database) + 3 * len(DRAFT.encode())  # it has errors, so there is no module
    monkeypatch.setattr(limits, "MAX_STRATEGY_BYTES", room)
    saves = [change(ada, saved.strategy_id, "graph", graph=DRAFT) for _ in range(4)]
    makes = [ada.CreateStrategy(pb.CreateStrategyRequest(graph=DRAFT)) for _ in range(4)]
    results = await asyncio.gather(*saves, *makes, return_exceptions=True)
    refused = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert [info(one).metadata["limit"] for one in refused] == ["strategy_bytes"] * 5
    assert await kept_bytes(database) == room


# Listing


async def test_versions_are_listed_newest_first_page_by_page(ada, saved):
    made = [saved]
    for graph in (SECOND, DRAFT, FIRST, SECOND):
        made.append((await change(ada, saved.strategy_id, "graph", graph=graph)).strategy)
    listed, token = [], ""
    for size in (2, 2, 1):
        page = await versions(ada, saved.strategy_id, page_size=2, page_token=token)
        assert len(page.versions) == size
        listed.extend(page.versions)
        token = page.next_page_token
    assert token == ""
    assert [(one.version, one.artefact_hash, one.create_time) for one in listed] == [
        (one.version, one.artefact_hash, one.update_time) for one in reversed(made)
    ]


async def test_a_page_token_of_another_strategy_is_refused(ada, saved):
    await change(ada, saved.strategy_id, "graph", graph=SECOND)
    token = (await versions(ada, saved.strategy_id, page_size=1)).next_page_token
    for page_token, strategy_id in ((token, NOBODY), ("nonsense", saved.strategy_id)):
        error = await failure(versions(ada, strategy_id, page_token=page_token))
        assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


# Deleting


async def test_what_is_deleted_is_gone_with_its_versions(ada, saved, database):
    await change(ada, saved.strategy_id, "graph", graph=SECOND)
    kept = (await ada.CreateStrategy(pb.CreateStrategyRequest(graph=FIRST))).strategy
    await ada.DeleteStrategy(pb.DeleteStrategyRequest(strategy_id=saved.strategy_id))
    for call in (
        get(ada, saved.strategy_id),
        get(ada, saved.strategy_id, 1),
        versions(ada, saved.strategy_id),
        change(ada, saved.strategy_id, "name", name="x"),
        ada.DeleteStrategy(pb.DeleteStrategyRequest(strategy_id=saved.strategy_id)),
    ):
        assert info(await failure(call)).reason == "STRATEGY_NOT_FOUND"
    listed = (await ada.ListStrategies(pb.ListStrategiesRequest())).strategies
    assert [one.strategy_id for one in listed] == [kept.strategy_id]
    assert await count(database, "strategy_versions") == 1
    await ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=kept.artefact_hash))
    error = await failure(ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=compile_strategy(SECOND).artefact.hash)))
    assert info(error).reason == "ARTEFACT_NOT_FOUND"


async def test_what_is_not_yours_is_not_there(bob, saved, database):
    for wanted in (saved.strategy_id, NOBODY):
        for call in (
            versions(bob, wanted),
            change(bob, wanted, "name", name="x"),
            change(bob, wanted, "name"),
            change(bob, wanted, "graph", graph=SECOND),
            bob.DeleteStrategy(pb.DeleteStrategyRequest(strategy_id=wanted)),
        ):
            error = await failure(call)
            assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "STRATEGY_NOT_FOUND")
            assert (error.details(), dict(info(error).metadata)) == ("no such strategy", {"strategy_id": wanted})
    assert await count(database, "strategy_versions") == 1


# Artefacts in memory


async def test_a_module_is_read_once_and_only_by_its_owners(ada, bob, saved, database):
    got = await ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=saved.artefact_hash))
    async with database.begin() as connection:
        await connection.execute(text("UPDATE artefacts SET module = 'changed'"))
    assert (await ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=saved.artefact_hash))).module == got.module
    error = await failure(bob.GetArtefact(pb.GetArtefactRequest(artefact_hash=saved.artefact_hash)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "ARTEFACT_NOT_FOUND")


async def test_the_memory_of_artefacts_is_bounded(database, bus, open_account, server, connect):
    user_id = await open_account()
    stub = StrategyServiceStub(connect(server, user_id))
    hashes = []
    for slow in (7, 8, 9):
        graph = json.dumps(sma_cross(3, slow))
        hashes.append((await stub.CreateStrategy(pb.CreateStrategyRequest(graph=graph))).strategy.artefact_hash)
    store = PostgresStrategyStore(database, bus)
    found = [await store.artefact(artefact_hash) for artefact_hash in hashes]
    sizes = [len(one.module) + len(orjson.dumps(one.report)) + 1 + ENTRY_BYTES for one in found]
    memory = MemoryCache(Metrics(), most_bytes=sizes[1] + sizes[2])
    cache = ArtefactCache(store, memory, Metrics())
    for artefact_hash, artefact in zip(hashes, found, strict=True):
        assert await cache.get(user_id, artefact_hash) == artefact
    assert memory.bytes == sizes[1] + sizes[2]
    assert await cache.get(user_id, hashes[0]) == found[0], "one that has left is read again"
    assert memory.bytes <= sizes[1] + sizes[2]


async def test_a_copy_that_is_not_what_its_hash_says_is_not_used(database, bus, open_account, server, connect):
    user_id = await open_account()
    stub = StrategyServiceStub(connect(server, user_id))
    request = pb.CreateStrategyRequest(graph=json.dumps(sma_cross(3, 7)))
    artefact_hash = (await stub.CreateStrategy(request)).strategy.artefact_hash
    store, memory, metrics = PostgresStrategyStore(database, bus), MemoryCache(Metrics()), Metrics()
    cache = ArtefactCache(store, memory, metrics)
    right = await cache.get(user_id, artefact_hash)
    for wrong in (b"", b"nonsense", b"{}\n" + right.module[:-1]):
        await memory.put(f"artefact:{artefact_hash}", wrong, 60)
        assert await cache.get(user_id, artefact_hash) == right
    assert await cache.get(user_id, artefact_hash) == right
    counted = metrics.registry.get_sample_value
    assert counted("algotrade_artefact_reads_total", {"result": "miss"}) == 4
    assert counted("algotrade_artefact_reads_total", {"result": "hit"}) == 1
