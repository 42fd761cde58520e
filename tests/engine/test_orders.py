"""Shorts, waiting entries and sizes by risk, worked out by hand, on the engine and on the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from agreement import bar_records, compiled
from by_hand import DAY, Runner, fills, rows
from graphs import at_prices, on_closes
from oracle.settings import SCALE, units

from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Reason
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings, SettingsError

NOTHING: dict[str, Any] = {}


def one(kind: str, *, at: float = 9, leave: float = 13, **params: Any) -> dict[str, Any]:
    """One entry at a close, and `close` at another."""
    return {"e": (kind, params, at), "x": ("close", NOTHING, leave)}


def short(**nodes: Any) -> Any:
    return on_closes(one("short", size_mode="quantity", size=2), **nodes)


# ---------------------------------------------------------------------- shorts


def test_a_short_all_in_to_the_last_unit(run: Runner) -> None:
    document = on_closes({"e": ("short", NOTHING, 9), "x": ("cover", NOTHING, 7)})
    result = run(document, rows((9,), (10,), (7,), (8,)), allow_short=True)
    # value and fee as a long's: 99.9000999 sold for 999.000999, fee .999001; bought back for 799.2007992, fee .7992008
    # (from .7992007992 up): 999.000999 − 799.2007992 − .999001 − .7992008 = 198.001998
    assert result.as_json()["trades"] == [
        {
            "side": "short",
            "quantity": "99.9000999",
            "entry_time": "1970-01-02T00:00:00Z",
            "entry_price": "10",
            "exit_time": "1970-01-04T00:00:00Z",
            "exit_price": "8",
            "fees": "1.7982018",
            "pnl": "198.001998",
            "exit_reason": "cover",
            "ambiguous": False,
        }
    ]
    assert result.as_json()["final_equity"] == "1198.001998"


def test_a_short_is_sold_low_and_bought_high(run: Runner) -> None:
    bars = rows((9,), ("10.01",), (13,), ("10.01",))
    result = run(on_closes(one("short")), bars, allow_short=True, slippage_bps=5, price_step="0.01", fee_bps=0)
    # 10.01 × .9995 = 10.004995 → 10.00; 10.01 × 1.0005 = 10.015005 → 10.02
    assert fills(result) == [(1, 10.0, 3, 10.02, "close")]


def test_portions_of_a_short_share_what_it_brought_in_downwards(run: Runner) -> None:
    actions = {"e": ("short", {"size_mode": "quantity", "size": 1.5}, 9), "x": ("cover", {"portion": 50}, 11)}
    result = run(on_closes(actions), rows((9,), ("10.00000001",), (11,), (10,)), allow_short=True, lot_step="0.5")
    # 1.5 × 10.00000001 = 15.000000015 → 15.00000001, fee .01500001. Half of 1.5 in lots of .5 is .5, a third:
    # 5.000000003 → 5, and .005000003 → .00500001 of the fee; bought back for 5, fee .005
    first, left = result.trades
    assert (first.quantity, first.pnl) == (units("0.5"), -units("0.00500001") - units("0.005"))
    assert (left.side, left.quantity, left.fees) == ("short", SCALE, units("0.01"))


def test_a_short_that_gains_and_loses(run: Runner) -> None:
    result = run(short(), rows((9,), (10,), (13,), (12,)), allow_short=True, fee_bps=0)
    assert fills(result) == [(1, 10, 3, 12, "close")]
    assert result.final_equity == units(1000 - 2 * 2)


def test_stop_and_target_of_a_short_are_ceiled(run: Runner) -> None:
    document = short(stop_loss={"percent": 2.03}, take_profit={"percent": 5.02})
    settings = {"allow_short": True, "price_step": "0.05", "fee_bps": 0}
    # 100 × 1.0203 = 102.03 → 102.05; 100 × .9498 = 94.98 → 95
    assert fills(run(document, rows((9,), (100, "102.04", 100, 100)), **settings)) == [(1, 100, None, None, None)]
    assert fills(run(document, rows((9,), (100, 103, 100, 100)), **settings)) == [(1, 100, 1, 102.05, "stop_loss")]
    assert fills(run(document, rows((9,), (100,), (110,)), **settings)) == [(1, 100, 2, 110, "stop_loss")]
    assert fills(run(document, rows((9,), (100, 100, 95, 99)), **settings)) == [(1, 100, None, None, None)]
    assert fills(run(document, rows((9,), (100, 100, 94, 99)), **settings)) == [(1, 100, 1, 95, "take_profit")]
    assert fills(run(document, rows((9,), (100,), (90,)), **settings)) == [(1, 100, 2, 90, "take_profit")]


def test_a_stop_of_a_short_slips_upwards(run: Runner) -> None:
    document = short(stop_loss={"percent": 2})
    result = run(document, rows((9,), (100, 103, 100, 100)), allow_short=True, slippage_bps=10, fee_bps=0)
    # sold at 99.9; level 101.898; bought at 101.898 × 1.001 = 101.999898
    assert fills(result) == [(1, 99.9, 1, 101.999898, "stop_loss")]


@pytest.mark.parametrize(
    ("bar", "path", "reason"),
    [
        ((100, 110, 85, 100), "tradingview", "stop_loss"),  # the high is nearer
        ((100, 115, 90, 100), "tradingview", "take_profit"),
        ((100, 115, 90, 100), "worst", "stop_loss"),  # against a short: the high
    ],
)
def test_both_levels_of_a_short_in_one_bar(run: Runner, bar: tuple[int, ...], path: str, reason: str) -> None:
    document = short(stop_loss={"percent": 5}, take_profit={"percent": 5})
    (trade,) = run(document, rows((9,), bar), allow_short=True, path=path).trades
    assert (trade.exit_reason, trade.ambiguous) == (reason, True)


def test_a_short_is_closed_where_its_equity_is_used_up(run: Runner) -> None:
    document = on_closes(one("short", size_mode="quantity", size=100))
    # 100 sold at 9: cash 1900, used up at 19 and nothing is left; the gap to 25 leaves 1900 − 2500
    inside = run(document, rows((9,), (9, 20, 9, 15)), allow_short=True, fee_bps=0)
    assert (fills(inside), inside.final_equity) == ([(1, 9, 1, 19, "forced_close")], 0)
    gapped = run(document, rows((9,), (9,), (25,), (9,), (8,)), allow_short=True, fee_bps=0)
    assert (fills(gapped), gapped.final_equity) == ([(1, 9, 2, 25, "forced_close")], -units(600))
    assert gapped.rejections == {"already_short": 1, "insufficient_cash": 1}


def test_a_stop_before_the_last_one_comes_first(run: Runner) -> None:
    document = on_closes(one("short", size_mode="quantity", size=100), stop_loss={"percent": 11})
    assert fills(run(document, rows((9,), (9, 20, 9, 15)), allow_short=True))[0][4] == "stop_loss"


def test_sides_are_told_apart(run: Runner) -> None:
    actions = {
        "b": ("buy", NOTHING, 2),
        "s": ("short", NOTHING, 3),
        "x": ("sell", NOTHING, 4),
        "c": ("cover", NOTHING, 5),
    }
    bars = rows((3,), (3,), (2,), (4,), (5,), (2,), (3,), (5,), (4,), (9,))
    result = run(on_closes(actions), bars, allow_short=True, fee_bps=0)
    # short on day 1, refused again that day; a buy refused on day 2; `sell` on day 3 closes no short, `cover` on day 4
    # does; long on day 6, a short refused that day; `cover` on day 7 does nothing, `sell` on day 8 does
    assert [(t.side, t.entry_ts // DAY, (t.exit_ts or 0) // DAY) for t in result.trades] == [
        ("short", 1, 5),
        ("long", 6, 9),
    ]
    assert result.rejections == {"already_short": 2, "already_long": 1}


def test_cover_closes_no_long_even_where_no_short_can_be(run: Runner) -> None:
    """Found by random strategies: without a `short` in the graph the side was not looked at."""
    actions = {"b": ("buy", NOTHING, 9), "c": ("cover", NOTHING, 13)}
    result = run(on_closes(actions), rows((9,), (10,), (13,), (12,)))
    assert fills(result) == [(1, 10, None, None, None)]
    assert result.rejections == {}


def test_selling_short_has_to_be_allowed() -> None:
    for kind in ("short", "reverse"):
        artefact = compiled(on_closes({"b": ("buy", NOTHING, 1), "s": (kind, NOTHING, 9)})).artefact
        assert artefact is not None
        assert artefact.manifest.has_short
        with pytest.raises(SettingsError, match="allow_short"):
            Sessions(artefact).add(RunSettings())


def test_a_host_that_does_not_ask_is_refused_by_the_module() -> None:
    """The row says whether shorts are allowed, whoever wrote it."""
    artefact = compiled(on_closes({"s": ("short", NOTHING, 9)})).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings(allow_short=True))
    sessions._row(slot)["allow_short"] = 0
    _, events = sessions.run(slot, bar_records(rows((9,), (10,))))
    assert events["reason"].tolist() == [Reason.SHORT_NOT_ALLOWED]


# ---------------------------------------------------------------------- reverse


def test_reverse_is_two_fills_on_one_tick(run: Runner) -> None:
    actions = {"e": ("buy", {"size_mode": "quantity", "size": 10}, 9), "r": ("reverse", NOTHING, 13)}
    result = run(on_closes(actions), rows((9,), (10,), (13,), (20,), (13,), (10,)), allow_short=True, fee_bps=0)
    # 10 bought at 10 and sold at 20: 1100, all in: 55 short at 20; back at 10: 1650, all in: 165 long
    assert [(t.side, t.quantity // SCALE, t.entry_ts // DAY, (t.exit_ts or 0) // DAY) for t in result.trades] == [
        ("long", 10, 1, 3),
        ("short", 55, 3, 5),
        ("long", 165, 5, 0),
    ]


def test_reverse_while_flat_does_nothing_and_beside_another_exit_only_closes(run: Runner) -> None:
    actions = {"e": ("buy", NOTHING, 9), "r": ("reverse", NOTHING, 13), "x": ("sell", {"portion": 50}, 13)}
    result = run(on_closes(actions), rows((13,), (9,), (10,), (13,), (20,)), allow_short=True)
    assert [(t.side, t.exit_reason) for t in result.trades] == [("long", "reverse")]
    assert result.rejections == {}


def test_levels_of_a_reversed_position_are_live_from_the_next_tick(run: Runner) -> None:
    document = on_closes({"e": ("buy", NOTHING, 9), "r": ("reverse", NOTHING, 13)}, stop_loss={"percent": 50})
    result = run(document, rows((9,), (10,), (13,), (14, 22, 14, 20)), allow_short=True, fee_bps=0)
    assert fills(result) == [(1, 10, 3, 14, "reverse"), (3, 14, 3, 21, "stop_loss")]


# ---------------------------------------------------------------------- waiting entries


def waiting(kind: str, order: str, **params: Any) -> Any:
    return on_closes(one(kind, order_type=order, size_mode="quantity", size=2, **params))


@pytest.mark.parametrize(
    ("kind", "order", "bar", "filled"),
    [
        ("buy", "limit", (100, 100, 99, 100), None),  # touched, not traded through
        ("buy", "limit", (100, 100, 98, 100), 99),
        ("buy", "limit", (97, 100, 97, 100), 97),  # gapped: the open is real
        ("short", "limit", (100, 101, 100, 100), None),
        ("short", "limit", (100, 102, 100, 100), 101),
        ("short", "limit", (103, 103, 100, 100), 103),
        ("buy", "stop", (100, "100.9", 100, 100), None),
        ("buy", "stop", (100, 101, 100, 100), 101),  # touched
        ("buy", "stop", (104, 104, 100, 100), 104),
        ("short", "stop", (100, 100, "99.1", 100), None),
        ("short", "stop", (100, 100, 99, 100), 99),
        ("short", "stop", (95, 100, 95, 100), 95),
    ],
)
def test_limits_are_traded_through_and_stops_touched(
    run: Runner, kind: str, order: str, bar: tuple[Any, ...], filled: float | None
) -> None:
    document = waiting(kind, order, at=100, limit_offset_percent=1)
    found = fills(run(document, rows((100,), bar), allow_short=True))
    assert found == ([] if filled is None else [(1, filled, None, None, None)])


def test_stops_slip_and_limits_do_not(run: Runner) -> None:
    bars = rows((100,), (100, 105, 95, 100))
    for kind, order, price in (("buy", "limit", 99), ("short", "limit", 101), ("buy", "stop", 102.01)):
        document = waiting(kind, order, at=100, limit_offset_percent=1)
        assert fills(run(document, bars, allow_short=True, slippage_bps=100))[0][1] == price
    # 99 × .99 = 98.01
    document = waiting("short", "stop", at=100, limit_offset_percent=1)
    assert fills(run(document, bars, allow_short=True, slippage_bps=100))[0][1] == 98.01


def test_what_is_bought_waits_at_a_price_rounded_up_and_what_is_sold_down(run: Runner) -> None:
    bars = rows((100,), (100, 110, 90, 100))
    for kind, order, price in (("buy", "limit", 98.8), ("short", "limit", 101.2), ("buy", "stop", 101.4)):
        document = waiting(kind, order, at=100, limit_offset_percent=1.23)  # 98.77, 101.23, 101.23
        assert fills(run(document, bars, allow_short=True, price_step="0.2"))[0][1] == price


def test_an_order_waits_until_it_fills(run: Runner) -> None:
    result = run(waiting("buy", "limit", limit_offset_percent=10), rows((9,), (10,), (9,), (10,), (8,)))
    assert fills(result) == [(4, 8, None, None, None)]
    assert result.rejections == {"already_long": 1}  # on day 2 the order of day 0 still waits


def test_an_order_expires(run: Runner) -> None:
    document = waiting("buy", "limit", limit_offset_percent=10, expire_bars=2)
    late = run(document, rows((9,), (10,), (10,), (8,)))
    assert (fills(late), late.rejections) == ([], {"expired": 1})
    in_time = run(document, rows((9,), (10,), (8,)))
    assert fills(in_time) == [(2, 8, None, None, None)]
    anew = run(document, rows((9,), (10,), (9,), (8,)))  # expires and is decided again at the same close
    assert (fills(anew), anew.rejections) == ([(3, 8, None, None, None)], {"expired": 1})


def test_an_exit_takes_a_waiting_entry_back(run: Runner) -> None:
    result = run(waiting("buy", "limit", limit_offset_percent=10), rows((9,), (13,), (8,)))
    assert (result.trades, result.rejections) == ([], {"cancelled": 1})


def test_a_waiting_entry_may_be_stopped_from_the_tick_after_its_fill(run: Runner) -> None:
    document = on_closes(one("buy", order_type="limit", limit_offset_percent=1, at=100), stop_loss={"percent": 1})
    # low first: filled at 99 on the way to 97, where the stop of 98.01 is not live yet; the close does not touch it
    kept = run(document, rows((100,), (100, 105, 97, 99)))
    assert fills(kept) == [(1, 99, None, None, None)]
    stopped = run(document, rows((100,), (100, 105, 97, 98)), path="tradingview")
    assert fills(stopped) == [(1, 99, 1, 98.01, "stop_loss")]
    assert stopped.trades[0].ambiguous  # entered and left on an assumed path


def test_distances_are_frozen_where_a_waiting_entry_was_decided(run: Runner) -> None:
    entry = one("buy", order_type="limit", limit_offset_percent=10)
    document = on_closes(entry, stop_loss={"atr_multiple": 1, "timeperiod": 1})
    # the range of day 1 is 2; that of day 2 would be 12. Filled at 8.1 on day 3, the stop is at 6.1
    bars = rows((8,), (9, 10, 8, 9), (9, 21, 9, 12), (12, 12, 8, 10), (10, 10, 5, 5))
    assert fills(run(document, bars)) == [(3, 8.1, 4, 6.1, "stop_loss")]


def test_a_price_that_is_none_cannot_be_waited_for(run: Runner) -> None:
    document = waiting("short", "stop", limit_offset_percent=50)
    result = run(document, rows((9,), (9,)), allow_short=True, price_step=5)  # 4.5 → 0
    assert result.rejections == {"no_level": 2}


# ---------------------------------------------------------------------- sizes by risk


def test_risk_is_the_distance_to_the_stop(run: Runner) -> None:
    # 1 % of 1000 is 10; a stop 5 % below 20 is 1 away: 10 of them
    by_risk = {"size_mode": "risk_percent", "size": 1}
    bars = rows((9,), (20,))
    assert run(at_prices(9, entry=by_risk, stop_loss={"percent": 5}), bars).trades[0].quantity == units(10)
    document = on_closes(one("short", **by_risk), stop_loss={"percent": 5})
    assert run(document, bars, allow_short=True).trades[0].quantity == units(10)
    # a stop a tenth of a percent away would ask for 500, more than cash can pay: 1000 / 1.001 / 20, as for all in
    capped = run(at_prices(9, entry=by_risk, stop_loss={"percent": 0.1}), bars).trades[0]
    assert capped.quantity == run(at_prices(9), bars).trades[0].quantity


def test_without_a_stop_there_is_no_size_by_risk(run: Runner) -> None:
    by_risk = {"size_mode": "risk_percent", "size": 1}
    found = compile_strategy(at_prices(9, entry=by_risk)).diagnostics
    assert [(d.code, d.node_id, d.param) for d in found] == [("missing_stop", "b", "size_mode")]
    beyond = on_closes(one("buy", **by_risk), stop_loss={"atr_multiple": 100, "timeperiod": 1})
    result = run(beyond, rows((8,), (9, 10, 8, 9), (9,)))  # 9 − 200 is not a price
    assert result.rejections == {"no_stop": 1}


# ---------------------------------------------------------------------- finer data


def test_finer_bars_decide_what_a_coarse_one_leaves_open(run: Runner) -> None:
    """Hours as rows of their own, and the same hours given by the quarter: those tell in which order it went."""
    hour, quarter = 3_600 * 10**9, 900 * 10**9
    document = at_prices(9, stop_loss={"percent": 5}, take_profit={"percent": 5})
    coarse = rows((9,), (100, 110, 85, 100), (100,), width=hour)
    (trade,) = run(document, coarse).trades
    assert (trade.exit_reason, trade.ambiguous) == ("take_profit", True)  # the high is nearer
    first = [(9,)] * 4
    second: list[tuple[Any, ...]] = [(100, 101, 96, 97), (97, 97, 85, 86), (86, 110, 86, 105), (105, 105, 99, 100)]
    fine = rows(*first, *second, (100,), width=quarter)
    (trade,) = run(document, fine, interval="1h").trades
    assert (trade.exit_reason, trade.exit_price, trade.ambiguous) == ("stop_loss", units(95), False)
    assert trade.exit_ts == 5 * quarter
