"""What a session's stored trades and equity come to.

What needs a curve of equity is read from the points of the session's chart: bars that closed since it traded, the
newest 100,000. It is undefined where there are none. The deepest fall of the equity the engine itself carries along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics import Metric, Run, essentials, of_trades
from algotrade.engine.runtime import state_of
from algotrade.engine.trades import Trade
from algotrade.forward_test.book import engine_trade
from algotrade.forward_test.points import Points
from algotrade.forward_test.session import Session
from algotrade.forward_test.store import Record, SessionStore
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.errors import NotFound, ResourceExhausted

DAY_NS: Final = 86_400 * SECOND_NS
DAYS_A_YEAR: Final = 365
_OF_CURVE: Final = {
    "volatility": "deviation of returns (n - 1) x sqrt(periods a year)",
    "sharpe": "mean return / deviation x sqrt(periods a year)",
    "sortino": "mean return / root mean square of the returns below 0 (over all returns) x sqrt(periods a year)",
}


async def record_of(store: SessionStore, session: Session) -> Record:
    """Return all that a session has traded. Raises ResourceExhausted where that is too much to judge at once."""
    try:
        record = await store.record(session, limits.MAX_JUDGED_TRADES + 1)
    except KeyError:
        raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session.session_id) from None
    if len(record.closed) > limits.MAX_JUDGED_TRADES:
        raise ResourceExhausted(
            "LIMIT_REACHED",
            f"metrics read at most {limits.MAX_JUDGED_TRADES} closed trades",
            limit="judged_trades",
            value=limits.MAX_JUDGED_TRADES,
        )
    return record


def figures_of(record: Record, points: Points) -> tuple[Metric, ...]:
    """Return the figures in the order in which they are shown."""
    closed = [engine_trade(trade) for trade in record.closed]
    still_open = [engine_trade(record.open)] if record.open else []
    worth = (*_worth(record.session), *_risk(record, closed), *_curve(record.session, points))
    return (*worth, *of_trades([*closed, *still_open]), *_execution(record))


def _worth(session: Session) -> Iterator[Metric]:
    initial = session.settings.initial_cash
    profit = session.equity - initial
    yield Metric("initial_cash", fixed.text(initial), "money", "cash at the start")
    yield Metric("equity", fixed.text(session.equity), "money", "cash + quantity x last price, as last stored")
    yield Metric("net_profit", fixed.text(profit), "money", "equity - initial cash")
    yield Metric("total_return", 100 * profit / initial, "percent", "equity / initial cash - 1")
    yield Metric("realized_pnl", fixed.text(session.realized_pnl), "money", "sum of the pnl of closed trades")
    unrealized = fixed.text(session.unrealized_pnl)
    yield Metric("unrealized_pnl", unrealized, "money", "net profit - realized pnl: the open trade, before exit costs")


def _risk(record: Record, closed: Sequence[Trade]) -> Iterator[Metric]:
    initial = record.session.settings.initial_cash
    balances = initial + np.cumsum([0.0, *(trade.pnl or 0 for trade in closed)])
    fall = float(np.min(balances / np.maximum.accumulate(balances))) - 1
    yield Metric(
        "max_drawdown", _equity_fall(record), "percent", "lowest equity at a bar's close / its running peak - 1"
    )
    yield Metric("max_realized_drawdown", 100 * fall, "percent", "lowest balance after a closed trade / its peak - 1")
    yield Metric(
        "realized_sharpe",
        _sharpe(initial, closed),
        "ratio",
        "mean / deviation (n - 1) of the daily returns of the balance after closed trades x sqrt(365); UTC days from"
        " the first closed trade's entry to the last exit, those without an exit return 0",
    )


def _curve(session: Session, points: Points) -> Iterator[Metric]:
    """Judge the equity at closes as a backtest's is judged."""
    found: dict[str, Metric] = {}
    exposure = None
    if len(points):
        equity = points.equity
        initial, last = session.settings.initial_cash, points[len(points) - 1].equity
        found = {one.name: one for one in essentials(Run(points.bars, equity, initial, last, ()))}
        exposure = 100 * float(np.mean(points.quantity != 0))
    yield Metric(
        "charted_bars", len(points), "count", "bars whose equity the figures from here to exposure are read from"
    )
    for name, definition in _OF_CURVE.items():
        yield found.get(name) or Metric(name, None, "percent" if name == "volatility" else "ratio", definition)
    yield Metric("exposure", exposure, "percent", "bars at whose close a position was open / all bars")


def _execution(record: Record) -> Iterator[Metric]:
    refused = record.rejections
    yield Metric("rejections", sum(refused.values()), "count", "orders that were refused; by reason below")
    for reason, count in refused.items():
        yield Metric(f"rejections_{reason}", count, "count", f"orders that were refused as {reason}")


def _equity_fall(record: Record) -> float | None:
    """Read the engine's own figure out of the session's row; None before the first checkpoint."""
    return None if record.state is None else -100 * state_of(record.state).max_drawdown


def _sharpe(initial: int, closed: Sequence[Trade]) -> float | None:
    """Return the ratio, or None for fewer than two days, returns that are all alike, or a balance that is used up."""
    if not closed:
        return None
    first = closed[0].entry_ts // DAY_NS
    exits = np.array([(trade.exit_ts or 0) // DAY_NS - first for trade in closed])
    if exits[-1] < 1:
        return None
    gains = np.bincount(exits, [float(trade.pnl or 0) for trade in closed])
    balances = initial + np.cumsum([0.0, *gains])
    if balances.min() <= 0:
        return None
    returns = balances[1:] / balances[:-1] - 1
    spread = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / spread * sqrt(DAYS_A_YEAR) if spread else None
