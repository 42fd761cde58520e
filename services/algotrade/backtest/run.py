"""One run, from inputs to outcome. It takes a thread, not the event loop, and touches nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from time import perf_counter_ns

import orjson

from algotrade.backtest.store import Claim, Outcome, Summary
from algotrade.engine import metrics
from algotrade.engine.backtest import Progress, backtest
from algotrade.engine.compile import Artefact
from algotrade.engine.runtime import bind
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import Trade

Run = Callable[[Claim, Progress], Outcome]


def run(claim: Claim, progress: Progress) -> Outcome:
    """Run to the end, or until ``progress`` raises."""
    held, inputs = claim.backtest, claim.inputs
    artefact = Artefact.from_wasm(inputs.module)
    if artefact.hash != held.artefact_hash:
        raise ValueError(f"the module kept as {held.artefact_hash} is {artefact.hash}")
    begun = perf_counter_ns()
    result = backtest(artefact, inputs.bars, held.settings, held.parameters, progress)
    run_ns = perf_counter_ns() - begun
    trades = result.trades
    judged = metrics.Run(result.data, result.equity, held.settings.initial_cash, result.final_equity, trades)
    summary = Summary(
        result_hash=result_hash(held.artefact_hash, held.data_hash, held.settings, held.parameters, trades),
        bars=result.bars,
        warmup_bars=result.warmup_bars,
        trades=len(trades),
        final_equity=result.final_equity,
        rejections=dict(sorted(result.rejections.items())),
        halt_reason=result.halted or "",
        optimistic=held.settings.fill == "close",
        run_ns=run_ns,
        metrics=metrics.performance(judged),
        monthly_returns=metrics.monthly_returns(judged),
    )
    return Outcome(summary, trades, result.equity)


def result_hash(
    artefact_hash: str, data_hash: str, settings: RunSettings, parameters: Mapping[str, str], trades: Sequence[Trade]
) -> str:
    """SHA-256 of a JSON text without spaces, keys in order: what went in, and every trade in units of 1e-8 and ns."""
    document = {
        "artefact": artefact_hash,
        "data": data_hash,
        "settings": settings.as_text(),
        "parameters": dict(parameters),
        "trades": [_row(trade) for trade in trades],
    }
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _row(trade: Trade) -> list[object]:
    return [
        trade.side,
        trade.quantity,
        trade.entry_ts,
        trade.entry_price,
        trade.exit_ts,
        trade.exit_price,
        trade.fees,
        trade.pnl,
        trade.exit_reason,
        trade.ambiguous,
    ]


def parameters_of(given: Mapping[str, str], artefact: Artefact) -> dict[str, str]:
    """Return every parameter's value as a decimal. Raises SettingsError naming the parameter."""
    bound = bind(artefact.manifest.parameters, given)
    return {name: decimal_text(value) for name, value in bound.items()}


def decimal_text(value: float) -> str:
    """Write the shortest decimal that names a number, without an exponent."""
    return str(value) if isinstance(value, int) else format(Decimal(repr(value)), "f")
