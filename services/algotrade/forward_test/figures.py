"""What a session's stored trades and equity come to.

A session keeps no equity of its bars, so what needs a curve is computed from the balance after closed trades, and says
so. The one exception is the deepest fall of the equity, which the engine itself carries along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics import Metric, of_trades
from algotrade.engine.runtime import state_of
from algotrade.engine.trades import Trade
from algotrade.forward_test.book import engine_trade
from algotrade.forward_test.session import Session
from algotrade.forward_test.store import Record, SessionStore
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.errors import NotFound, ResourceExhausted

DAY_NS: Final = 86_400 * SECOND_NS
DAYS_A_YEAR: Final = 365


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


def figures_of(record: Record) -> tuple[Metric, ...]:
    """Return the figures in the order in which they are shown."""
    closed = [engine_trade(trade) for trade in record.closed]
    still_open = [engine_trade(record.open)] if record.open else []
    worth = (*_worth(record.session), *_risk(record, closed))
    return (*worth, *of_trades([*closed, *still_open]))


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
