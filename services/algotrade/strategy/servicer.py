"""StrategyService on the wire: messages in, messages out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.engine import fixed
from algotrade.engine.graph import Diagnostic
from algotrade.platform import limits, paging
from algotrade.platform.bus import Message
from algotrade.platform.cache import Cache
from algotrade.platform.caller import principal
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import NotFound
from algotrade.platform.metrics import Metrics
from algotrade.platform.once import Once
from algotrade.platform.port_values import port_value
from algotrade.strategy.artefacts import ArtefactCache
from algotrade.strategy.catalogue import node_types
from algotrade.strategy.compile import Compiled, Compiler
from algotrade.strategy.store import Change, StoredArtefact, StoredStrategy, StrategyStore
from algotrade.strategy.tell import compilation
from algotrade.strategy.template import Template, templates
from algotrade.strategy.trial import TestRunner, Trial
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

CREATE_STRATEGY: Final = "CreateStrategy"
UPDATE_STRATEGY: Final = "UpdateStrategy"
LIST_STRATEGIES: Final = "ListStrategies"
LIST_VERSIONS: Final = "ListStrategyVersions"
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500
_SEVERITIES: Final = {
    "error": types_pb2.DIAGNOSTIC_SEVERITY_ERROR,
    "warning": types_pb2.DIAGNOSTIC_SEVERITY_WARNING,
}


class StrategyServicer(pb_grpc.StrategyServiceServicer):
    """Translates between messages, the compiler and the store."""

    def __init__(self, compiler: Compiler, store: StrategyStore, cache: Cache, clock: Clock, metrics: Metrics) -> None:
        """Take who compiles, where things are kept, the time, and what counts."""
        self._compiler = compiler
        self._store = store
        self._artefacts = ArtefactCache(store, cache, metrics)
        self._runner = TestRunner()
        self._clock = clock
        self._templates = pb.ListTemplatesResponse(templates=[_template(one) for one in templates()])
        self._node_types = pb.ListNodeTypesResponse(node_types=node_types())

    async def CreateStrategy(self, request: pb.CreateStrategyRequest, context: Context) -> pb.CreateStrategyResponse:
        """Save a graph as version 1 of a new strategy, whatever the compiler says of it."""
        user_id = principal().user_id
        compiled = await self._compiler.compile(request.graph)
        now = self._now()
        strategy = StoredStrategy(
            strategy_id=str(uuid.uuid4()),
            name=request.name.strip() or compiled.name,
            description=request.description,
            version=1,
            graph=request.graph,
            artefact_hash=compiled.artefact.hash if compiled.artefact else None,
            create_time=now,
            update_time=now,
        )
        answer = pb.CreateStrategyResponse(
            strategy=_strategy(strategy, with_graph=False), diagnostics=_diagnostics(compiled)
        )
        once = Once.of(user_id, CREATE_STRATEGY, request, answer)
        told = compilation(user_id, strategy, compiled, now)
        earlier = await self._store.create(user_id, strategy, compiled.artefact, once, told)
        return answer if earlier is None else pb.CreateStrategyResponse.FromString(earlier)

    async def GetStrategy(self, request: pb.GetStrategyRequest, context: Context) -> pb.GetStrategyResponse:
        """Return one of the caller's strategies."""
        found = await self._store.get(principal().user_id, request.strategy_id, request.version)
        return pb.GetStrategyResponse(strategy=_strategy(found))

    async def ListStrategies(self, request: pb.ListStrategiesRequest, context: Context) -> pb.ListStrategiesResponse:
        """Return a page of the caller's strategies, the newest first."""
        size = paging.page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        found = await self._store.newest(principal().user_id, _before(request.page_token), size + 1)
        page = found[:size]
        token = ""
        if len(found) > size:
            token = paging.write_token(LIST_STRATEGIES, page[-1].create_time.isoformat(), page[-1].strategy_id)
        strategies = [_strategy(one, with_graph=False) for one in page]
        return pb.ListStrategiesResponse(strategies=strategies, next_page_token=token)

    async def ListStrategyVersions(
        self, request: pb.ListStrategyVersionsRequest, context: Context
    ) -> pb.ListStrategyVersionsResponse:
        """Return a page of a strategy's versions, the newest first."""
        size = paging.page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        keys = paging.read_token(LIST_VERSIONS, request.page_token, 2)
        if keys is not None and (keys[0] != request.strategy_id or not isinstance(keys[1], int)):
            raise paging.bad_token()
        before = min(max(int(keys[1]), 0), limits.MAX_STRATEGY_VERSIONS + 1) if keys else None
        found = await self._store.versions(principal().user_id, request.strategy_id, before, size + 1)
        page = found[:size]
        token = paging.write_token(LIST_VERSIONS, request.strategy_id, page[-1].version) if len(found) > size else ""
        versions = [
            pb.StrategyVersionSummary(
                version=one.version, artefact_hash=one.artefact_hash or "", create_time=_timestamp(one.create_time)
            )
            for one in page
        ]
        return pb.ListStrategyVersionsResponse(versions=versions, next_page_token=token)

    async def UpdateStrategy(self, request: pb.UpdateStrategyRequest, context: Context) -> pb.UpdateStrategyResponse:
        """Change the fields that the mask names; a graph becomes the next version."""
        user_id, masked, now = principal().user_id, set(request.update_mask.paths), self._now()
        compiled = await self._compiler.compile(request.graph) if "graph" in masked else None
        name = request.name.strip() if "name" in masked else None
        if name == "":
            name = (compiled or await self._newest_compiled(user_id, request.strategy_id)).name
        change = Change(
            name=name,
            description=request.description if "description" in masked else None,
            graph=request.graph if compiled else None,
            artefact=compiled.artefact if compiled else None,
        )

        def told(strategy: StoredStrategy) -> Message:
            assert compiled is not None  # noqa: S101  (a graph was compiled, else there is no new version)
            return compilation(user_id, strategy, compiled, now)

        def answer(strategy: StoredStrategy) -> pb.UpdateStrategyResponse:
            found = _diagnostics(compiled) if compiled else []
            return pb.UpdateStrategyResponse(strategy=_strategy(strategy, with_graph=False), diagnostics=found)

        changed = await self._store.change(
            user_id,
            request.strategy_id,
            change,
            now,
            lambda strategy: Once.of(user_id, UPDATE_STRATEGY, request, answer(strategy)),
            told,
        )
        return pb.UpdateStrategyResponse.FromString(changed) if isinstance(changed, bytes) else answer(changed)

    async def _newest_compiled(self, user_id: str, strategy_id: str) -> Compiled:
        return await self._compiler.compile((await self._store.get(user_id, strategy_id, 0)).graph)

    async def DeleteStrategy(self, request: pb.DeleteStrategyRequest, context: Context) -> pb.DeleteStrategyResponse:
        """Delete one of the caller's strategies."""
        await self._store.delete(principal().user_id, request.strategy_id)
        return pb.DeleteStrategyResponse()

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Context) -> pb.ListTemplatesResponse:
        """Return the templates."""
        return self._templates

    async def TestRunStrategy(self, request: pb.TestRunStrategyRequest, context: Context) -> pb.TestRunStrategyResponse:
        """Run a graph over made-up bars."""
        compiled = await self._compiler.compile(request.graph)
        answer = pb.TestRunStrategyResponse(diagnostics=_diagnostics(compiled))
        if compiled.artefact is not None:
            settings = {field.name: value for field, value in request.settings.ListFields() if value != ""}
            trial = await self._runner.run(
                request.graph, request.seed, request.bars, settings, dict(request.parameters)
            )
            answer.run.CopyFrom(_test_run(compiled.artefact, trial))
        return answer

    async def ValidateStrategy(
        self, request: pb.ValidateStrategyRequest, context: Context
    ) -> pb.ValidateStrategyResponse:
        """Return every finding about a graph."""
        compiled = await self._compiler.compile(request.graph)
        return pb.ValidateStrategyResponse(
            valid=compiled.artefact is not None,
            diagnostics=_diagnostics(compiled),
            artefact=_artefact(compiled.artefact) if compiled.artefact else None,
        )

    async def CompileStrategy(self, request: pb.CompileStrategyRequest, context: Context) -> pb.CompileStrategyResponse:
        """Compile a saved version. What it compiled to first stays its artefact, whatever later compilers make."""
        user_id = principal().user_id
        strategy = await self._store.get(user_id, request.strategy_id, request.version)
        compiled = await self._compiler.compile(strategy.graph)
        artefact = compiled.artefact
        told = compilation(user_id, strategy, compiled, self._now())
        if artefact is None:
            await self._store.tell(told)
        else:
            pinned = await self._store.keep_artefact(user_id, strategy.strategy_id, strategy.version, artefact, told)
            if pinned != artefact.hash:
                artefact = await self._owned_artefact(user_id, pinned)
        return pb.CompileStrategyResponse(
            version=strategy.version,
            artefact=_artefact(artefact) if artefact else None,
            diagnostics=_diagnostics(compiled),
        )

    async def ListNodeTypes(self, request: pb.ListNodeTypesRequest, context: Context) -> pb.ListNodeTypesResponse:
        """Return the catalogue."""
        return self._node_types

    async def GetArtefact(self, request: pb.GetArtefactRequest, context: Context) -> pb.GetArtefactResponse:
        """Return the module that one of the caller's strategies compiled to."""
        found = await self._owned_artefact(principal().user_id, request.artefact_hash)
        return pb.GetArtefactResponse(artefact=_artefact(found), module=found.module)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC)

    async def _owned_artefact(self, user_id: str, artefact_hash: str) -> StoredArtefact:
        found = await self._artefacts.get(user_id, artefact_hash)
        if found is None:
            raise NotFound("ARTEFACT_NOT_FOUND", "none of your strategies compiles to it", artefact_hash=artefact_hash)
        return found


def _before(token: str) -> tuple[datetime, str] | None:
    keys = paging.read_token(LIST_STRATEGIES, token, 2)
    if keys is None:
        return None
    try:
        create_time = datetime.fromisoformat(str(keys[0]))
        strategy_id = str(uuid.UUID(str(keys[1])))
    except ValueError:
        raise paging.bad_token() from None
    if create_time.tzinfo is None:
        raise paging.bad_token()
    return create_time, strategy_id


def _strategy(strategy: StoredStrategy, *, with_graph: bool = True) -> pb.Strategy:
    return pb.Strategy(
        strategy_id=strategy.strategy_id,
        name=strategy.name,
        description=strategy.description,
        version=strategy.version,
        graph=strategy.graph if with_graph else "",
        artefact_hash=strategy.artefact_hash or "",
        create_time=_timestamp(strategy.create_time),
        update_time=_timestamp(strategy.update_time),
    )


def _artefact(artefact: StoredArtefact) -> pb.Artefact:
    message = pb.Artefact(artefact_hash=artefact.hash, size_bytes=len(artefact.module))
    message.report.update({name: _plain(value) for name, value in artefact.report.items()})
    return message


def _template(template: Template) -> pb.StrategyTemplate:
    return pb.StrategyTemplate(
        template_id=template.template_id,
        name=template.name,
        description=template.description,
        graph=template.graph,
    )


def _test_run(artefact: StoredArtefact, trial: Trial) -> pb.TestRun:
    return pb.TestRun(
        artefact_hash=artefact.hash,
        bars=trial.state.bars,
        warmup_bars=trial.state.warmup_bars,
        trades=len(trial.book.closed),
        winning_trades=sum(1 for trade in trial.book.closed if (trade.pnl or 0) > 0),
        open_trade=trial.book.open is not None,
        rejections=trial.book.rejections,
        final_equity=fixed.text(trial.state.equity),
        halt_reason=trial.book.halted or "",
        ports=[port_value(node_id, port, value) for (node_id, port), value in trial.ports.items()],
        last_bar_time=Timestamp(seconds=trial.last_bar_ns // SECOND_NS),
    )


def _plain(value: Any) -> Any:
    """A list where Python has a tuple: a Struct knows only what JSON knows."""
    return list(value) if isinstance(value, tuple) else value


def _diagnostics(compiled: Compiled) -> list[types_pb2.Diagnostic]:
    return [_diagnostic(found) for found in compiled.diagnostics]


def _diagnostic(found: Diagnostic) -> types_pb2.Diagnostic:
    return types_pb2.Diagnostic(
        severity=_SEVERITIES[found.severity],
        code=found.code,
        message=found.message,
        node_id=found.node_id or "",
        edge_id=found.edge_id or "",
        param=found.param or "",
    )


def _timestamp(time: datetime) -> Timestamp:
    written = Timestamp()
    written.FromDatetime(time)
    return written
