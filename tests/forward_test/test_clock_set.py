"""The machine's clock is set while a session trades on a live feed: no tick is left out, no trade is another."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphs import drawing
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.engine import fixed
from algotrade.engine.records import MARKER
from algotrade.market_data.tick_log import ticks_after
from algotrade.platform.process import Platform

# An event at every tick: a purchase first, then rejections.
EAGER = drawing({"p": "price", "c": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "p>c.a c>b")
HOUR = 3600 * SECOND
BATCH = 20


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", live=True)


@pytest.mark.parametrize("jumps", [(HOUR, -2 * HOUR, HOUR), (-HOUR, 24 * HOUR, -23 * HOUR)])
async def test_a_clock_that_is_set_changes_no_trade(
    trader: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch, jumps: tuple[int, ...]
) -> None:
    real, set_by = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: real() + set_by)
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings={"interval": "tick", "fee_bps": "0"})
    last, pushed = 0, []
    for jump in (0, *jumps):
        set_by += jump
        ada = await trader(user_id=ada.user_id)  # with a token of the new time
        begin = real()
        ticks = made(*((begin + i, (100 + i) * fixed.SCALE) for i in range(BATCH)))
        feed.push("AAA", ticks)
        pushed += ticks["ts"].tolist()
        # … and a marker, by which the market says what time it is
        session = await ada.at_tick(session, last + BATCH + 1)
        last = session.last_tick_sequence
    kept = [part.ticks async for part in ticks_after(platform.bus, "AAA", 0)]
    priced = [ts for ticks in kept for ts in ticks[ticks["flags"] & MARKER == 0]["ts"].tolist()]
    assert priced == pushed, "each tick is in the log, and none was late or of the future"
    events = await ada.events(session, len(pushed))
    # The purchase fills at the second tick, and there and at every tick after it another is refused.
    assert [event.event_time.ToNanoseconds() for event in events] == [pushed[1], *pushed[1:]]
