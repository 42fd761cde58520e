"""A feed that is not live: entries are refused as stale_data; over a gap nothing fills until it is live again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import at_prices

from algotrade.engine.compile import compile_strategy
from algotrade.engine.fixed import SCALE
from algotrade.engine.records import EVENT, TICK, EventKind, Reason, Records
from algotrade.engine.runtime import GAP, RUNNING, STALE, Sessions, portable
from algotrade.engine.settings import RunSettings

FREE = {"interval": "tick", "fee_bps": "0"}


class Run:
    """One session, fed a price a second."""

    def __init__(self, graph: dict[str, Any], **settings: str) -> None:
        artefact = compile_strategy(graph).artefact
        assert artefact is not None
        self.sessions = Sessions(artefact)
        self.slot = self.sessions.add(RunSettings.parse(FREE | settings))
        self.at = 0

    def feed(self, *prices: float) -> list[tuple[EventKind, Reason, float]]:
        ticks = np.zeros(len(prices), TICK)
        ticks["seq"] = np.arange(self.at + 1, self.at + 1 + len(prices))
        ticks["ts"] = ticks["seq"] * 1_000_000_000
        ticks["price"] = [round(price * SCALE) for price in prices]
        self.at += len(prices)
        return told(self.sessions.step(ticks))

    def become(self, mode: int) -> list[tuple[EventKind, Reason, float]]:
        refused = np.zeros(0, EVENT) if mode == RUNNING else self.sessions.refuse(self.slot)
        self.sessions.set_mode(self.slot, mode)
        return told(refused)


def told(events: Records) -> list[tuple[EventKind, Reason, float]]:
    return [(EventKind(e["kind"]), Reason(e["reason"]), float(e["price"]) / SCALE) for e in events]


REFUSED = (EventKind.REJECTION, Reason.STALE_DATA, 0.0)
STOPPED = at_prices(5, stop_loss={"percent": 10})


@pytest.mark.parametrize("mode", [STALE, GAP])
def test_entries_are_refused(mode: int) -> None:
    run = Run(at_prices(5, 7))
    assert run.become(mode) == []
    assert run.feed(4, 5, 6) == [REFUSED]
    assert run.become(RUNNING) == []
    assert run.feed(5, 6) == [(EventKind.ENTRY, Reason.NODE, 6.0)]


@pytest.mark.parametrize("mode", [STALE, GAP])
def test_an_entry_that_waits_is_given_up_and_names_its_node(mode: int) -> None:
    run = Run(at_prices(5, 7))
    run.feed(4, 5)
    assert run.become(mode) == [REFUSED]
    assert run.become(mode) == []
    assert run.become(RUNNING) == []
    assert run.feed(6, 6) == []
    assert run.sessions.state(run.slot).last_event == 1


def test_a_stale_feed_lets_exits_go_on() -> None:
    run = Run(at_prices(5, 7))
    run.feed(5, 6)
    run.become(STALE)
    assert run.feed(7, 8) == [(EventKind.EXIT, Reason.NODE, 8.0)]


@pytest.mark.parametrize("fill", ["next_tick", "close"])
def test_over_a_gap_a_sale_waits_for_the_first_live_tick(fill: str) -> None:
    run = Run(at_prices(5, 7), fill=fill)
    run.feed(5, 6)
    run.become(GAP)
    assert run.feed(7, 8, 9) == []
    run.become(RUNNING)
    assert run.feed(10) == [(EventKind.EXIT, Reason.NODE, 10.0)]


def test_over_a_gap_a_stop_that_is_touched_fills_at_the_first_live_tick() -> None:
    run = Run(STOPPED)
    run.feed(5, 6)  # bought at 6: the stop is at 5.4
    run.become(GAP)
    assert run.feed(5.5, 5.3, 6.5) == []
    run.become(RUNNING)
    assert run.feed(6.25, 6) == [(EventKind.EXIT, Reason.STOP_LOSS, 6.25)]


def test_over_a_gap_a_stop_that_is_not_touched_stays() -> None:
    run = Run(STOPPED)
    run.feed(5, 6)
    run.become(GAP)
    assert run.feed(5.5, 7) == []
    run.become(RUNNING)
    assert run.feed(6.5) == []
    assert run.feed(5.25) == [(EventKind.EXIT, Reason.STOP_LOSS, 5.25)]


def test_over_a_gap_a_target_fills_only_where_the_live_feed_trades_through_it() -> None:
    run = Run(at_prices(5, take_profit={"percent": 10}))
    run.feed(5, 6)
    run.become(GAP)
    assert run.feed(8) == []
    run.become(RUNNING)
    assert run.feed(6.5) == []
    assert run.feed(7) == [(EventKind.EXIT, Reason.TAKE_PROFIT, 7.0)]


def test_indicators_move_all_the_while() -> None:
    whole, gapped = Run(at_prices(9)), Run(at_prices(9))
    whole.feed(*range(10, 20))
    gapped.feed(*range(10, 13))
    gapped.become(GAP)
    gapped.feed(*range(13, 18))
    gapped.become(RUNNING)
    gapped.feed(18, 19)
    assert gapped.sessions.snapshot(gapped.slot) == whole.sessions.snapshot(whole.slot)


def test_a_portable_snapshot_is_free_of_its_memory() -> None:
    artefact = compile_strategy(at_prices(5)).artefact
    assert artefact is not None
    settings = RunSettings.parse({"day_timezone": "Europe/Berlin"})
    one, other = Sessions(artefact), Sessions(artefact)
    first = one.add(settings)
    other.add(RunSettings.parse({"day_timezone": "Asia/Tokyo"}))
    second = other.add(settings)
    assert one.snapshot(first) != other.snapshot(second)
    assert portable(one.snapshot(first)) == portable(other.snapshot(second))
