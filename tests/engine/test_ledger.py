"""Money is conserved, to the last unit, whatever the strategy, the prices and the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import series
from agreement import bar_records, compiled
from graphs import drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.random_graphs import case

from algotrade.engine.backtest import backtest
from algotrade.engine.fixed import SCALE
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import BAR, EventKind, Records
from algotrade.engine.settings import RunSettings


def check(events: Records, run: RunSettings) -> int:
    """Follow every fill with plain integers; the number of fills.

    After each: cash + cost basis = initial cash + realised pnl − fee of the open entry. A short's basis is below zero:
    what it brought in. Every amount is rounded against the trader, by less than a unit.
    """
    cash, quantity, basis, entry_fee, realised, fills = run.initial_cash, 0, 0, 0, 0, 0
    assert list(events["number"]) == list(range(1, len(events) + 1)), "numbered 1, 2, 3 …"
    for event in (dict(zip(BARE, row, strict=True)) for row in events[BARE].tolist()):
        filled = event["kind"] in (EventKind.ENTRY, EventKind.EXIT)
        side = -1 if event["quantity"] < 0 else 1
        pays = side if event["kind"] == EventKind.ENTRY else -side  # 1: buys
        exact = abs(event["quantity"]) * event["price"]
        if filled:
            fills += 1
            assert event["amount"] == (-(-exact // SCALE) if pays > 0 else exact // SCALE), "paid up, received down"
            assert event["fee"] == -(-event["amount"] * run.fee_bps // (10_000 * SCALE)), "fees are rounded up"
            cash -= pays * event["amount"] + event["fee"]
        if event["kind"] == EventKind.ENTRY:
            assert quantity == 0
            quantity, basis, entry_fee = event["quantity"], pays * event["amount"], event["fee"]
        elif event["kind"] == EventKind.EXIT:
            assert 0 < side * event["quantity"] <= side * quantity
            exact = basis * event["quantity"]
            if event["quantity"] == quantity:
                assert (event["cost"], event["entry_fee"]) == (basis, entry_fee), "the last portion takes the rest"
            else:
                assert event["cost"] == -(-exact // quantity), "up, whichever side of zero"
            assert event["pnl"] == -pays * event["amount"] - event["fee"] - event["cost"] - event["entry_fee"]
            realised += event["pnl"]
            quantity, basis = quantity - event["quantity"], basis - event["cost"]
            entry_fee -= event["entry_fee"]
        assert event["cash"] == cash
        assert cash + basis == run.initial_cash + realised - entry_fee
        assert entry_fee >= 0
        if not run.allow_short:
            assert min(cash, quantity, basis) >= 0
    return fills


BARE = ["kind", "price", "quantity", "amount", "fee", "cost", "entry_fee", "pnl", "cash"]


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_random_strategies_conserve_money(first: int) -> None:
    fills = 0
    for one in map(case, range(first, first + 25)):
        artefact = compiled(one.document).artefact
        assert artefact is not None
        run = RunSettings.parse(one.settings)
        fills += check(backtest(artefact, bar_records(one.tape.rows), run, one.parameters).events, run)
    assert fills > 100


def churn(mode: str, size: float, portion: float, *, both: bool = False) -> dict[str, Any]:
    """In above the mean, out below it in portions, with a stop: many fills of every kind. ``both``: and the reverse."""
    nodes: dict[str, Any] = {"p": "price", "m": ("sma", {"timeperiod": 3}), "up": ("compare", {"op": ">"}), "dn": "not"}
    nodes |= {"b": ("buy", {"size_mode": mode, "size": size}), "x": ("sell", {"portion": portion})}
    nodes |= {"s": ("stop_loss", {"percent": 3}), "t": ("take_profit", {"percent": 4})}
    if not both:
        return drawing(nodes, "p>m p>up.a m>up.b up>dn up>b dn>x")
    del nodes["x"]
    nodes |= {"lag": ("lag", {"n": 2}), "on": ("compare", {"op": "<"}), "off": "not"}
    nodes |= {"c": ("cover", {"portion": portion}), "tr": ("trailing_stop", {"percent": 2, "activation_percent": 1})}
    nodes["sh"] = ("short", {"size_mode": mode, "size": size, "order_type": "stop", "limit_offset_percent": 0.5})
    return drawing(nodes, "p>m p>up.a m>up.b up>dn p>lag m>on.a lag>on.b on>off up>b off>sh on>c")


@st.composite
def tapes(draw: st.DrawFn) -> Records:
    """Prices from a hundredth of a cent to a million, moving by anything up to a third a bar."""
    start = draw(st.integers(10_000, 10**14))
    moves = draw(st.lists(st.integers(-300, 450), min_size=20, max_size=60))
    closes, price = [], start
    for move in moves:
        price = min(max(1_000, price + price * move // 1_000), 10**14)
        closes.append(price)
    return series.bars(np.array(closes, np.int64), seed=draw(st.integers(0, 99)))


RUNS = st.builds(
    RunSettings,
    initial_cash=st.integers(1, 10**16),
    fee_bps=st.integers(0, 500 * SCALE),
    slippage_bps=st.integers(0, 300 * SCALE),
    fill=st.sampled_from(["next_tick", "close"]),
    lot_step=st.sampled_from([1, 1, 1_000, SCALE]),
    price_step=st.sampled_from([1, 1, 10, 1_000]),
    min_notional=st.sampled_from([0, 0, SCALE]),
    path=st.sampled_from(["tradingview", "worst"]),
)


@pytest.mark.parametrize(
    ("mode", "size", "portion", "both"),
    [
        ("percent_equity", 100, 100, False),
        ("percent_equity", 33.33333333, 30, False),
        ("notional", 777.77777777, 12.34567891, False),
        ("quantity", 0.12345678, 50, False),
        ("percent_equity", 100, 100, True),
        ("percent_equity", 33.33333333, 30, True),
        ("quantity", 0.12345678, 50, True),
        ("risk_percent", 1.5, 12.34567891, True),
    ],
)
def test_any_prices_and_settings_conserve_money(mode: str, size: float, portion: float, both: bool) -> None:
    artefact = compiled(churn(mode, size, portion, both=both)).artefact
    assert artefact is not None

    @settings(max_examples=150)
    @given(tapes(), RUNS)
    def conserve(bars: Records, run: RunSettings) -> None:
        run = replace(run, allow_short=both)
        result = backtest(artefact, bars, run)
        check(result.events, run)
        state = result.state
        assert result.final_equity == state.cash + state.quantity * state.last_price // SCALE
        assert state.cash + state.cost == run.initial_cash + state.realized_pnl - state.entry_fee

    conserve()


def test_an_overflow_halts_with_the_state_of_before() -> None:
    # 1e8 of cash buys 1e16 at a price of 1e-8: more units than 63 bits hold
    closes = np.array([100, 90, 100, 1, 1, 1, 2, 3, 4, 5], np.int64)
    rows = np.zeros(len(closes), BAR)
    rows["ts"] = series.DAY * np.arange(len(closes))
    for name in ("open", "high", "low", "close"):
        rows[name] = closes
    artefact = compiled(churn("percent_equity", 100, 100)).artefact
    assert artefact is not None
    run = RunSettings(initial_cash=MAX_AMOUNT // 2)
    result = backtest(artefact, rows, run)
    assert result.halted == "amount_overflow"
    assert (result.state.cash, result.state.quantity) == (run.initial_cash, 0)
    assert result.events["kind"].tolist()[-1] == EventKind.HALT
