"""Statistics held to numbers worked out by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from algotrade.engine import fixed, metrics
from algotrade.engine.equity import equity_curve
from algotrade.engine.metrics import Run, drawdowns, performance, periods_per_year
from algotrade.engine.records import BAR, EVENT, EventKind, Records
from algotrade.engine.trades import Trade

DAY = 86_400 * 10**9
MONDAY = 1_577_836_800 * 10**9 + 5 * DAY  # 2020-01-06
WEEK = [MONDAY + i * DAY for i in range(5)]


def bars_at(stamps: list[int], closes: list[float]) -> Records:
    bars = np.zeros(len(stamps), BAR)
    bars["ts"] = stamps
    for name in ("open", "high", "low", "close"):
        bars[name] = [round(close * 1e8) for close in closes]
    return bars


def trade(entry: int, exit_: int | None, quantity: str, price: str, pnl: str | None, **more: object) -> Trade:
    values = {
        "side": "long",
        "quantity": fixed.parse(quantity),
        "entry_ts": entry,
        "entry_price": fixed.parse(price),
        "exit_ts": exit_,
        "exit_price": None if exit_ is None else fixed.parse(price),
        "fees": fixed.parse("1"),
        "pnl": None if pnl is None else fixed.parse(pnl),
        "exit_reason": None if exit_ is None else "sell",
        "ambiguous": False,
    }
    return Trade(**(values | more))  # type: ignore[arg-type]


def judged(equity: list[float], trades: list[Trade], stamps: list[int] = WEEK, cash: str = "100") -> dict[str, object]:
    run = Run(
        bars_at(stamps, [10 + i for i in range(len(stamps))]),
        np.array(equity),
        fixed.parse(cash),
        round(equity[-1] * 1e8),
        trades,
    )
    found = performance(run)
    assert len({metric.name for metric in found}) == len(found)
    assert all(metric.definition for metric in found)
    return metrics.values(found)


def test_growth_and_risk_by_hand() -> None:
    value = judged([100.0, 110.0, 99.0, 108.9, 108.9], [])
    returns = [0.1, -0.1, 0.1, 0.0]
    mean = sum(returns) / 4
    deviation = sqrt(sum((r - mean) ** 2 for r in returns) / 3)
    assert value["net_profit"] == "8.9"
    assert value["total_return"] == pytest.approx(8.9)
    assert value["buy_and_hold_return"] == pytest.approx(40.0)
    assert value["periods_per_year"] == 365  # five days show no absent weekend
    assert value["volatility"] == pytest.approx(100 * deviation * sqrt(365))
    assert value["sharpe"] == pytest.approx(mean / deviation * sqrt(365))
    assert value["sortino"] == pytest.approx(mean / sqrt(0.01 / 4) * sqrt(365))
    assert value["max_drawdown"] == pytest.approx(-10.0)
    assert value["max_drawdown_duration"] == 3 * 86_400  # from the second close to the end
    years = 5 / 365.25
    assert value["cagr"] == pytest.approx(100 * (1.089 ** (1 / years) - 1))
    assert value["calmar"] == pytest.approx((1.089 ** (1 / years) - 1) / 0.1)


def test_trades_by_hand() -> None:
    trades = [
        trade(WEEK[0], WEEK[1], "2", "10", "4"),
        trade(WEEK[1], WEEK[3], "1", "10", "-1", ambiguous=True),
        trade(WEEK[1], WEEK[3], "1", "20", "-1"),
        trade(WEEK[3], WEEK[3], "1", "10", "0"),
        trade(WEEK[4], None, "1", "10", None),
    ]
    value = judged([100.0] * 5, trades)
    assert (value["trades"], value["closed_trades"], value["ambiguous_trades"]) == (5, 4, 1)
    assert value["win_rate"] == 25.0
    assert value["profit_factor"] == 2.0
    assert value["payoff_ratio"] == 4.0
    assert value["expectancy"] == "0.5"
    assert value["best_trade"] == pytest.approx(20.0)
    assert value["worst_trade"] == pytest.approx(-10.0)
    assert value["average_trade"] == pytest.approx((20 - 10 - 5 + 0) / 4)
    assert (value["best_trade_pnl"], value["worst_trade_pnl"]) == ("4", "-1")
    assert value["max_consecutive_losses"] == 2
    assert value["max_consecutive_wins"] == 1
    assert (value["average_win"], value["average_loss"]) == ("4", "-1")
    assert value["kelly"] == pytest.approx(100 * (0.25 - 0.75 / 4))
    assert (value["long_trades"], value["short_trades"]) == (4, 0)
    assert (value["average_duration_won"], value["average_duration_lost"]) == (86_400, 2 * 86_400)
    assert value["fees_paid"] == "5"
    assert value["average_duration"] == pytest.approx((1 + 2 + 2 + 0) * 86_400 / 4)
    assert value["max_duration"] == 2 * 86_400
    spread = sqrt(((4 - 0.5) ** 2 + 2 * 1.5**2 + 0.5**2) / 3)
    assert value["sqn"] == pytest.approx(0.5 / spread * 2)
    # Open at the closes of the first three bars and of the last; the fourth's trade was over within it.
    assert value["exposure"] == 80.0


def test_what_is_undefined_is_none() -> None:
    value = judged([100.0] * 5, [])
    undefined = {name for name, number in value.items() if number is None}
    assert undefined == {
        "sharpe", "sortino", "calmar", "win_rate", "profit_factor", "payoff_ratio", "expectancy", "sqn",
        "average_trade", "best_trade", "worst_trade", "best_trade_pnl", "worst_trade_pnl", "average_duration",
        "max_duration", "average_duration_won", "average_duration_lost", "average_win", "average_loss", "kelly",
        "probabilistic_sharpe", "omega", "skewness", "kurtosis", "tail_ratio", "average_drawdown",
        "average_drawdown_duration", "recovery_factor", "correlation",
    }  # fmt: skip
    assert value["max_drawdown"] == 0
    single = judged([100.0], [], WEEK[:1])
    assert single["periods_per_year"] is None
    assert single["cagr"] is None
    assert single["volatility"] is None


def test_all_lost_is_minus_one_hundred_percent() -> None:
    value = judged([100.0, 50.0, 0.0, 0.0, 0.0], [])
    assert value["total_return"] == -100.0
    assert value["cagr"] == -100.0
    assert value["max_drawdown"] == -100.0
    assert value["sharpe"] is None  # the return after zero is no number


def test_days_and_months_by_hand() -> None:
    """Two bars on the last day of January, then two in February: a period's return is from the last one's close."""
    last = 1_580_428_800 * 10**9  # 2020-01-31
    stamps = [last, last + 3600 * 10**9, last + DAY, last + 3 * DAY]
    run = Run(
        bars_at(stamps, [1.0] * 4), np.array([90.0, 110.0, 99.0, 121.0]), fixed.parse("100"), fixed.parse("121"), []
    )
    assert metrics.monthly_returns(run) == pytest.approx({"2020-01": 10.0, "2020-02": 10.0})
    value = metrics.values(performance(run))
    assert (value["best_month"], value["winning_months"]) == (pytest.approx(10.0), 100.0)
    assert (value["best_day"], value["worst_day"]) == (pytest.approx(100 * (121 / 99 - 1)), pytest.approx(-10.0))
    assert value["winning_days"] == pytest.approx(100 * 2 / 3)


def test_falls_by_hand() -> None:
    """Under water from the second close to the fourth, and again at the end."""
    value = judged([100.0, 80.0, 90.0, 100.0, 95.0], [])
    assert value["average_drawdown"] == pytest.approx(-(20 + 5) / 2)
    assert value["average_drawdown_duration"] == (3 + 1) / 2 * 86_400
    assert value["max_drawdown_amount"] == "20"
    assert value["recovery_factor"] == pytest.approx(-5 / 20)
    assert value["ulcer_index"] == pytest.approx(100 * sqrt((0.04 + 0.01 + 0.0025) / 5))


def test_what_is_still_held() -> None:
    open_one = trade(WEEK[4], None, "1", "10", None)
    assert judged([100.0, 100.0, 100.0, 100.0, 103.0], [open_one])["open_trade_pnl"] == "3"
    closed = trade(WEEK[0], WEEK[1], "2", "10", "4")
    assert judged([100.0, 104.0, 104.0, 104.0, 103.0], [closed, open_one])["open_trade_pnl"] == "-1"


def test_an_initial_loss_counts_as_drawdown() -> None:
    assert judged([90.0, 95.0, 100.0, 100.0, 99.0], [])["max_drawdown"] == pytest.approx(-10.0)
    assert drawdowns(np.array([90.0, 120.0, 60.0]), fixed.parse("100")).tolist() == pytest.approx([-0.1, 0.0, -0.5])


def test_drawdown_lasts_until_the_peak_is_reached_again() -> None:
    assert judged([100.0, 90.0, 100.0, 95.0, 101.0], [])["max_drawdown_duration"] == 2 * 86_400
    assert judged([100.0, 100.0, 100.0, 101.0, 102.0], [])["max_drawdown_duration"] == 0


def stamps_of(days: list[int], hours: list[int]) -> np.ndarray:
    return np.array([MONDAY + day * DAY + hour * 3600 * 10**9 for day in days for hour in hours], np.int64)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (stamps_of([0, 1, 2, 3, 4, 7, 8, 9], [0]), 252),
        (stamps_of(list(range(14)), [0]), 365),
        (stamps_of([0, 1, 2, 3, 4, 7, 8, 9], list(range(14, 21))), 252 * 7),
        (stamps_of(list(range(14)), list(range(24))), 365 * 24),
        (stamps_of([0], [1, 2, 3]), 365 * 24),
        (stamps_of(list(range(0, 70, 7)), [0]), 365.25 / 7),
        (stamps_of([0], [0]), None),
    ],
)
def test_a_year_of_bars(stamps: np.ndarray, expected: float | None) -> None:
    assert periods_per_year(stamps) == (None if expected is None else pytest.approx(expected))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="5 bars and 1 points"):
        performance(Run(bars_at(WEEK, [1.0] * 5), np.array([1.0]), 1, 1, []))


def test_the_equity_curve_follows_the_fills() -> None:
    events = np.zeros(4, EVENT)
    events["kind"] = [EventKind.ENTRY, EventKind.REJECTION, EventKind.EXIT, EventKind.EXIT]
    events["ts"] = [WEEK[1], WEEK[1], WEEK[2], WEEK[4]]
    events["quantity"] = [fixed.parse("4"), 0, fixed.parse("1"), fixed.parse("3")]
    events["cash"] = [fixed.parse("55"), 0, fixed.parse("67"), fixed.parse("109")]
    curve = equity_curve(bars_at(WEEK, [10, 11, 12, 13, 14]), events, fixed.parse("100"))
    assert curve.tolist() == [100.0, 55 + 4 * 11, 67 + 3 * 12, 67 + 3 * 13, 109.0]
