"""Stops that follow the price, and limits on what may be lost, held and done: by hand, on the engine and the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreement import bar_records, compiled
from by_hand import DAY, Runner, fills, rows
from graphs import at_prices, drawing, on_closes
from oracle.settings import SCALE, units

from algotrade.engine.backtest import backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import MARKER, TICK, EventKind, Reason, Records
from algotrade.engine.runtime import EXITS_ONLY, GAP, RUNNING, STALE, Sessions
from algotrade.engine.settings import RunSettings

NOTHING: dict[str, Any] = {}
TEN = {"size_mode": "quantity", "size": 10}
HOUR = 3_600 * 1_000_000_000


def long(**nodes: Any) -> Any:
    return at_prices(9, entry=TEN, **nodes)


def short(**nodes: Any) -> Any:
    return on_closes({"e": ("short", TEN, 9)}, **nodes)


# ---------------------------------------------------------------------- stops that follow


def test_a_trailing_stop_follows_the_best_price(run: Runner) -> None:
    document = long(trailing_stop={"percent": 10})
    bars = rows((9,), (10, 20, 10, 20), (20, 20, 18, 19), (30,))
    # from 10 the stop is 9; the high of 20 moves it to 18, the low of the next day touches it
    assert fills(run(document, bars)) == [(1, 10, 2, 18, "trailing_stop")]


def test_a_trailing_stop_of_a_short_follows_downwards(run: Runner) -> None:
    document = short(trailing_stop={"percent": 10})
    bars = rows((9,), (20, 20, 10, 10), (10, 11, 10, "10.5"))
    assert fills(run(document, bars, allow_short=True)) == [(1, 20, 2, 11, "trailing_stop")]


def test_a_tick_meets_the_old_level_before_it_moves_it(run: Runner) -> None:
    document = long(trailing_stop={"percent": 10})
    # high first: 20 moves the stop to 18, the low of 8 is past it. The other way the low would have met 9: ambiguous
    (trade,) = run(document, rows((9,), (10, 11, 8, 10), (10,))).trades
    assert (trade.exit_price, trade.exit_reason, trade.ambiguous) == (units("9.9"), "trailing_stop", True)
    # low first: 9.5 is above the stop of 9, the high moves it to 18, the close is below that
    (trade,) = run(document, rows((9,), (10, 20, "9.5", 17))).trades
    assert (trade.exit_price, trade.ambiguous) == (units(18), True)
    # the stop of the day before, not moved on this one
    (trade,) = run(document, rows((9,), (10, 20, 10, 20), (19, 20, 17, 19))).trades
    assert (trade.exit_price, trade.ambiguous) == (units(18), False)


def test_a_trailing_stop_begins_with_its_activation(run: Runner) -> None:
    document = long(trailing_stop={"percent": 10, "activation_percent": 50})
    before = run(document, rows((9,), (10, "14.99999999", 10, 14), (5,)))
    assert fills(before) == [(1, 10, None, None, None)]
    after = run(document, rows((9,), (10, 15, 10, 15), (15, 15, 13, 13)))
    assert fills(after) == [(1, 10, 2, 13.5, "trailing_stop")]


def test_break_even_raises_the_stop_to_the_entry(run: Runner) -> None:
    document = long(break_even={"trigger_percent": 20}, stop_loss={"percent": 50})
    assert fills(run(document, rows((9,), (10, 11, 8, 10), (5,)))) == [(1, 10, 2, 5, "stop_loss")]
    reached = run(document, rows((9,), (10, 12, 10, 12), (12, 12, 6, 8)))
    assert fills(reached) == [(1, 10, 2, 10, "break_even")]
    mirrored = short(break_even={"trigger_percent": 20}, stop_loss={"percent": 50})
    found = run(mirrored, rows((9,), (10, 10, 8, 8), (8, 14, 8, 9)), allow_short=True)
    assert fills(found) == [(1, 10, 2, 10, "break_even")]


def test_the_tightest_stop_is_the_one_that_fills(run: Runner) -> None:
    document = long(stop_loss={"percent": 10}, trailing_stop={"percent": 10})
    assert fills(run(document, rows((9,), (10, 10, 8, 9)))) == [(1, 10, 1, 9, "stop_loss")]  # equal at the start
    moved = run(document, rows((9,), (10, 20, 10, 20), (20, 20, 5, 5)))
    assert fills(moved) == [(1, 10, 2, 18, "trailing_stop")]


def test_of_equal_stops_break_even_is_named_however_they_are_drawn(run: Runner) -> None:
    """Found by random strategies: the document's order decided."""
    guards: list[tuple[str, dict[str, Any]]] = [
        ("trailing_stop", {"percent": 20}),
        ("break_even", {"trigger_percent": 5}),
    ]
    for drawn in (guards, guards[::-1]):
        # the best price of 12.5 puts the trailing stop at 10, which is the entry's price
        result = run(long(**dict(drawn)), rows((9,), (10, "12.5", 10, 12), (12, 12, 9, 9)))
        assert fills(result) == [(1, 10, 2, 10, "break_even")]


def test_time_stop_decides_at_its_close(run: Runner) -> None:
    bars = rows((9,), (10,), (11,), (12,), (13,))
    assert fills(run(long(time_stop={"bars": 1}), bars)) == [(1, 10, 2, 11, "time_stop")]
    assert fills(run(long(time_stop={"bars": 2}), bars)) == [(1, 10, 3, 12, "time_stop")]


def test_a_larger_portion_beats_and_the_first_of_equals_is_named(run: Runner) -> None:
    actions = {"e": ("buy", TEN, 9), "x": ("sell", {"portion": 50}, 11)}
    result = run(on_closes(actions, time_stop={"bars": 2}), rows((9,), (10,), (11,), (12,)))
    assert [(t.exit_reason, t.quantity // SCALE) for t in result.trades] == [("time_stop", 10)]
    actions["x"] = ("sell", NOTHING, 11)
    result = run(on_closes(actions, time_stop={"bars": 2}), rows((9,), (10,), (11,), (12,)))
    assert [t.exit_reason for t in result.trades] == ["sell"]


def test_an_entry_that_gaps_past_its_stop_leaves_at_no_better_price_than_the_market_had(run: Runner) -> None:
    # a stop at 9 given as a level; the entry fills at 8, which is past it, and the path of that bar never comes by 9
    nodes: dict[str, Any] = {"p": "price", "at": ("compare", {"op": "==", "value": 10}), "b": ("buy", TEN)}
    nodes |= {"less": ("constant", {"value": 0.9}), "level": "mul", "s": "stop_loss"}
    document = drawing(nodes, "p>at.a at>b p>level.a less>level.b level>s.level")
    assert fills(run(document, rows((10,), (8, "8.5", 7, 8)))) == [(1, 8, 1, 8, "stop_loss")]
    # slippage of a tenth buys at 11: the stop of 5 % is at 10.45, above the market
    bars = rows((9,), (10, "10.2", 9, 10))
    slipped = run(at_prices(9, entry=TEN, stop_loss={"percent": 5}), bars, slippage_bps=1000)
    assert fills(slipped) == [(1, 11, 1, 9, "stop_loss")]


# ---------------------------------------------------------------------- limits


def test_max_position_is_the_stricter_of_node_and_setting(run: Runner) -> None:
    bars = rows((9,), (10,))
    document = at_prices(9, entry={"size_mode": "notional", "size": 400}, max_position={"percent": 40})
    assert len(run(document, bars).trades) == 1
    assert run(document, bars, max_position_percent=39).rejections == {"position_limit": 1}
    tighter = at_prices(9, entry={"size_mode": "notional", "size": 400}, max_position={"percent": 39})
    assert run(tighter, bars).rejections == {"position_limit": 1}


def test_a_drawdown_ends_all_trading(run: Runner) -> None:
    document = at_prices(9, max_drawdown_halt={"percent": 10})
    # all in at 10 with 100 of it, peak 1000; at 9 equity is 900: out at the next open, and never in again
    bars = rows((9,), (10,), ("9.01",), (9,), (12,), (9,), (20,), (9,))
    result = run(document, bars, fee_bps=0)
    assert fills(result) == [(1, 10, 4, 12, "max_drawdown_halt")]
    assert result.rejections == {"halted": 2}  # the close of day 3 asks for an exit, so its entry is none


def test_a_daily_loss_blocks_the_rest_of_the_day(run: Runner) -> None:
    bars = rows((9,), (10,), ("9.5",), (9,), (9,), (12,), (9,), (12,), width=6 * HOUR)
    document = at_prices(9, entry=TEN, daily_loss_limit={"percent": 0.5})
    result = run(document, bars, fee_bps=0)
    # 10 of them lose 5 of 1000 by 12 h: out at 18 h, at 9. That close would enter at 24 h, which is another day; so do
    # the closes of 24 h and 36 h want to, already long
    assert [(t.entry_ts // HOUR, (t.exit_ts or 0) // HOUR, t.exit_reason) for t in result.trades] == [
        (6, 18, "daily_loss_limit"),
        (24, 0, None),
    ]
    assert result.rejections == {"already_long": 2}
    same_day = rows((9,), (10,), ("9.5",), (9,), (9,), width=5 * HOUR)
    assert run(document, same_day, fee_bps=0).rejections == {"daily_loss_limit": 1}  # would fill at 20 h


def test_trades_a_day_are_counted_where_they_fill(run: Runner) -> None:
    actions = {"e": ("buy", TEN, 9), "x": ("close", NOTHING, 13)}
    document = on_closes(actions, max_trades_per_day={"n": 1})
    bars = rows((9,), (13,), (9,), (9,), (9,), (9,), width=7 * HOUR)
    # in at 7 h, out at 14 h, refused at 21 h; the close of 21 h fills at 28 h, the next day
    result = run(document, bars)
    assert [(t.entry_ts // HOUR, (t.exit_ts or 0) // HOUR) for t in result.trades] == [(7, 14), (28, 0)]
    assert result.rejections == {"max_trades_per_day": 1, "already_long": 2}
    elsewhere = run(document, bars, day_timezone="Asia/Kolkata")  # 21 h is 2:30 of the next day there
    assert [t.entry_ts // HOUR for t in elsewhere.trades] == [7, 21]


def test_no_entry_refuses_and_takes_waiting_orders_back(run: Runner) -> None:
    nodes: dict[str, Any] = {
        "p": "price",
        "at": ("compare", {"op": "==", "value": 9}),
        "high": ("compare", {"op": ">=", "value": 9}),
        "b": "buy",
        "n": "no_entry",
    }
    document = drawing(nodes, "p>at.a p>high.a at>b high>n")
    assert run(document, rows((9,), (10,))).rejections == {"no_entry": 1}
    nodes["b"] = ("buy", {"order_type": "limit", "limit_offset_percent": 10})
    nodes["high"] = ("compare", {"op": ">=", "value": 10})
    waiting = run(drawing(nodes, "p>at.a p>high.a at>b high>n"), rows((9,), (10,), (5,)))
    assert (waiting.trades, waiting.rejections) == ([], {"no_entry": 1})


# ---------------------------------------------------------------------- notices, stale prices, states of trading


def test_notices_are_throttled() -> None:
    nodes = {"p": "price", "on": ("compare", {"op": ">", "value": 1}), "b": "buy"}
    said = {"message": "up", "throttle_bars": 3}
    document = drawing(nodes | {"n": ("notify", said)}, "p>on.a on>n on>b")
    artefact = compiled(document).artefact
    assert artefact is not None
    assert artefact.manifest.nodes[3].message == "up"
    bars = bar_records(rows((9,), (9,), (9,), (1,), (9,), (9,), (9,)))
    events = backtest(artefact, bars, RunSettings()).events
    notices = events[events["kind"] == EventKind.NOTICE]
    assert (notices["ts"] // DAY).tolist() == [0, 4]
    assert set(notices["node"].tolist()) == {3}


def ticks(*prices: float, flags: tuple[int, ...] = ()) -> Records:
    """Ticks a second apart; an interval of `tick` makes a bar of each."""
    out = np.zeros(len(prices), TICK)
    out["ts"] = np.arange(len(prices)) * 10**9
    out["seq"] = np.arange(1, len(prices) + 1)
    out["price"] = [units(price) for price in prices]
    out["flags"][: len(flags)] = flags
    return out


def session(document: Any, **settings: Any) -> tuple[Sessions, int]:
    artefact = compiled(document).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    return sessions, sessions.add(RunSettings.parse({"interval": "tick", "initial_cash": 1000} | settings))


def told(events: Records) -> list[tuple[str, float, int]]:
    return [(Reason(e["reason"]).label, e["price"] / SCALE, int(e["ts"]) // 10**9) for e in events]


def test_over_a_gap_a_short_leaves_at_the_first_live_tick() -> None:
    sessions, slot = session(short(stop_loss={"percent": 10}), allow_short=True)
    assert told(sessions.step(ticks(9, 10))) == [("node", 10, 1)]
    sessions.set_mode(slot, GAP)
    assert len(sessions.step(ticks(9, 10, 12, 8)[2:])) == 0  # the late 12 touches the stop of 11
    sessions.set_mode(slot, RUNNING)
    assert told(sessions.step(ticks(9, 10, 12, 8, 9)[4:])) == [("stop_loss", 9, 4)]


@pytest.mark.parametrize("mode", [GAP, STALE])
def test_an_order_goes_on_waiting_while_the_feed_is_not_live(mode: int) -> None:
    entry = TEN | {"order_type": "limit", "limit_offset_percent": 10}
    sessions, slot = session(on_closes({"e": ("buy", entry, 9)}))
    sessions.step(ticks(9, 10))
    sessions.set_mode(slot, mode)
    assert len(sessions.step(ticks(9, 10, 7, 10)[2:])) == 0
    sessions.set_mode(slot, RUNNING)
    assert told(sessions.step(ticks(9, 10, 7, 10, 8)[4:])) == [("node", 8, 4)]


def test_a_paused_session_refuses_what_waits() -> None:
    document = on_closes({"e": ("buy", TEN | {"order_type": "limit", "limit_offset_percent": 10}, 9)})
    sessions, slot = session(document)
    assert len(sessions.step(ticks(9, 10))) == 0
    assert sessions.state(slot).order_level == units("8.1")
    assert sessions.decided(slot) == {2}
    sessions.set_mode(slot, EXITS_ONLY)
    later = ticks(9, 10, 8, 7)[2:]
    assert told(sessions.step(later)) == [("halted", 0, 2)]
    assert sessions.state(slot).order_level == 0


def test_flatten_covers_a_short_and_forgets_what_waits() -> None:
    sessions, slot = session(short(), allow_short=True)
    sessions.step(ticks(9, 10))
    assert sessions.state(slot).quantity == -units(10)
    sessions.flatten(slot)
    assert told(sessions.step(ticks(9, 10, 8)[2:])) == [("flatten", 8, 2)]
    waiting, slot = session(on_closes({"e": ("buy", {"order_type": "stop", "limit_offset_percent": 10}, 9)}))
    waiting.step(ticks(9, 9))
    waiting.flatten(slot)
    assert len(waiting.step(ticks(9, 9, 20)[2:])) == 0


def test_a_marker_expires_an_order_without_a_tick() -> None:
    entry = TEN | {"order_type": "limit", "limit_offset_percent": 10, "expire_bars": 1}
    sessions, _ = session(on_closes({"e": ("buy", entry, 9)}), interval="1s")
    records = ticks(9, 10, 10, 10, flags=(0, 0, MARKER, 0))
    assert told(sessions.step(records)) == [("expired", 0, 1)]


def test_once_per_position_begins_anew_with_a_reversed_one() -> None:
    """A reverse leaves no close without a position, and still the next one is another."""
    nodes: dict[str, Any] = {"p": "price", "n": ("compare", {"op": "==", "value": 9}), "b": ("buy", TEN)}
    nodes |= {"hot": ("compare", {"op": ">", "value": 10}), "once": ("once_per", {"scope": "position"}), "r": "reverse"}
    artefact = compiled(drawing(nodes, "p>n.a n>b p>hot.a hot>once once>r")).artefact
    assert artefact is not None
    bars = bar_records(rows((9,), (11,), (12,), (13,), (14,)))
    trades = backtest(artefact, bars, RunSettings(allow_short=True, fee_bps=0, initial_cash=units(1000))).trades
    assert [(t.side, t.entry_ts // DAY, t.exit_ts and t.exit_ts // DAY) for t in trades] == [
        ("long", 1, 2),
        ("short", 2, 3),
        ("long", 3, 4),
        ("short", 4, None),
    ]


@pytest.mark.parametrize("node", ["trailing_stop", "break_even", "time_stop", "max_drawdown_halt", "max_position"])
def test_one_of_each_at_most(node: str) -> None:
    document = at_prices(9, **{node: {}})
    document["nodes"].append({"id": "again", "type": node})
    assert [d.code for d in compile_strategy(document).diagnostics] == ["duplicate_exit"]


def test_the_report_says_what_can_never_happen() -> None:
    def report(document: Any) -> tuple[set[str], set[str]]:
        artefact = compiled(document).artefact
        assert artefact is not None
        return set(artefact.report.orders), set(artefact.report.never)

    orders, never = report(at_prices(9, 13, stop_loss={"percent": 1}))
    assert orders == {"buy", "sell", "stop_loss"}
    assert never == {"go short", "leave an entry waiting for a price", "leave at a target", "leave in portions"}
    actions = {"e": ("short", {"order_type": "stop"}, 9), "x": ("cover", {"portion": 50}, 13)}
    orders, never = report(on_closes(actions))
    assert orders == {"short stop", "cover"}
    assert never == {"go long", "leave at a stop", "leave at a target"}
