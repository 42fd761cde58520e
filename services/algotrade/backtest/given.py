"""What a request to run names: a strategy and data, with everything that can be wrong in them, and the rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from algotrade.backtest.bars import bars_of, bars_of_deltas, sample
from algotrade.backtest.history import History
from algotrade.backtest.run import parameters_of
from algotrade.backtest.source import DataSource
from algotrade.backtest.store import BacktestStore
from algotrade.engine.backtest import fitting
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.graph import Diagnostic
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings, SettingsError
from algotrade.platform.errors import FailedPrecondition, InvalidArgument, NotFound
from algotrade.platform.upstream import SavedStrategies
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

CONCURRENT_COMPILES: Final = 2
UNTITLED: Final = "Untitled strategy"
Request = pb.StartBacktestRequest | pb.StartOptimizationRequest
DataRequest = Request | pb.GetBarsRequest


@dataclass(frozen=True, slots=True)
class Strategy:
    """What is to run. ``artefact`` is None where an inline graph has errors."""

    name: str
    graph: str
    artefact: Artefact | None
    strategy_id: str = ""
    version: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """What to run over (BAR records), where it is from, where that is known, and what to call it."""

    bars: Records
    source: DataSource | None
    label: str


class Given:
    """Finds what requests name."""

    def __init__(self, store: BacktestStore, strategies: SavedStrategies, history: History, samples: Path) -> None:
        """Take where data, strategies and the past are, and where samples are written."""
        self._store = store
        self._history = history
        self._strategies = strategies
        self._samples = samples
        self._compiling = asyncio.Semaphore(CONCURRENT_COMPILES)

    async def data(self, user_id: str, request: DataRequest) -> Data:
        """Return the bars and where they are from. Raises InvalidArgument, NotFound; of the past also as `History`."""
        if request.HasField("sample"):
            bars = await asyncio.to_thread(sample, request.sample, self._samples)
            return Data(bars, DataSource("sample", request.sample, interval="1d"), f"{request.sample} daily")
        if request.HasField("history"):
            bars, source = await self._history.bars(request.history)
            return Data(bars, source, source.label)
        if not isinstance(request, pb.GetBarsRequest) and not request.HasField("data_hash"):
            bars = await asyncio.to_thread(_uploaded, request)
            return Data(bars, DataSource("uploaded"), f"{len(bars)} bars")
        stored = await self._store.data(user_id, request.data_hash)
        if stored is None:
            sentence = "nothing of yours ran over data of that hash"
            raise NotFound("DATA_NOT_FOUND", sentence, data_hash=request.data_hash)
        bars, kept = stored
        return Data(bars, kept, kept.label if kept and kept.origin == "history" else f"{len(bars)} bars")

    async def strategy(self, request: Request) -> Strategy:
        """Return the strategy, or what the compiler finds. Raises NotFound, FailedPrecondition, InvalidArgument."""
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
        return Strategy(saved.name, saved.graph, artefact, saved.strategy_id, saved.version)


def _uploaded(request: Request) -> Records:
    return bars_of_deltas(request.deltas) if request.HasField("deltas") else bars_of(request.bars)


def _compile(graph: str) -> Strategy:
    compilation = compile_strategy(graph)
    _check_characters(graph)
    drawn = compilation.strategy.name if compilation.strategy else ""
    name = "".join(c for c in drawn if c.isprintable()).strip() or UNTITLED
    return Strategy(name, graph, compilation.artefact, diagnostics=compilation.diagnostics)


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
        raise bad_setting(f"settings.{error.field}", error) from error
    return settings


def fixed_parameters(given: Mapping[str, str], artefact: Artefact) -> dict[str, str]:
    """Read parameters, defaults filled in, as decimals. Raises InvalidArgument naming the parameter."""
    try:
        return parameters_of(given, artefact)
    except SettingsError as error:
        raise bad_setting(f"parameters.{error.field}", error) from error


def bad_setting(field: str, error: SettingsError) -> InvalidArgument:
    """Return the error for a setting that cannot be, by the path of its field."""
    return InvalidArgument("SETTINGS_INVALID", f"{field}: {error.message}", violations=[(field, error.message)])
