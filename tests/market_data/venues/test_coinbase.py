"""Frames of Coinbase: whose side, what is old, what cannot be; and a recorded session, read whole."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.venues.coinbase import AdvancedDialect, ExchangeDialect
from algotrade.market_data.venues.line import TradeLine
from algotrade.market_data.venues.said import Beat, Complaint, Doubt, Said, Trade, Trades
from algotrade.market_data.venues.venue import BadFrameError

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "raw" / "coinbase_advanced_20260809_no_l2.jsonl"
TIME, TIME_NS = "2024-05-01T12:00:00.250001Z", 1_714_564_800_250_001_000
MATCH = {
    "type": "match",
    "trade_id": 77,
    "product_id": "BTC-USD",
    "price": "65083.67",
    "size": "0.002186",
    "side": "sell",
    "time": TIME,
    "sequence": 9001,
}


def exchange(**changes: Any) -> list[Said]:
    return list(ExchangeDialect().read(json.dumps(MATCH | changes)))


def the_trade(found: list[Said]) -> Trade:
    [said] = found
    assert isinstance(said, Trades)
    [trade] = said.trades
    return trade


def test_a_match_is_read_exactly_and_its_side_is_the_takers() -> None:
    expected = Trade(77, TIME_NS, 6_508_367_000_000, 0.002186, BUYER)
    assert exchange() == [Trades("BTC-USD", [expected])]
    assert the_trade(exchange(side="buy")).flags == SELLER
    assert the_trade(exchange(side="?")).flags == 0


def test_the_last_match_before_we_came_is_a_snapshot() -> None:
    [said] = exchange(type="last_match")
    assert isinstance(said, Trades)
    assert said.snapshot


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"time": "0001-01-01T00:00:00.000000Z"}, "bad_time"),
        ({"time": "2009-12-31T23:59:59Z"}, "bad_time"),
        ({"time": "soon"}, "bad_time"),
        ({"time": "2024-05-01T12:00:00"}, "bad_time"),
        ({"time": None}, "bad_time"),
        ({"price": "0"}, "bad_price"),
        ({"price": "-1"}, "bad_price"),
        ({"price": "NaN"}, "bad_price"),
        ({"price": "1e999"}, "bad_price"),
        ({"price": "99999999999999999999"}, "bad_price"),
        ({"price": 5}, "bad_price"),
        ({"size": "0.-10000"}, "bad_size"),
        ({"size": "-0.1"}, "bad_size"),
        ({"size": "inf"}, "bad_size"),
        ({"size": None}, "bad_size"),
    ],
)
def test_a_trade_that_cannot_be_keeps_its_number_and_says_why(changes: dict[str, Any], wrong: str) -> None:
    assert the_trade(exchange(**changes)) == Trade(77, wrong=wrong)


@pytest.mark.parametrize("frame", ["", "{", "[1]", "7", b"\xff\xfe", json.dumps(MATCH | {"trade_id": "x"})])
@pytest.mark.parametrize("dialect", [ExchangeDialect, AdvancedDialect])
def test_what_is_no_frame_is_refused(dialect: Any, frame: Any) -> None:
    if dialect is AdvancedDialect and "x" in str(frame) and frame:
        frame = json.dumps({"channel": "market_trades", "events": [{"trades": [{"product_id": "A"}]}]})
    with pytest.raises(BadFrameError):
        dialect().read(frame)


def test_heartbeats_errors_and_what_is_new_to_us() -> None:
    beat = {"type": "heartbeat", "product_id": "A-B", "last_trade_id": 5, "sequence": 1, "time": TIME}
    read = ExchangeDialect().read
    assert read(json.dumps(beat)) == [Beat("A-B", TIME_NS, 5)]
    assert read('{"type":"error","message":"Failed to subscribe","reason":"no"}') == [
        Complaint("Failed to subscribe: no")
    ]
    assert read('{"type":"auction"}') == []


def test_advanced_trade_frames_are_numbered_together_and_a_lost_one_is_a_doubt() -> None:
    dialect = AdvancedDialect()
    beat = {
        "channel": "heartbeats",
        "timestamp": TIME,
        "events": [{"current_time": "2024-05-01 12:00:00 +0000 UTC m=+1"}],
    }
    assert dialect.read(json.dumps(beat | {"sequence_num": 0})) == [Beat("", TIME_NS)]
    assert dialect.read(json.dumps({"channel": "status", "sequence_num": 1})) == []
    assert dialect.read(json.dumps(beat | {"sequence_num": 3})) == [Doubt(), Beat("", TIME_NS)]
    assert dialect.read(json.dumps(beat | {"sequence_num": 2})) == [Beat("", TIME_NS)]
    assert dialect.read(json.dumps(beat | {"sequence_num": 4})) == [Beat("", TIME_NS)]


def test_order_books_are_never_asked_for() -> None:
    for dialect in (ExchangeDialect(), AdvancedDialect()):
        assert "level2" not in "".join([*dialect.subscribe(["A-B"]), *dialect.unsubscribe(["A-B"])])


@pytest.mark.data
def test_of_a_recorded_session_every_trade_comes_once_in_order_with_the_right_side() -> None:
    if not RECORDED.exists():
        pytest.skip(f"no recorded session at {RECORDED}")
    dialect, lines = AdvancedDialect(), defaultdict(TradeLine)
    passed: dict[str, list[Trade]] = defaultdict(list)
    told: dict[int, dict[str, str]] = {}
    quotes: dict[str, dict[str, str]] = {}
    at_quote: list[bool] = []
    for line in RECORDED.read_text().splitlines():
        entry = json.loads(line)
        if entry["t"] != "recv":
            continue
        frame = json.loads(entry["data"])
        for event in frame["events"] if frame["channel"] in ("ticker", "market_trades") else ():
            for ticker in event.get("tickers", ()):
                quotes[ticker["product_id"]] = ticker
            if event["type"] == "update":
                told |= {int(one["trade_id"]): one for one in event.get("trades", ())}
        for said in dialect.read(entry["data"]):
            if isinstance(said, Trades) and said.snapshot:
                lines[said.symbol].name(max(one.number for one in said.trades))
            elif isinstance(said, Trades):
                passed[said.symbol] += lines[said.symbol].take(said.trades)
                quote = quotes[said.symbol]
                for one in said.trades:
                    price = round(one.price / SCALE, 2)
                    if price in (float(quote["best_bid"]), float(quote["best_ask"])):
                        at_quote.append((one.flags == BUYER) == (price == float(quote["best_ask"])))
    numbers = [one.number for trades in passed.values() for one in trades]
    assert sorted(numbers) == sorted(told)
    assert {symbol: len(trades) for symbol, trades in passed.items()} == {"BTC-USD": 47, "ETH-USD": 32}
    for symbol, trades in passed.items():
        assert not lines[symbol].hole
        assert [one.number for one in trades] == list(range(trades[0].number, trades[0].number + len(trades)))
        assert sorted(one.ts for one in trades) == [one.ts for one in trades]
        assert not any(one.wrong for one in trades)
    assert len(at_quote) >= 60
    assert sum(at_quote) / len(at_quote) > 0.9, "who buys pays the ask"
