"""Finnhub: frames that mix symbols, repeats that only look like it, times that run backwards, and one connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from market_data.venues.fake_finnhub import KEY, FakeFinnhub
from market_data.venues.readers import counted, reading
from pydantic import ValidationError

from algotrade.engine.fixed import SCALE
from algotrade.market_data.feed import FeedChange, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.venues.build import finnhub_feed
from algotrade.market_data.venues.feed import VenueFeed
from algotrade.market_data.venues.finnhub import FinnhubDialect
from algotrade.market_data.venues.loose_tape import LooseTape
from algotrade.market_data.venues.said import Complaint, Down, Trade, Trades, Up
from algotrade.market_data.venues.tape import TapeRules
from algotrade.market_data.venues.venue import BadFrameError
from algotrade.platform.clock import SystemClock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

MS = 1_714_564_800_250
START = MS * 1_000_000
SECOND = 1_000_000_000
NAMES = {"AAPL": "AAPL", "BTC-USDT": "BINANCE:BTCUSDT"}


def dialect() -> FinnhubDialect:
    return FinnhubDialect(KEY, NAMES)


def row(symbol: str = "AAPL", price: Any = 190.25, size: Any = 10, time_ms: Any = MS) -> dict[str, Any]:
    return {"s": symbol, "p": price, "t": time_ms, "v": size, "c": ["1", "8"]}


def read(*rows: dict[str, Any]) -> list[Any]:
    return list(dialect().read(json.dumps({"type": "trade", "data": rows})))


def test_a_frame_mixes_symbols_and_a_change_of_price_is_no_trade() -> None:
    assert read(row(), row("BINANCE:BTCUSDT", 60000), row(size=0), row("MSFT"), row(price=190.5)) == [
        Trades("AAPL", [Trade(0, START, 19_025_000_000, 10.0), Trade(0, START, 19_050_000_000, 10.0)]),
        Trades("BTC-USDT", [Trade(0, START, 60_000 * SCALE, 10.0)]),
    ]


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        (row(price=0), "bad_price"),
        (row(price=-1), "bad_price"),
        (row(price=None), "bad_price"),
        (row(price=1e300), "bad_price"),
        (row(size=-3), "bad_size"),
        (row(size="4"), "bad_size"),
        (row(time_ms=-62135596800000), "bad_time"),
        (row(time_ms="now"), "bad_time"),
        (row(time_ms=9_999_999_999_999_999), "bad_time"),
    ],
)
def test_a_trade_that_cannot_be_says_why(bad: dict[str, Any], wrong: str) -> None:
    assert read(bad) == [Trades("AAPL", [Trade(0, wrong=wrong)])]


@pytest.mark.parametrize("frame", ["{", "[]", "3", '{"type":"trade"}', '{"type":"trade","data":[1]}'])
def test_what_is_no_frame_is_refused(frame: str) -> None:
    with pytest.raises(BadFrameError):
        dialect().read(frame)


def test_pings_say_nothing_and_errors_complain() -> None:
    assert dialect().read('{"type":"ping"}') == []
    assert dialect().read('{"type":"error","msg":"Subscribing to too many symbols"}') == [
        Complaint("Subscribing to too many symbols")
    ]
    assert dialect().subscribe(["BTC-USDT"]) == ['{"type":"subscribe","symbol":"BINANCE:BTCUSDT"}']


def told(tape: LooseTape, heard: Any, now_ns: int = START) -> list[object]:
    said: list[object] = []
    for item in tape.hear(heard, now_ns):
        if isinstance(item, FeedTicks):
            assert item.trade_ids is None
            said += (item.ticks["price"] // SCALE).tolist()
        else:
            said.append(item.state.name if isinstance(item, FeedChange) else item.ts)
    return said


def of(*prices: int, at: int = START) -> Trades:
    return Trades("AAPL", [Trade(0, at, price * SCALE, 1.0) for price in prices])


def test_rows_alike_in_one_frame_are_trades_and_in_a_later_one_repeats() -> None:
    tape = LooseTape(Resume(epoch=1), TapeRules(), START)
    assert told(tape, Up()) == []
    assert told(tape, of(5, 5, 6)) == [5, 5, 6]
    assert told(tape, of(5, 6)) == []
    assert told(tape, of(5, 5, 5)) == [5]
    assert tape.counts["duplicates"] == 4
    assert told(tape, of(5, at=START + 1)) == [5]


def test_trades_of_a_frame_come_in_order_of_time() -> None:
    tape = LooseTape(Resume(epoch=1), TapeRules(), START)
    rows = [Trade(0, START + at, price * SCALE, 1.0) for at, price in ((2, 7), (1, 6), (3, 8))]
    assert told(tape, Trades("AAPL", rows)) == [6, 7, 8]


def test_a_gap_ends_with_the_connection_and_says_that_something_is_missing() -> None:
    tape = LooseTape(Resume(2, 5, START, 100), TapeRules(), START)
    assert [item.state for item in tape.begin(START) if isinstance(item, FeedChange)] == [FeedState.GAP]
    assert told(tape, Up()) == ["LIVE"]
    assert told(tape, Down("closed: 1006")) == ["GAP"]
    [change] = tape.hear(Up(), START)
    assert isinstance(change, FeedChange)
    assert change.detail == "what was missed nobody knows"


def test_time_is_told_while_it_is_connected_and_silence_is_stale() -> None:
    tape = LooseTape(Resume(epoch=1), TapeRules(stale_ns=3 * SECOND), START)
    tape.hear(Up(), START)
    assert tape.hear(None, START) == []
    tape.hear(of(5), START)
    times, states = [], []
    now = START
    for _ in range(5):
        now = max(now, tape.due_ns())
        for item in tape.hear(None, now):
            times += [item.ts] if isinstance(item, FeedTime) else []
            states += [item.state] if isinstance(item, FeedChange) else []
    assert times == sorted(set(times))
    assert all(time % SECOND == 0 and time <= now - SECOND // 2 for time in times)
    assert states == [FeedState.STALE]
    tape.hear(Down("closed"), now)
    assert tape.hear(None, now + 10 * SECOND) == []


@pytest.fixture
async def venue() -> AsyncIterator[FakeFinnhub]:
    async with FakeFinnhub() as venue:
        yield venue


def feed_of(venue: FakeFinnhub, metrics: Metrics, **changes: Any) -> VenueFeed:
    given: dict[str, Any] = {
        "finnhub_token": KEY,
        "finnhub_ws_url": venue.ws_url,
        "finnhub_symbols": ("AAPL", "BTC-USDT=BINANCE:BTCUSDT"),
        "venue_backoff_seconds": 0.01,
        "venue_most_backoff_seconds": 0.05,
    }
    return finnhub_feed(Settings(**given | changes), SystemClock(), metrics)


async def test_two_symbols_share_one_connection_over_a_silent_hang(venue: FakeFinnhub) -> None:
    metrics = Metrics()
    feed = feed_of(venue, metrics, finnhub_silence_seconds=0.4)
    async with reading(feed, "AAPL") as a, reading(feed, "BTC-USDT") as b:
        await venue.until(lambda: len(venue.asked) == 2)
        assert [one["symbol"] for one in venue.asked] == ["AAPL", "BINANCE:BTCUSDT"]
        await venue.trades(("AAPL", 5, MS, 1), ("BINANCE:BTCUSDT", 6, MS, 1))
        await a.until(lambda: a.prices == [5 * SCALE])
        await b.until(lambda: b.prices == [6 * SCALE])
        await venue.until(lambda: len(venue.asked) == 4)
        await venue.trades(("AAPL", 5, MS, 1), ("AAPL", 7, MS + 1, 1))
        await a.until(lambda: len(a.prices) == 2)
    assert a.prices == [5 * SCALE, 7 * SCALE]
    assert a.states[:2] == [FeedState.GAP, FeedState.LIVE]
    assert counted(metrics, "finnhub", "disconnects_total", cause="silent") >= 1
    assert counted(metrics, "finnhub", "rejected_total", reason="duplicates") == 1


async def test_a_wrong_key_ends_it_and_is_not_told_to_anyone(
    venue: FakeFinnhub, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with reading(feed_of(venue, Metrics(), finnhub_token="wrong-key"), "AAPL") as reader:
        await reader.until(lambda: reader.ended)
    assert reader.states == [FeedState.STALE]
    assert venue.tries == 1
    said = capsys.readouterr()
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]  # the venue's own
    assert "wrong-key" not in said.out + said.err + "".join(ours + reader.details)


def test_without_a_key_it_does_not_start() -> None:
    with pytest.raises(ValidationError, match="ALGOTRADE_FINNHUB_TOKEN"):
        Settings(market_providers=("finnhub",))
