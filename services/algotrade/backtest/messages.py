"""Backtests, trades and curves as messages."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.backtest.run import decimal_text
from algotrade.backtest.source import source_message
from algotrade.backtest.store import Backtest, State, Summary
from algotrade.engine import fixed
from algotrade.engine.explain import Explanation
from algotrade.engine.graph import Diagnostic
from algotrade.engine.metrics import Metric
from algotrade.engine.trades import Trade
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.port_values import port_value
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import forward_test_service_pb2 as forward_pb
from algotrade.v1 import types_pb2

STATES: Final = {
    State.QUEUED: pb.BACKTEST_STATE_QUEUED,
    State.RUNNING: pb.BACKTEST_STATE_RUNNING,
    State.SUCCEEDED: pb.BACKTEST_STATE_SUCCEEDED,
    State.FAILED: pb.BACKTEST_STATE_FAILED,
    State.CANCELLED: pb.BACKTEST_STATE_CANCELLED,
}
_SIDES: Final = {"long": forward_pb.TRADE_SIDE_LONG, "short": forward_pb.TRADE_SIDE_SHORT}
_SEVERITIES: Final = {
    "error": types_pb2.DIAGNOSTIC_SEVERITY_ERROR,
    "warning": types_pb2.DIAGNOSTIC_SEVERITY_WARNING,
}


def backtest_message(backtest: Backtest) -> pb.Backtest:
    """Write a backtest."""
    return pb.Backtest(
        backtest_id=backtest.backtest_id,
        name=backtest.name,
        strategy_id=backtest.strategy_id,
        strategy_version=backtest.strategy_version,
        artefact_hash=backtest.artefact_hash,
        data_hash=backtest.data_hash,
        settings=types_pb2.RunSettings(**backtest.settings.as_text()),  # type: ignore[arg-type]
        parameters=backtest.parameters,
        rerun_of=backtest.rerun_of,
        state=STATES[backtest.state],
        failure=backtest.failure,
        progress=progress_message(backtest),
        summary=_summary(backtest.summary) if backtest.summary else None,
        create_time=moment(backtest.create_time),
        start_time=moment(backtest.start_time),
        end_time=moment(backtest.end_time),
        source=source_message(backtest.source),
    )


def progress_message(backtest: Backtest) -> pb.BacktestProgress:
    """Write how far a backtest is."""
    return pb.BacktestProgress(done_bars=backtest.done_bars, total_bars=backtest.total_bars)


def _summary(summary: Summary) -> pb.BacktestSummary:
    return pb.BacktestSummary(
        result_hash=summary.result_hash,
        bars=summary.bars,
        warmup_bars=summary.warmup_bars,
        trades=summary.trades,
        final_equity=fixed.text(summary.final_equity),
        rejections=summary.rejections,
        halt_reason=summary.halt_reason,
        optimistic=summary.optimistic,
        run_nanos=summary.run_ns,
        metrics=[_metric(one) for one in summary.metrics],
        monthly_returns={month: decimal_text(gain) for month, gain in summary.monthly_returns.items()},
    )


def _metric(metric: Metric) -> pb.PerformanceMetric:
    value = metric.value
    written = "" if value is None else value if isinstance(value, str) else decimal_text(value)
    return pb.PerformanceMetric(name=metric.name, value=written, unit=metric.unit, definition=metric.definition)


def trade_message(number: int, trade: Trade) -> pb.BacktestTrade:
    """Write a trade, closed or open."""
    return pb.BacktestTrade(
        number=number,
        side=_SIDES[trade.side],
        quantity=fixed.text(trade.quantity),
        entry_time=timestamp(trade.entry_ts),
        entry_price=fixed.text(trade.entry_price),
        exit_time=None if trade.exit_ts is None else timestamp(trade.exit_ts),
        exit_price="" if trade.exit_price is None else fixed.text(trade.exit_price),
        fees=fixed.text(trade.fees),
        pnl="" if trade.pnl is None else fixed.text(trade.pnl),
        exit_reason=trade.exit_reason or "",
        ambiguous=trade.ambiguous,
    )


def point_message(ns: int, equity: float, drawdown: float, benchmark: float) -> pb.EquityPoint:
    """Write a point of the curves; the drawdown is a share."""
    return pb.EquityPoint(
        time=timestamp(ns),
        equity=fixed.text(round(equity * fixed.SCALE)),
        drawdown=decimal_text(100 * drawdown),
        benchmark=fixed.text(round(benchmark * fixed.SCALE)),
    )


def explanation_message(found: Explanation) -> pb.ExplainBarResponse:
    """Write what a bar's ports held and what its actions did."""
    return pb.ExplainBarResponse(
        bar_time=timestamp(found.ts),
        bar=found.bar,
        warmup_bars=found.warmup_bars,
        ports=[port_value(node_id, port, value) for (node_id, port), value in found.ports.items()],
        actions=[
            pb.ActionExplanation(
                node_id=action.node_id, acted=action.acted, rejection=action.rejection or "", sentence=action.sentence
            )
            for action in found.actions
        ],
    )


def diagnostic_message(found: Diagnostic) -> types_pb2.Diagnostic:
    """Write a finding of the compiler."""
    return types_pb2.Diagnostic(
        severity=_SEVERITIES[found.severity],
        code=found.code,
        message=found.message,
        node_id=found.node_id or "",
        edge_id=found.edge_id or "",
        param=found.param or "",
    )


def timestamp(ns: int) -> Timestamp:
    """Write nanoseconds since the epoch."""
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)


def moment(time: datetime | None) -> Timestamp | None:
    """Write a moment of ours."""
    if time is None:
        return None
    written = Timestamp()
    written.FromDatetime(time)
    return written
