"""Beginning a backtest: what runs, over what, under which rules; everything that can be wrong is found here."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from algotrade.backtest.bars import bars_of, hash_of, sample
from algotrade.backtest.messages import backtest_message, diagnostic_message
from algotrade.backtest.run import parameters_of
from algotrade.backtest.store import Backtest, BacktestStore, Draft, Inputs, State, no_backtest
from algotrade.engine.backtest import fitting
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.graph import Diagnostic
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings, SettingsError
from algotrade.platform.clock import Clock
from algotrade.platform.errors import FailedPrecondition, InvalidArgument, NotFound
from algotrade.platform.once import Once
from algotrade.platform.upstream import SavedStrategies
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

CONCURRENT_COMPILES: Final = 2
UNTITLED: Final = "Untitled strategy"


@dataclass(frozen=True, slots=True)
class _Strategy:
    """What is to run. ``artefact`` is None where an inline graph has errors."""

    name: str
    graph: str
    artefact: Artefact | None
    strategy_id: str = ""
    version: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()


class Starter:
    """Makes backtests on behalf of their owners."""

    def __init__(
        self,
        store: BacktestStore,
        strategies: SavedStrategies,
        clock: Clock,
        samples: Path,
        submitted: Callable[[], None],
    ) -> None:
        """Take where things are, where samples are written, and who runs what was stored."""
        self._store = store
        self._strategies = strategies
        self._clock = clock
        self._samples = samples
        self._submitted = submitted
        self._compiling = asyncio.Semaphore(CONCURRENT_COMPILES)

    async def start(self, user_id: str, request: pb.StartBacktestRequest) -> pb.StartBacktestResponse:
        """Start a backtest, or say what the compiler finds. Raises InvalidArgument naming what is wrong."""
        bars, label = await self._data(user_id, request)
        strategy = await self._strategy(request)
        found = [diagnostic_message(one) for one in strategy.diagnostics]
        artefact = strategy.artefact
        if artefact is None:
            return pb.StartBacktestResponse(diagnostics=found)
        backtest = Backtest(
            backtest_id=str(uuid.uuid4()),
            user_id=user_id,
            name=request.name.strip() or f"{strategy.name} · {label}",
            strategy_id=strategy.strategy_id,
            strategy_version=strategy.version,
            artefact_hash=artefact.hash,
            data_hash=hash_of(bars),
            settings=settings_of(request.settings, bars, artefact),
            parameters=_parameters(request.parameters, artefact),
            total_bars=len(bars),
            create_time=self._now(),
        )
        answer = pb.StartBacktestResponse(backtest=backtest_message(backtest), diagnostics=found)
        once = Once.of(user_id, "StartBacktest", request, answer)
        draft = Draft(backtest, strategy.graph, Inputs(artefact.wasm, bars))
        earlier = await self._store.create(draft, once)
        self._submitted()
        return answer if earlier is None else pb.StartBacktestResponse.FromString(earlier)

    async def rerun(self, user_id: str, request: pb.RerunBacktestRequest) -> pb.RerunBacktestResponse:
        """Start a stored backtest once more. Raises NotFound."""
        first = await self._store.get(user_id, request.backtest_id)
        graph = await self._store.graph(user_id, request.backtest_id)
        if first is None or graph is None:
            raise no_backtest(request.backtest_id)
        again = replace(
            first,
            backtest_id=str(uuid.uuid4()),
            rerun_of=first.backtest_id,
            create_time=self._now(),
            state=State.QUEUED,
            failure="",
            attempt=0,
            done_bars=0,
            start_time=None,
            end_time=None,
            summary=None,
        )
        answer = pb.RerunBacktestResponse(backtest=backtest_message(again))
        once = Once.of(user_id, "RerunBacktest", request, answer)
        earlier = await self._store.create(Draft(again, graph, None), once)
        self._submitted()
        return answer if earlier is None else pb.RerunBacktestResponse.FromString(earlier)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC)

    async def _data(self, user_id: str, request: pb.StartBacktestRequest) -> tuple[Records, str]:
        """Return the bars, and what to call them."""
        if request.HasField("sample"):
            return await asyncio.to_thread(sample, request.sample, self._samples), f"{request.sample} daily"
        if request.HasField("bars"):
            bars = await asyncio.to_thread(bars_of, request.bars)
        else:
            stored = await self._store.data(user_id, request.data_hash)
            if stored is None:
                sentence = "none of your backtests has data of that hash"
                raise NotFound("DATA_NOT_FOUND", sentence, data_hash=request.data_hash)
            bars = stored
        return bars, f"{len(bars)} bars"

    async def _strategy(self, request: pb.StartBacktestRequest) -> _Strategy:
        if request.HasField("graph"):
            async with self._compiling:
                return await asyncio.to_thread(_compile, request.graph)
        saved = await self._strategies.strategy(request.saved.strategy_id, request.saved.version)
        if not saved.artefact_hash:
            raise FailedPrecondition(
                "STRATEGY_NOT_COMPILABLE",
                "the strategy has errors; ValidateStrategy tells them",
                strategy_id=saved.strategy_id,
                version=saved.version,
            )
        artefact = await self._strategies.artefact(saved.artefact_hash)
        return _Strategy(saved.name, saved.graph, artefact, saved.strategy_id, saved.version)


def _compile(graph: str) -> _Strategy:
    compilation = compile_strategy(graph)
    _check_characters(graph)
    drawn = compilation.strategy.name if compilation.strategy else ""
    name = "".join(c for c in drawn if c.isprintable()).strip() or UNTITLED
    return _Strategy(name, graph, compilation.artefact, diagnostics=compilation.diagnostics)


def _check_characters(graph: str) -> None:
    """Half of a surrogate pair is no character: names with one could neither be stored nor sent in a finding."""
    try:
        json.dumps(json.loads(graph), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        sentence = "not JSON: half of a surrogate pair in a string"
        raise InvalidArgument("GRAPH_MALFORMED", f"graph: {sentence}", violations=[("graph", sentence)]) from None
    except (ValueError, RecursionError):
        return  # the compiler has said so


def settings_of(given: types_pb2.RunSettings, bars: Records, artefact: Artefact) -> RunSettings:
    """Read run settings against bars and a strategy. Raises InvalidArgument naming the setting."""
    texts = {field.name: value for field, value in given.ListFields() if value != ""}
    try:
        settings = fitting(RunSettings.parse(texts), bars, artefact)
        settings.check_timeframes(artefact.report.timeframes)
        settings.check_short(sells_short=artefact.manifest.has_short)
    except SettingsError as error:
        raise _bad_setting(f"settings.{error.field}", error) from error
    return settings


def _parameters(given: Mapping[str, str], artefact: Artefact) -> dict[str, str]:
    try:
        return parameters_of(given, artefact)
    except SettingsError as error:
        raise _bad_setting(f"parameters.{error.field}", error) from error


def _bad_setting(field: str, error: SettingsError) -> InvalidArgument:
    return InvalidArgument("SETTINGS_INVALID", f"{field}: {error.message}", violations=[(field, error.message)])
