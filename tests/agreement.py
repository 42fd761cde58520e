"""One random case through every way there is to run it, each result in one shape that can be compared.

`wasm` runs the artefact over bars, `by_ticks` the same artefact over the bars' ticks, `interpreted` the artefact's IR
in the interpreter with the same host around it, and `oracle` the independent reading of the contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import oracle.backtest as reference
from oracle.broker import Trade
from oracle.random_graphs import Case

from algotrade.engine import native
from algotrade.engine.backtest import backtest
from algotrade.engine.compile import Artefact, Compilation, compile_strategy
from algotrade.engine.interpreter import Interpreter
from algotrade.engine.ir import Program
from algotrade.engine.records import BAR, Records, bar_ticks
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import TradeBook

TRADE = (
    "side",
    "quantity",
    "entry_ts",
    "entry_price",
    "exit_ts",
    "exit_price",
    "fees",
    "pnl",
    "exit_reason",
    "ambiguous",
)
MEMORY = 24 * 1024 * 1024


@dataclass(frozen=True)
class Outcome:
    """What a run did. `curve` is the equity at each close as bytes, empty where a way of running does not give it."""

    trades: list[tuple[Any, ...]]
    rejections: dict[str, int]
    final_equity: int
    bars: int
    warmup_bars: int
    halted: str | None
    notices: dict[str, int]
    curve: bytes = b""

    def without_curve(self) -> tuple[Any, ...]:
        return astuple(self)[:-1]


def compiled(document: Mapping[str, Any]) -> Compilation:
    """Compile a document that must be valid."""
    compilation = compile_strategy(document)
    errors = [d for d in compilation.diagnostics if d.severity == "error"]
    assert not errors, errors
    assert compilation.artefact is not None
    return compilation


def bar_records(rows: list[reference.Row]) -> Records:
    return np.array(rows, BAR)


def trade_rows(trades: Any) -> list[tuple[Any, ...]]:
    return [tuple(getattr(trade, name) for name in TRADE) for trade in trades]


def wasm(artefact: Artefact, case: Case) -> Outcome:
    result = backtest(artefact, bar_records(case.tape.rows), RunSettings.parse(case.settings), case.parameters)
    return Outcome(
        trade_rows(result.trades),
        dict(result.rejections),
        result.final_equity,
        result.bars,
        result.warmup_bars,
        result.halted,
        dict(result.notices),
        result.equity.tobytes(),
    )


def by_engine(
    document: Mapping[str, Any],
    rows: list[reference.Row],
    settings: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> reference.Result:
    """A backtest by the engine in the oracle's shape, for cases whose numbers are known."""
    artefact = compiled(document).artefact
    assert artefact is not None
    result = backtest(artefact, bar_records(rows), RunSettings.parse(settings), parameters)
    trades = [Trade(**dict(zip(TRADE, row, strict=True))) for row in trade_rows(result.trades)]
    rejections = Counter(result.rejections)
    return reference.Result(trades, rejections, result.final_equity, result.bars, result.warmup_bars, [])


def interpreted(compilation: Compilation, case: Case) -> Outcome:
    """The same host code over the interpreter: only who executes the program differs."""
    artefact, program = compilation.artefact, compilation.program
    assert artefact is not None
    assert program is not None
    with patch.object(native, "Instance", lambda *_: InterpretedInstance(program)):
        return wasm(artefact, case)


def by_ticks(artefact: Artefact, case: Case) -> Outcome:
    """A session fed the four ticks of each bar, as a replay would; path `tradingview` only."""
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings.parse(case.settings), case.parameters)
    book = TradeBook(artefact.manifest.nodes)
    book.apply(sessions.step(bar_ticks(bar_records(case.tape.rows))))
    state = sessions.state(slot)
    trades = [*book.closed, *([book.open] if book.open else [])]
    return Outcome(
        trade_rows(trades),
        dict(book.rejections),
        state.equity,
        state.bars,
        state.warmup_bars,
        book.halted,
        dict(book.notices),
    )


def oracle(case: Case) -> tuple[Outcome, reference.Result]:
    """The oracle's outcome, and all else it found: its largest amount, decisions that hang on rounding, equities."""
    result = reference.backtest(case.document, case.tape.rows, case.settings, case.parameters)
    trades, rejections = trade_rows(result.trades), dict(result.rejections)
    notices = dict(result.notices)
    outcome = Outcome(trades, rejections, result.final_equity, result.bars, result.warmup_bars, None, notices)
    return outcome, result


class InterpretedInstance:
    """Stands in for a wasmtime instance: the interpreter's memory behind the same four verbs."""

    def __init__(self, program: Program) -> None:
        self._interpreter = Interpreter(program, MEMORY)

    def grow(self, size: int) -> None:
        if size > MEMORY:
            raise MemoryError(f"{size} bytes")

    def view(self, address: int, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(memoryview(self._interpreter.memory), dtype, count, int(address))

    def call(self, name: str, *args: int, fuel: int) -> int:
        assert fuel > 0
        return int(self._interpreter.call(name, *args) or 0)
