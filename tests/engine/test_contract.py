"""The contract in runs worked out by hand, on the engine and on the oracle; each number is derived where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import Runner, fills, rows
from graphs import at_prices, drawing
from oracle.backtest import Row
from oracle.settings import SCALE, units


def test_all_in_and_out_to_the_last_unit(run: Runner) -> None:
    result = run(at_prices(9, 13), rows((9,), (10,), (13,), (12,)))
    # C + ⌈C/1000⌉ <= 1000: C = 999.000999, fee .999001 (from .999000999 up); quantity C / 10 = 99.9000999
    # proceeds 99.9000999 × 12 = 1198.8011988, fee 1.1988012 (from 1.1988011988 up)
    # pnl = 1198.8011988 − 1.1988012 − 999.000999 − 0.999001 = 197.6023976
    assert result.as_json()["trades"] == [
        {
            "side": "long",
            "quantity": "99.9000999",
            "entry_time": "1970-01-02T00:00:00Z",
            "entry_price": "10",
            "exit_time": "1970-01-04T00:00:00Z",
            "exit_price": "12",
            "fees": "2.1978022",
            "pnl": "197.6023976",
            "exit_reason": "sell",
            "ambiguous": False,
        }
    ]
    assert result.as_json()["final_equity"] == "1197.6023976"
    assert result.rejections == {}


def test_nothing_decided_on_the_last_bar_fills(run: Runner) -> None:
    assert run(at_prices(9), rows((10,), (9,))).trades == []


def test_an_open_trade_is_listed_without_exit(run: Runner) -> None:
    (trade,) = run(at_prices(9, entry={"size_mode": "quantity", "size": 2}), rows((9,), (10,))).as_json()["trades"]
    assert (trade["quantity"], trade["exit_time"], trade["exit_price"], trade["pnl"]) == ("2", None, None, None)
    assert trade["fees"] == "0.02"  # 20 × 10 bps


def test_fill_close_takes_the_price_and_time_of_the_deciding_bar(run: Runner) -> None:
    result = run(at_prices(9, 13), rows((8, 9, 8, 9), (10,), (14, 14, 13, 13)), fill="close", fee_bps=0)
    assert fills(result) == [(0, 9, 2, 13, "sell")]


def test_slippage_is_rounded_to_the_price_step_against_the_trader(run: Runner) -> None:
    bars = rows((9,), ("10.01",), (13,), ("10.01",))
    result = run(at_prices(9, 13), bars, slippage_bps=5, price_step="0.01", fee_bps=0)
    # 10.01 × 1.0005 = 10.015005 → 10.02; 10.01 × .9995 = 10.004995 → 10.00
    assert fills(result) == [(1, 10.02, 3, 10.0, "sell")]


def test_portions_split_cost_and_entry_fee_upwards_and_the_last_takes_the_rest(run: Runner) -> None:
    document = at_prices(9, 13, entry={"size_mode": "quantity", "size": 3}, sale={"portion": 50})
    bars = rows((9,), ("10.00000001",), (13,), (13,), (13,), (11,))
    result = run(document, bars, lot_step=1, price_step="0.00000001")
    # cost 30.00000003, fee .03000001 (from .0300000000 3 up). Half of 3 in whole lots is 1, a third:
    # 10.00000001 and .01000001, rounded up. Half of the 2 left is 1: 10.00000001, .01. Half of 1 is 0: rejected
    first, second, left = result.trades
    exit_fee = units("0.013")
    assert (first.quantity, first.fees) == (SCALE, units("0.01000001") + exit_fee)
    assert first.pnl == units(13) - exit_fee - units("10.00000001") - units("0.01000001")
    assert (second.quantity, second.fees) == (SCALE, units("0.01") + exit_fee)
    assert (left.quantity, left.fees, left.exit_ts) == (SCALE, units("0.01"), None)
    assert result.rejections == {"below_min_notional": 1}


def test_stop_fills_at_its_level_inside_a_bar_and_at_the_open_after_a_gap(run: Runner) -> None:
    inside = run(at_prices(9, stop_loss={"percent": 2}), rows((9,), (100, 101, 97, 100)))
    assert fills(inside) == [(1, 100, 1, 98, "stop_loss")]  # an entry at the open may be stopped in its own bar
    gapped = run(at_prices(9, stop_loss={"percent": 2}), rows((9,), (100,), (95, 99, 95, 99)))
    assert fills(gapped) == [(1, 100, 2, 95, "stop_loss")]
    touched = run(at_prices(9, stop_loss={"percent": 2}), rows((9,), (100, 101, 98, 100)))
    assert fills(touched) == [(1, 100, 1, 98, "stop_loss")]


def test_stop_level_is_floored_to_the_step_and_slips_like_a_market_order(run: Runner) -> None:
    document = at_prices(9, stop_loss={"percent": 2.03})
    result = run(document, rows((9,), (100, 101, 97, 100)), price_step="0.05", slippage_bps=10, fee_bps=0)
    # entry 100 × 1.001 = 100.1; level 100.1 × .9797 = 98.06797 → 98.05; out at 98.05 × .999 = 97.95195 → 97.95
    assert fills(result) == [(1, 100.1, 1, 97.95, "stop_loss")]
    above = run(document, rows((9,), (100, 101, "98.06", 100)), price_step="0.05", slippage_bps=10, fee_bps=0)
    assert fills(above) == [(1, 100.1, None, None, None)]  # compared after rounding


def test_target_must_be_traded_through(run: Runner) -> None:
    document = at_prices(9, take_profit={"percent": 5})
    assert fills(run(document, rows((9,), (100, 105, 100, 100)))) == [(1, 100, None, None, None)]
    through = run(document, rows((9,), (100, "105.00000001", 100, 100)), slippage_bps=0)
    assert fills(through) == [(1, 100, 1, 105, "take_profit")]
    gapped = run(document, rows((9,), (100,), (110, 110, 109, 109)), slippage_bps=0)
    assert fills(gapped) == [(1, 100, 2, 110, "take_profit")]


def test_targets_do_not_slip(run: Runner) -> None:
    result = run(at_prices(9, take_profit={"percent": 5}), rows((9,), (100, 120, 100, 100)), slippage_bps=100)
    assert fills(result) == [(1, 101, 1, 106.05, "take_profit")]  # 100 × 1.01; 101 × 1.05


@pytest.mark.parametrize(
    ("bar", "path", "reason"),
    [
        ((100, 110, 85, 100), "tradingview", "take_profit"),  # the high is nearer
        ((100, 115, 90, 100), "tradingview", "stop_loss"),  # the low is nearer
        ((100, 110, 90, 100), "tradingview", "take_profit"),  # as near: the high first
        ((100, 110, 85, 100), "worst", "stop_loss"),
    ],
)
def test_both_levels_in_one_bar_is_ambiguous(run: Runner, bar: tuple[int, ...], path: str, reason: str) -> None:
    document = at_prices(9, stop_loss={"percent": 5}, take_profit={"percent": 5})
    (trade,) = run(document, rows((9,), bar), path=path).trades
    assert (trade.exit_reason, trade.ambiguous) == (reason, True)


def test_one_level_in_a_bar_is_not_ambiguous_nor_is_an_exit_at_the_open(run: Runner) -> None:
    document = at_prices(9, stop_loss={"percent": 5}, take_profit={"percent": 5})
    (inside,) = run(document, rows((9,), (100, 101, 90, 100))).trades
    (at_open,) = run(document, rows((9,), (100,), (90, 120, 80, 100))).trades
    assert not inside.ambiguous
    assert not at_open.ambiguous


def test_a_pending_exit_beats_a_stop_on_the_same_tick(run: Runner) -> None:
    result = run(at_prices(9, 99, stop_loss={"percent": 2}), rows((9,), (100, 100, 99, 99), (90,)))
    assert fills(result) == [(1, 100, 2, 90, "sell")]


def test_a_bar_may_stop_out_and_decide_to_buy_again(run: Runner) -> None:
    document = at_prices(9, stop_loss={"percent": 2})
    result = run(document, rows((9,), (100, 100, 9, 9), (50,)))
    assert fills(result) == [(1, 100, 1, 98, "stop_loss"), (2, 50, None, None, None)]


@pytest.mark.parametrize(
    ("entry", "settings", "reason"),
    [
        ({"size_mode": "quantity", "size": 100}, {}, "insufficient_cash"),  # 1000 and a fee of 1
        ({"size_mode": "notional", "size": 1000}, {}, "insufficient_cash"),  # the fee is not in the notional
        ({"size_mode": "quantity", "size": 0.5}, {"lot_step": 1}, "below_min_notional"),
        ({"size_mode": "notional", "size": 9}, {"lot_step": 1}, "below_min_notional"),
        ({"size_mode": "notional", "size": 9}, {"min_notional": 10}, "below_min_notional"),
        ({"size_mode": "percent_equity", "size": 50}, {"lot_step": 100}, "insufficient_cash"),
        ({"size_mode": "percent_equity", "size": 50}, {"max_position_percent": 49}, "position_limit"),
    ],
)
def test_rejections_at_the_fill(run: Runner, entry: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    result = run(at_prices(9, entry=entry), rows((9,), (10,)), **settings)
    assert (result.trades, result.rejections) == ([], {reason: 1})


def test_sizes_that_fit(run: Runner) -> None:
    bars = rows((9,), (3,))
    # 100 / 3 = 33.33333333 (floored), cost 99.99999999; whole lots: 33
    by_value = {"size_mode": "notional", "size": 100}
    assert run(at_prices(9, entry=by_value), bars).trades[0].quantity == units("33.33333333")
    assert run(at_prices(9, entry=by_value), bars, lot_step=1).trades[0].quantity == units(33)
    # half of 1000 is 500: C = 499.50049950 and fee .4995005; / 3 = 166.5001665
    half = {"size_mode": "percent_equity", "size": 50}
    assert run(at_prices(9, entry=half), bars).trades[0].quantity == units("166.5001665")


def test_buy_while_long_is_rejected_and_a_second_buy_node_too(run: Runner) -> None:
    assert run(at_prices(9), rows((9,), (9,), (10,))).rejections == {"already_long": 1}
    nodes = {"p": "price", "c": ("compare", {"op": ">", "value": 1}), "b1": "buy", "b2": "buy"}
    twice = run(drawing(nodes, "p>c.a c>b1 c>b2"), rows((9,), (9,)))
    assert twice.rejections == {"already_long": 3}  # b2 at once; both while long at the second close


def test_exit_and_entry_at_once_is_exit_and_no_entry_even_when_flat(run: Runner) -> None:
    nodes = {"p": "price", "in": ("compare", {"op": ">", "value": 1}), "out": ("compare", {"op": "==", "value": 9})}
    document = drawing(nodes | {"b": "buy", "x": "close"}, "p>in.a p>out.a in>b out>x")
    result = run(document, rows((9,), (10,), (9,), (9,), (9,)))
    assert fills(result) == [(2, 9, 3, 9, "close")]
    assert result.rejections == {}


def test_the_largest_portion_of_several_exits_wins(run: Runner) -> None:
    nodes = {"p": "price", "in": ("compare", {"op": "==", "value": 9}), "out": ("compare", {"op": "==", "value": 13})}
    nodes |= {"b": ("buy", {"size_mode": "quantity", "size": 10})}
    nodes |= {"x1": ("sell", {"portion": 20}), "x2": ("sell", {"portion": 70}), "x3": ("sell", {"portion": 50})}
    document = drawing(nodes, "p>in.a p>out.a in>b out>x1 out>x2 out>x3")
    assert run(document, rows((9,), (10,), (13,), (10,))).trades[0].quantity == units(7)


def test_no_action_fires_before_the_longest_path_is_warm(run: Runner) -> None:
    nodes = {"p": "price", "on": ("compare", {"op": ">", "value": 0}), "b": "buy"}
    nodes |= {"m": ("sma", {"timeperiod": 2}), "up": "crossover", "x": "sell"}
    document = drawing(nodes, "p>on.a on>b p>m p>up.a m>up.b up>x")
    result = run(document, rows((9,), (8,), (7,), (6,), (5,)))
    assert result.warmup_bars == 2  # sma 1, crossover 1
    assert result.rejections == {"warming_up": 2, "already_long": 2}
    assert fills(result) == [(3, 6, None, None, None)]


def test_kleene_or_lets_a_known_truth_through(run: Runner) -> None:
    nodes = {
        "p": "price",
        "zero": ("constant", {"value": 0}),
        "nan": "div",
        "bad": ("compare", {"op": ">", "value": 0}),
    }
    nodes |= {"on": ("compare", {"op": "==", "value": 9}), "either": "or", "both": "and", "b": "buy", "x": "sell"}
    wires = "p>nan.a zero>nan.b nan>bad.a p>on.a bad>either on>either bad>both on>both either>b both>x"
    result = run(drawing(nodes, wires), rows((9,), (10,), (9,), (9,)))
    # `or` is true at the nines although one side is unknown; `and` is never true
    assert fills(result) == [(1, 10, None, None, None)]
    assert result.rejections == {"already_long": 2}


def test_a_nan_is_not_consumed(run: Runner) -> None:
    # 1 / (close − 2) is NaN on the second bar; lag 1 on the third shows the first bar's value: 1 / (3 − 2) = 1
    nodes: dict[str, Any] = {
        "p": "price",
        "one": ("constant", {"value": 1}),
        "two": ("constant", {"value": 2}),
        "d": "sub",
        "q": "div",
    }
    nodes |= {"l": ("lag", {"n": 1}), "c": ("compare", {"op": "==", "value": 1}), "b": "buy"}
    document = drawing(nodes, "p>d.a two>d.b one>q.a d>q.b q>l l>c.a c>b")
    assert fills(run(document, rows((3,), (2,), (4,), (7,)))) == [(3, 7, None, None, None)]


def test_crossing_starts_from_touching(run: Runner) -> None:
    nodes: dict[str, Any] = {
        "p": "price",
        "five": ("constant", {"value": 5}),
        "up": "crossover",
        "dn": "crossunder",
        "b": "buy",
        "x": "sell",
    }
    document = drawing(nodes, "p>up.a five>up.b p>dn.a five>dn.b up>b dn>x")
    result = run(document, rows((5,), (6,), (7,), (5,), (4,), (3,)))
    assert fills(result) == [(2, 7, 5, 3, "sell")]


def test_bars_held_counts_from_one_at_the_first_close(run: Runner) -> None:
    nodes = {"p": "price", "at": ("compare", {"op": "==", "value": 9}), "b": "buy", "pos": "position"}
    nodes |= {"held": ("compare", {"op": "==", "value": 2}), "x": "close"}
    document = drawing(nodes, "p>at.a at>b pos.bars_held>held.a held>x")
    assert fills(run(document, rows((9,), (10,), (11,), (12,), (13,)))) == [(1, 10, 3, 12, "close")]


def test_day_pnl_counts_from_the_last_close_of_the_day_before(run: Runner) -> None:
    hour = 3_600 * 1_000_000_000
    prices = [(0, 9), (1, 10), (23, 20), (24, 30), (25, 31)]  # hour of the bar, price
    bars: list[Row] = [(h * hour, *(units(p),) * 4, 1.0) for h, p in prices]
    nodes: dict[str, Any] = {
        "p": "price",
        "at": ("compare", {"op": "==", "value": 9}),
        "b": ("buy", {"size_mode": "quantity", "size": 10}),
    }
    nodes |= {"acc": "account", "up": ("compare", {"op": ">=", "value": 99}), "x": "close"}
    document = drawing(nodes, "p>at.a at>b acc.day_pnl>up.a up>x")
    result = run(document, bars, fee_bps=0)
    # 23 h: 10 × (20 − 10) = 100 against the start; sold at the next open, 30
    assert [(t.exit_ts or 0) // hour for t in result.trades] == [24]
    later = run(document, [*bars[:2], bars[3], bars[4]], fee_bps=0)
    # without it: at 24 h 10 × (30 − 10) = 200 against the close of 1 h
    assert [(t.exit_ts or 0) // hour for t in later.trades] == [25]


def test_coarser_intervals_group_rows_from_the_epoch(run: Runner) -> None:
    minute = 60 * 1_000_000_000
    prices = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    bars: list[Row] = [((i + 4) * minute, *(units(p),) * 4, 1.0) for i, p in enumerate(prices)]
    result = run(at_prices(9), bars, interval="5m", fee_bps=0)
    # minute 4 belongs to a bar begun at 0: discarded. 5..9 closes at 9 with the first tick of minute 10, which fills
    assert [(t.entry_ts // minute, t.entry_price) for t in result.trades] == [(10, units(10))]
    assert result.bars == 2  # 5..9 and 10..14; the bar of minute 15 is partial


def test_level_inputs_are_sampled_at_closes(run: Runner) -> None:
    # a stop two below the last close: the position rides up, then is stopped at the level of the close before
    nodes = {"p": "price", "two": ("constant", {"value": 2}), "lvl": "sub", "at": ("compare", {"op": "==", "value": 9})}
    document = drawing(nodes | {"b": "buy", "s": "stop_loss"}, "p>lvl.a two>lvl.b p>at.a at>b lvl>s.level")
    result = run(document, rows((9,), (10, 20, 10, 20), (20, 21, 18, 19)))
    assert fills(result) == [(1, 10, 2, 18, "stop_loss")]


def test_atr_distances_are_frozen_at_the_deciding_bar(run: Runner) -> None:
    # ATR(1) at the deciding bar is its true range: 10 − 8 = 2; 1.5 of it below the fill at 9 is 6
    document = at_prices(9, stop_loss={"atr_multiple": 1.5, "timeperiod": 1})
    result = run(document, rows((8,), (9, 10, 8, 9), (9, 30, 7, 8), (8, 8, 5, 5)))
    assert result.warmup_bars == 1
    assert fills(result) == [(2, 9, 3, 6, "stop_loss")]
