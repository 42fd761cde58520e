"""The oracle's indicators on numbers small enough to do by hand."""

from __future__ import annotations

import math

import pytest

from oracle import indicators


def exact(*values: float) -> list[indicators.Value]:
    return [(v, 0.0) for v in values]


def test_first_value_comes_with_the_last_of_the_period() -> None:
    assert math.isnan(indicators.sma(exact(1, 2), 3)[0])
    assert indicators.sma(exact(1, 2, 6), 3)[0] == 3


def test_wma_weighs_the_latest_most() -> None:
    assert indicators.wma(exact(9, 1, 2, 3), 3)[0] == (1 * 1 + 2 * 2 + 3 * 3) / 6


def test_ema_is_seeded_by_the_mean() -> None:
    # seed (1 + 2 + 3) / 3 = 2, k = 2 / 4: 2 + (4 - 2) / 2 = 3, 3 + (9 - 3) / 2 = 6
    assert indicators.ema_series([1, 2, 3, 4, 9], 3) == [2, 3, 6]


def test_rsi_smooths_as_wilder_did() -> None:
    # moves +1 −1: gain .5 loss .5; then +1: gain (.5 + 1) / 2 = .75, loss .25
    assert indicators.rsi(exact(1, 2, 1), 2)[0] == 50
    assert indicators.rsi(exact(1, 2, 1, 2), 2)[0] == 75


def test_rsi_of_no_movement_is_zero_as_in_talib() -> None:
    assert indicators.rsi(exact(5, 5, 5, 5), 2) == (0.0, 0.0)


def test_macd_outputs_start_together_and_the_fast_ema_late() -> None:
    # slow(3) of 1 2 3 is 2; fast(2) starts from (2 + 3) / 2 = 2.5, not from (1 + 2) / 2: line .5, as at 4: 3.5 − 3
    xs = exact(1, 2, 3, 4)
    assert all(math.isnan(v) for v, _ in indicators.macd(xs[:3], 2, 3, 2))
    line, signal, hist = (v for v, _ in indicators.macd(xs, 2, 3, 2))
    assert line == pytest.approx(0.5)
    assert signal == pytest.approx(0.5)
    assert hist == pytest.approx(0.0, abs=1e-15)
    assert [v for v, _ in indicators.macd(xs, 3, 2, 2)] == [line, signal, hist]  # swapped periods are put right


def test_bbands_use_the_population_deviation() -> None:
    assert [v for v, _ in indicators.bbands(exact(7, 1, 3), 2, 2, 3)] == [4, 2, -1]


def test_atr_starts_one_bar_after_its_period() -> None:
    # (high, low, close); true ranges: max(3, |12−9|, |9−9|) = 3, max(1, |11−10|, |10−10|) = 1, max(2, |15−11|, 2) = 4
    bars = [(10.0, 8.0, 9.0), (12.0, 9.0, 10.0), (11.0, 10.0, 11.0), (15.0, 13.0, 14.0)]
    assert math.isnan(indicators.atr(bars[:2], 2)[0])
    assert indicators.atr(bars[:3], 2)[0] == 2
    assert indicators.atr(bars, 2)[0] == 3  # (2 + 4) / 2
    assert indicators.atr(bars, 1)[0] == 4


def test_doubt_covers_another_order_of_summing() -> None:
    xs = [100 * math.sin(i) + 1e6 for i in range(300)]
    running = sum(xs[:20])
    for i, (gone, new) in enumerate(zip(xs, xs[20:], strict=False)):
        running += new - gone
        value, doubt = indicators.sma(exact(*xs[: i + 21]), 20)
        assert abs(running / 20 - value) <= doubt
        assert doubt < 1e-5
