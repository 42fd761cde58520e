"""How backtests lie in rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Row

from algotrade.backtest.source import source_of
from algotrade.backtest.store import Backtest, State, Summary
from algotrade.engine import fixed
from algotrade.engine.metrics import Metric
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import Trade

# Without the module, the bars, the graph and the curve, which only some ask for.
BACKTEST: Final = """
    b.backtest_id, b.user_id, b.name, b.strategy_id, b.strategy_version, b.artefact_hash, b.data_hash, b.settings,
    b.parameters, b.rerun_of, CAST(b.state AS text) AS state, b.failure, b.attempt, b.done_bars, b.total_bars,
    b.create_time, b.start_time, b.end_time, b.summary, b.source
    """
TRADE: Final = {
    "side": "text",
    "quantity": "bigint",
    "entry_ns": "bigint",
    "entry_price": "bigint",
    "exit_ns": "bigint",
    "exit_price": "bigint",
    "fees": "bigint",
    "pnl": "bigint",
    "exit_reason": "text",
    "ambiguous": "boolean",
}


def backtest(row: Row[Any]) -> Backtest:
    """Read the columns `BACKTEST`, and `metrics` where they are there."""
    metrics = getattr(row, "metrics", None) or ()
    return Backtest(
        backtest_id=str(row.backtest_id),
        user_id=str(row.user_id),
        name=row.name,
        strategy_id=str(row.strategy_id) if row.strategy_id else "",
        strategy_version=row.strategy_version,
        artefact_hash=row.artefact_hash,
        data_hash=row.data_hash,
        settings=RunSettings.parse(row.settings),
        parameters=row.parameters,
        total_bars=row.total_bars,
        create_time=row.create_time,
        source=source_of(row.source),
        rerun_of=str(row.rerun_of) if row.rerun_of else "",
        state=State(row.state),
        failure=row.failure,
        attempt=row.attempt,
        done_bars=row.done_bars,
        start_time=row.start_time,
        end_time=row.end_time,
        summary=None if row.summary is None else _summary(row.summary, metrics),
    )


def _summary(stored: dict[str, Any], metrics: Any) -> Summary:
    """Lists come without metrics, and then leave out the months as well."""
    whole = {"final_equity": fixed.parse(stored["final_equity"]), "metrics": tuple(Metric(**m) for m in metrics)}
    return Summary(**stored | whole | ({} if metrics else {"monthly_returns": {}}))


def summary_json(summary: Summary) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A summary and its metrics as JSON knows them."""
    stored = asdict(summary)
    metrics = stored.pop("metrics")
    return stored | {"final_equity": fixed.text(summary.final_equity)}, list(metrics)


def trade(row: Row[Any]) -> Trade:
    """Read the columns `TRADE`."""
    return Trade(*(getattr(row, name) for name in TRADE))


def trade_values(one: Trade) -> tuple[Any, ...]:
    """The columns `TRADE` of a trade."""
    return (
        one.side,
        one.quantity,
        one.entry_ts,
        one.entry_price,
        one.exit_ts,
        one.exit_price,
        one.fees,
        one.pnl,
        one.exit_reason,
        one.ambiguous,
    )
