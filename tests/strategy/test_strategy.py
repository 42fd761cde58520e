"""StrategyService through real channels, on a real database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from graphs import drawing, sma_cross
from sqlalchemy import text

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.nodes import CATALOGUE
from algotrade.platform import limits
from algotrade.platform.bus import Message
from algotrade.platform.errors import info, violations
from algotrade.platform.topics import STRATEGY_COMPILATIONS
from algotrade.strategy.__main__ import build
from algotrade.strategy.compile import Compiler
from algotrade.strategy.postgres import PostgresStrategyStore
from algotrade.strategy.store import StoredArtefact
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import StrategyCompilation
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

GRAPH = json.dumps(sma_cross(3, 7) | {"name": "Crossing"}, indent=1)
DRAFT = json.dumps(drawing({"p": "price", "s": "sma", "b": "buy"}, "p>s s>b"))  # a number into a bool input
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


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def create(stub, graph=GRAPH, **fields) -> pb.CreateStrategyResponse:
    return await stub.CreateStrategy(pb.CreateStrategyRequest(graph=graph, **fields))


async def count(database, table: str) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


# Saving


async def test_a_strategy_is_saved_as_it_was_drawn(ada):
    created = await create(ada, name=" Mine ", description="Two averages.")
    assert not created.diagnostics
    assert (created.strategy.name, created.strategy.version, created.strategy.graph) == ("Mine", 1, "")
    found = (await ada.GetStrategy(pb.GetStrategyRequest(strategy_id=created.strategy.strategy_id))).strategy
    assert found.graph == GRAPH
    assert found.artefact_hash == compile_strategy(GRAPH).artefact.hash
    found.graph = ""
    assert found == created.strategy
    assert found.update_time == found.create_time


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Crossing", "Crossing"), ("tab\there\x00", "tabhere"), ("", "Untitled strategy"), (7, "Untitled strategy")],
)
async def test_without_a_name_it_bears_its_graphs(ada, name, shown):
    created = await create(ada, json.dumps(sma_cross(3, 7) | {"name": name}))
    assert created.strategy.name == shown


async def test_unfinished_work_is_saved_with_its_findings(ada, database):
    created = await create(ada, DRAFT)
    expected = compile_strategy(DRAFT).diagnostics
    assert [(one.code, one.message) for one in created.diagnostics] == [(one.code, one.message) for one in expected]
    assert any(one.severity == types_pb2.DIAGNOSTIC_SEVERITY_ERROR for one in created.diagnostics)
    assert any(one.edge_id == "e2" for one in created.diagnostics)
    assert created.strategy.artefact_hash == ""
    found = await ada.GetStrategy(pb.GetStrategyRequest(strategy_id=created.strategy.strategy_id))
    assert found.strategy.graph == DRAFT
    assert await count(database, "artefacts") == 0


DEEP = '{"nodes": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        ("{", "line 1 column 2"),
        ('{\n "nodes": [,]}', "line 2 column 12"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"nodes": NaN}', "NaN"),
        ('{"name": "\\ud800"}', "surrogate"),
        ('{"name": "a\x00b"}', "Invalid control character"),
        ('{"version": ' + "9" * 5000 + "}", "not JSON"),
        (DEEP, "too deeply"),
    ],
    ids=["cut", "comma", "list", "null", "nan", "surrogate", "nul", "digits", "deep"],
)
async def test_what_is_no_document_is_refused_and_nothing_is_saved(ada, database, graph, sentence):
    for call in (create(ada, graph), ada.ValidateStrategy(pb.ValidateStrategyRequest(graph=graph))):
        error = await failure(call)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_MALFORMED")
        assert sentence in violations(error)["graph"]
    assert await count(database, "strategies") == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"graph": ""}, "graph"),
        ({"graph": " " * (1024 * 1024 + 1)}, "graph"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"description": "a\x00b"}, "description"),
        ({"request_id": "not-a-uuid"}, "request_id"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_saved(ada, database, fields, field):
    error = await failure(create(ada, **fields))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(violations(error)) == {field}
    assert await count(database, "strategies") == 0


async def test_odd_documents_give_findings_not_errors(ada):
    nested: object = 1
    for _ in range(400):
        nested = [nested]
    for odd in (
        {},
        {"nodes": 5, "edges": {}, "parameters": None},
        {"version": 99, "nodes": [None, 1, "x", {"id": 3}, {"id": "\u0000", "type": "sma"}], "edges": [[]]},
        drawing({"p": "price", "s": ("sma", {"timeperiod": nested}), "b": "buy"}, "p>s"),
    ):
        response = await ada.ValidateStrategy(pb.ValidateStrategyRequest(graph=json.dumps(odd)))
        assert not response.valid
        assert response.diagnostics


async def test_an_account_keeps_a_bounded_number(ada, bob, database, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STRATEGIES", 3)
    results = await asyncio.gather(*(create(ada) for _ in range(6)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert [(one.code(), info(one).reason) for one in refused] == [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    ] * 3
    assert dict(info(refused[0]).metadata) == {"limit": "strategies", "value": "3"}
    await create(bob)
    assert await count(database, "strategies") == 4


async def test_a_deleted_account_saves_nothing(server, connect, user, database):
    error = await failure(create(StrategyServiceStub(connect(server, user))))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert await count(database, "artefacts") == 0


# Once only


async def test_the_same_request_makes_one_strategy(ada, bob, database):
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(*(create(ada, DRAFT, request_id=request_id, name="A") for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].diagnostics
    assert await count(database, "strategies") == 1
    await create(bob, DRAFT, request_id=request_id)  # ids are each user's own
    assert await count(database, "strategies") == 2


async def test_a_request_id_with_another_body_is_refused(ada, database):
    request_id = str(uuid.uuid4())
    await create(ada, request_id=request_id)
    error = await failure(create(ada, request_id=request_id, name="another"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert info(error).metadata["request_id"] == request_id
    assert await count(database, "strategies") == 1


async def test_a_request_that_failed_may_be_tried_again(ada, monkeypatch):
    request_id = str(uuid.uuid4())
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_STRATEGIES", 0)
        await failure(create(ada, request_id=request_id))
    assert (await create(ada, request_id=request_id)).strategy.version == 1


# Reading


async def test_what_is_not_yours_is_not_there(ada, bob):
    created = (await create(ada)).strategy
    for wanted in (created.strategy_id, NOBODY):
        for call in (
            bob.GetStrategy(pb.GetStrategyRequest(strategy_id=wanted)),
            bob.GetStrategy(pb.GetStrategyRequest(strategy_id=wanted, version=1)),
            bob.CompileStrategy(pb.CompileStrategyRequest(strategy_id=wanted)),
        ):
            error = await failure(call)
            assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "STRATEGY_NOT_FOUND")
            assert (error.details(), dict(info(error).metadata)) == ("no such strategy", {"strategy_id": wanted})
    error = await failure(bob.GetArtefact(pb.GetArtefactRequest(artefact_hash=created.artefact_hash)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "ARTEFACT_NOT_FOUND")
    assert not (await bob.ListStrategies(pb.ListStrategiesRequest())).strategies


async def test_a_version_that_is_not_there(ada):
    strategy_id = (await create(ada)).strategy.strategy_id
    assert (await ada.GetStrategy(pb.GetStrategyRequest(strategy_id=strategy_id, version=1))).strategy.version == 1
    for call in (
        ada.GetStrategy(pb.GetStrategyRequest(strategy_id=strategy_id, version=2)),
        ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=strategy_id, version=2)),
    ):
        error = await failure(call)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "STRATEGY_VERSION_NOT_FOUND")
        assert dict(info(error).metadata) == {"strategy_id": strategy_id, "version": "2"}


async def test_the_newest_version_is_the_one_that_is_meant(ada, database):
    strategy = (await create(ada)).strategy
    async with database.begin() as connection:
        await connection.execute(
            text("INSERT INTO strategy_versions VALUES (:id, 2, '{}', NULL, :time)"),
            {"id": uuid.UUID(strategy.strategy_id), "time": datetime(2030, 1, 1, tzinfo=UTC)},
        )
    newest = (await ada.GetStrategy(pb.GetStrategyRequest(strategy_id=strategy.strategy_id))).strategy
    assert (newest.version, newest.graph, newest.artefact_hash) == (2, "{}", "")
    assert newest.create_time == strategy.create_time
    assert newest.update_time.ToDatetime() == datetime(2030, 1, 1)
    listed = (await ada.ListStrategies(pb.ListStrategiesRequest())).strategies
    assert [one.version for one in listed] == [2]


async def test_pages_hold_everything_once_newest_first(ada, bob):
    made = [(await create(ada, name=f"S{number}")).strategy for number in range(7)]
    await create(bob)
    listed, token = [], ""
    while True:
        page = await ada.ListStrategies(pb.ListStrategiesRequest(page_size=3, page_token=token))
        listed.extend(page.strategies)
        token = page.next_page_token
        if not token:
            break
        assert len(page.strategies) == 3
    assert listed == made[::-1]
    assert all(one.graph == "" for one in listed)


@pytest.mark.parametrize("page_token", ["nonsense", "W10", "WyJMaXN0U3RyYXRlZ2llcyIsIngiLCJ5Il0", "é"])
async def test_a_strange_page_token_is_refused(ada, page_token):
    error = await failure(ada.ListStrategies(pb.ListStrategiesRequest(page_token=page_token)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert set(violations(error)) == {"page_token"}


# Compiling


async def test_validating_says_what_it_would_compile_to_and_saves_nothing(ada, database):
    response = await ada.ValidateStrategy(pb.ValidateStrategyRequest(graph=GRAPH))
    artefact = compile_strategy(GRAPH).artefact
    assert response.valid
    assert (response.artefact.artefact_hash, response.artefact.size_bytes) == (artefact.hash, len(artefact.wasm))
    report = MessageToDict(response.artefact.report)
    assert report["warmup_bars"] == artefact.report.warmup_bars
    assert report["order"] == list(artefact.report.order)
    draft = await ada.ValidateStrategy(pb.ValidateStrategyRequest(graph=DRAFT))
    assert not draft.valid
    assert not draft.HasField("artefact")
    assert await count(database, "strategies") + await count(database, "artefacts") == 0


async def test_the_artefact_is_the_module_that_the_hash_names(ada, bob, database):
    strategy = (await create(ada)).strategy
    assert (await create(bob, name="the same drawing")).strategy.artefact_hash == strategy.artefact_hash
    assert await count(database, "artefacts") == 1
    got = await ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=strategy.artefact_hash))
    assert hashlib.sha256(got.module).hexdigest() == strategy.artefact_hash == got.artefact.artefact_hash
    assert Artefact.from_wasm(got.module).hash == strategy.artefact_hash
    compiled = await ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=strategy.strategy_id))
    assert compiled.version == 1
    assert compiled.artefact == got.artefact


async def test_a_draft_compiles_to_findings(ada):
    created = await create(ada, DRAFT)
    compiled = await ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=created.strategy.strategy_id))
    assert not compiled.HasField("artefact")
    assert list(compiled.diagnostics) == list(created.diagnostics)


async def test_a_version_keeps_its_first_artefact(ada, database, open_account):
    """A later compiler may make other bytes of the same drawing: what was tested stays what runs."""
    strategy = (await create(ada)).strategy
    earlier = StoredArtefact("ab" * 32, b"made by an earlier compiler", {"warmup_bars": 1})
    async with database.begin() as connection:
        await connection.execute(
            text("INSERT INTO artefacts VALUES (:hash, :module, '{\"warmup_bars\": 1}')"),
            {"hash": earlier.hash, "module": earlier.module},
        )
        await connection.execute(text("UPDATE strategy_versions SET artefact_hash = :hash"), {"hash": earlier.hash})
    compiled = await ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=strategy.strategy_id))
    assert compiled.artefact.artefact_hash == earlier.hash
    got = await ada.GetArtefact(pb.GetArtefactRequest(artefact_hash=earlier.hash))
    assert got.module == earlier.module


async def test_a_draft_of_an_earlier_compiler_gets_its_artefact_when_it_compiles(ada, database):
    strategy = (await create(ada)).strategy
    async with database.begin() as connection:
        await connection.execute(text("UPDATE strategy_versions SET artefact_hash = NULL"))
        await connection.execute(text("DELETE FROM artefacts"))
    compiled = await ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=strategy.strategy_id))
    found = (await ada.GetStrategy(pb.GetStrategyRequest(strategy_id=strategy.strategy_id))).strategy
    assert found.artefact_hash == compiled.artefact.artefact_hash == strategy.artefact_hash


async def test_a_text_is_compiled_once_and_off_the_loop(monkeypatch):
    compiler, texts = Compiler(), []
    engines = compile_strategy

    def counting(document):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        texts.append(document)
        return engines(document)

    monkeypatch.setattr("algotrade.strategy.compile.compile_strategy", counting)
    first = await compiler.compile(GRAPH)
    assert await compiler.compile(GRAPH) is first
    assert len(texts) == 1
    assert await compiler.compile(GRAPH + " ") is not first


async def test_deleting_the_account_deletes_its_strategies(ada, database):
    await create(ada, request_id=str(uuid.uuid4()))
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM users"))
    for table in ("strategies", "strategy_versions", "request_ids"):
        assert await count(database, table) == 0


async def test_compiling_what_was_just_deleted_finds_nothing(ada, database, bus, open_account):
    store = PostgresStrategyStore(database, bus)
    artefact = StoredArtefact("cd" * 32, b"", {})
    with pytest.raises(Exception, match="no such strategy"):
        await store.keep_artefact(await open_account(), NOBODY, 1, artefact, Message(NOBODY, b""))
    assert await count(database, "artefacts") == 0
    assert await bus.read(STRATEGY_COMPILATIONS, 0, 0, 10) == []


async def test_each_compilation_of_a_version_is_told(ada, bus):
    strategy = (await create(ada, name="mine")).strategy
    await ada.UpdateStrategy(
        pb.UpdateStrategyRequest(
            strategy_id=strategy.strategy_id, graph='{"nodes": []}', update_mask={"paths": ["graph"]}
        )
    )
    await ada.UpdateStrategy(
        pb.UpdateStrategyRequest(strategy_id=strategy.strategy_id, name="yours", update_mask={"paths": ["name"]})
    )
    for version in (1, 2):
        await ada.CompileStrategy(pb.CompileStrategyRequest(strategy_id=strategy.strategy_id, version=version))
    records = await bus.read(STRATEGY_COMPILATIONS, 0, 0, 10)
    told = [StrategyCompilation.FromString(record.payload) for record in records]
    assert {(record.key, one.strategy_id) for record, one in zip(records, told, strict=True)} == {
        (strategy.strategy_id, strategy.strategy_id)
    }
    assert [(one.version, one.artefact_hash, one.errors > 0) for one in told] == [
        (1, strategy.artefact_hash, False),
        (2, "", True),
        (1, strategy.artefact_hash, False),
        (2, "", True),
    ]
    assert [one.strategy_name for one in told] == ["mine", "mine", "yours", "yours"]
    assert told[1].first_finding


# The catalogue


async def test_the_catalogue_is_the_engines(ada):
    listed = (await ada.ListNodeTypes(pb.ListNodeTypesRequest())).node_types
    assert {one.name for one in listed} == set(CATALOGUE)
    assert [(one.category, one.name) for one in listed] == sorted((one.category, one.name) for one in listed)
    by_name = {one.name: one for one in listed}
    sma = by_name["sma"]
    assert [(port.name, port.type, port.required) for port in sma.inputs] == [("input", pb.PORT_TYPE_NUMBER, True)]
    period = sma.parameters[0]
    assert (period.name, period.type, period.default_value.number_value) == ("timeperiod", "int", 30)
    assert period.max == 5000
    assert by_name["and"].inputs[0].many
    assert by_name["crossover"].outputs[0].type == pb.PORT_TYPE_BOOL
    op = next(one for one in by_name["compare"].parameters if one.name == "op")
    assert (op.type, op.default_value.string_value) == ("choice", CATALOGUE["compare"].param("op").default)
    assert list(op.choices) == list(CATALOGUE["compare"].param("op").choices)
    assert not op.HasField("min")
    percent = next(one for one in by_name["stop_loss"].parameters if one.name == "percent")
    assert not percent.HasField("default_value")
