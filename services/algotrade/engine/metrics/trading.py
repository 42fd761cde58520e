"""What the trades of a run were like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics.figure import SECOND, Figure, mean, over, percent, times

if TYPE_CHECKING:
    from algotrade.engine.trades import Trade


def trading(trades: Sequence[Trade]) -> Iterable[Figure]:
    """How many, how often they won, how much, how long they lasted and what they cost."""
    closed = [trade for trade in trades if trade.pnl is not None]
    pnl = [int(trade.pnl) for trade in closed if trade.pnl is not None]
    yield "trades", len(trades), "count", "all trades, open ones included"
    yield "closed_trades", len(closed), "count", "trades with an exit; the figures below count these only"
    for side in ("long", "short"):
        yield f"{side}_trades", sum(trade.side == side for trade in closed), "count", f"closed {side} trades"
    yield from _winning(pnl)
    yield from _sizes(closed, pnl)
    yield from _durations(closed)
    yield "fees_paid", sum(int(trade.fees) for trade in trades), "money", "fees of all fills, open trades included"
    yield (
        "ambiguous_trades",
        sum(trade.ambiguous for trade in closed),
        "count",
        "exits that depended on the path inside a bar",
    )


def _winning(pnl: Sequence[int]) -> Iterable[Figure]:
    wins, losses = [p for p in pnl if p > 0], [p for p in pnl if p < 0]
    rate = len(wins) / len(pnl) if pnl else None
    payoff = over(mean(wins), -(mean(losses) or 0))
    spread = float(np.std(np.array(pnl, np.float64), ddof=1)) if len(pnl) > 1 else None
    kelly = None if rate is None or payoff is None else rate - (1 - rate) / payoff
    yield "win_rate", percent(rate), "percent", "trades with pnl > 0 / closed trades"
    yield "profit_factor", over(sum(wins), -sum(losses)), "ratio", "sum of gains / -sum of losses"
    yield "payoff_ratio", payoff, "ratio", "average gain / -average loss"
    yield "kelly", percent(kelly), "percent", "win rate - (1 - win rate) / payoff ratio"
    yield "expectancy", _rounded_mean(pnl), "money", "mean pnl of a trade"
    yield "average_win", _rounded_mean(wins), "money", "mean pnl of the trades with pnl > 0"
    yield "average_loss", _rounded_mean(losses), "money", "mean pnl of the trades with pnl < 0"
    yield (
        "sqn",
        times(over(mean(pnl), spread), sqrt(len(pnl))),
        "ratio",
        "mean pnl / its deviation (n - 1) x sqrt(trades)",
    )
    yield "max_consecutive_wins", _longest_run(p > 0 for p in pnl), "count", "longest run of trades with pnl > 0"
    yield "max_consecutive_losses", _longest_run(p < 0 for p in pnl), "count", "longest run of trades with pnl < 0"


def _sizes(closed: Sequence[Trade], pnl: Sequence[int]) -> Iterable[Figure]:
    shares = np.array([100 * p / _cost(trade) for p, trade in zip(pnl, closed, strict=True)], np.float64)
    some = bool(closed)
    yield "average_trade", float(np.mean(shares)) if some else None, "percent", "mean of pnl / (quantity x entry price)"
    yield "best_trade", float(np.max(shares)) if some else None, "percent", "greatest pnl / (quantity x entry price)"
    yield "worst_trade", float(np.min(shares)) if some else None, "percent", "least pnl / (quantity x entry price)"
    yield "best_trade_pnl", max(pnl) if some else None, "money", "greatest pnl"
    yield "worst_trade_pnl", min(pnl) if some else None, "money", "least pnl"


def _durations(closed: Sequence[Trade]) -> Iterable[Figure]:
    lasted = [(int(t.exit_ts) - int(t.entry_ts)) / SECOND for t in closed if t.exit_ts is not None]
    won = [one for one, trade in zip(lasted, closed, strict=True) if (trade.pnl or 0) > 0]
    lost = [one for one, trade in zip(lasted, closed, strict=True) if (trade.pnl or 0) < 0]
    yield "average_duration", mean(lasted), "seconds", "mean time from entry to exit"
    yield "average_duration_won", mean(won), "seconds", "mean time from entry to exit of the trades with pnl > 0"
    yield "average_duration_lost", mean(lost), "seconds", "mean time from entry to exit of the trades with pnl < 0"
    yield "max_duration", max(lasted, default=None), "seconds", "longest time from entry to exit"


def _cost(trade: Trade) -> float:
    return int(trade.quantity) * int(trade.entry_price) / fixed.SCALE


def _longest_run(flags: Iterable[bool]) -> int:
    longest = length = 0
    for flag in flags:
        length = length + 1 if flag else 0
        longest = max(longest, length)
    return longest


def _rounded_mean(amounts: Sequence[int]) -> int | None:
    """The mean to the nearest unit of 1e-8, in integers; halves go up."""
    return (2 * sum(amounts) + len(amounts)) // (2 * len(amounts)) if amounts else None
