"""What was tested is what runs: a session over the replay of a bar file gives the backtest's trades, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from graphs import drawing, sma_cross

from algotrade.engine import fixed
from algotrade.engine.backtest import backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.settings import RunSettings
from algotrade.market_data.build import build as build_market_data
from algotrade.platform.bars_file import read_bars
from algotrade.platform.errors import violations
from algotrade.platform.samples import aapl_daily
from algotrade.platform.settings import Settings
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import forward_test_service_pb2 as pb

GUARDED = drawing(
    {
        "p": "price",
        "f": ("sma", {"timeperiod": {"param": "fast"}}),
        "s": ("sma", {"timeperiod": 30}),
        "up": "crossover",
        "b": ("buy", {"size_mode": "percent_equity", "size": 60}),
        "stop_loss": ("stop_loss", {"percent": 3}),
        "take_profit": ("take_profit", {"percent": 5}),
    },
    "p>f.input p>s.input f>up.a s>up.b up>b.when",
    [{"name": "fast", "type": "int", "default": 10, "min": 2, "max": 100, "step": 1}],
)

# Both sides, entries that wait, sizes by risk, portions, stops that follow, limits and notices.
BOTH_WAYS = drawing(
    {
        "p": "price",
        "s": ("sma", {"timeperiod": 20}),
        "up": "crossover",
        "dn": "crossunder",
        "held": "position",
        "old": ("compare", {"op": "==", "value": 4}),
        "b": ("buy", {"order_type": "limit", "limit_offset_percent": 0.5, "expire_bars": 3}),
        "sh": ("short", {"size_mode": "risk_percent", "size": 2, "order_type": "stop", "limit_offset_percent": 0.2}),
        "half": ("cover", {"portion": 40}),
        "part": ("sell", {"portion": 40}),
        "say": ("notify", {"message": "crossed", "throttle_bars": 5}),
        "stop": ("stop_loss", {"atr_multiple": 2.5}),
        "trail": ("trailing_stop", {"percent": 4, "activation_percent": 2}),
        "even": ("break_even", {"trigger_percent": 1.5}),
        "time": ("time_stop", {"bars": 15}),
        "most": ("max_trades_per_day", {"n": 2}),
    },
    "p>up.a s>up.b p>dn.a s>dn.b p>s up>b dn>sh held.bars_held>old.a old>half old>part up>say",
)
TURNING = drawing(
    {
        "p": "price",
        "f": ("sma", {"timeperiod": 10}),
        "s": ("sma", {"timeperiod": 30}),
        "up": "crossover",
        "dn": "crossunder",
        "flat": "position",
        "none": ("compare", {"op": "==", "value": 0}),
        "first": "and",
        "b": "buy",
        "r": "reverse",
        "stop": ("stop_loss", {"percent": 40}),
    },
    "p>f p>s f>up.a s>up.b f>dn.a s>dn.b flat.side>none.a up>first none>first first>b dn>r",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"market_providers": ("replay",)})


@pytest.fixture
async def upstream(serve: Any) -> Any:
    return await serve(build_strategy, build_market_data)


@pytest.fixture
def bars(data_dir: Path) -> Any:
    return read_bars(aapl_daily(data_dir / "samples")).bars


@pytest.mark.parametrize(
    ("graph", "settings_of_run", "parameters"),
    [
        (sma_cross(20, 50), {}, {}),
        (sma_cross(5, 12), {"fee_bps": "7.5", "slippage_bps": "3", "initial_cash": "25000.01"}, {}),
        (sma_cross(5, 12), {"fill": "close", "lot_step": "1", "price_step": "0.01"}, {}),
        (GUARDED, {"slippage_bps": "1.25"}, {"fast": "8"}),
        (sma_cross(5, 12), {"interval": "1d"}, {}),
        (BOTH_WAYS, {"allow_short": True, "slippage_bps": "2", "price_step": "0.01"}, {}),
        (TURNING, {"allow_short": True}, {}),
    ],
    ids=["defaults", "costs", "steps", "guards", "regrouped", "both ways", "turning"],
)
async def test_a_session_over_a_replay_gives_the_backtests_trades(
    trader: Any, bars: Any, graph: Any, settings_of_run: dict[str, Any], parameters: dict[str, str]
) -> None:
    compiled = compile_strategy(graph).artefact
    assert compiled is not None
    expected = backtest(compiled, bars, RunSettings.parse(settings_of_run), parameters)
    assert len(expected.trades) > 3

    ada = await trader()
    session = await ada.started(graph, "AAPL", settings=settings_of_run, parameters=parameters)
    session = await ada.at_tick(session, 4 * len(bars))

    assert session.artefact_hash == compiled.hash
    assert session.equity == fixed.text(expected.final_equity)
    assert (session.bars, session.warmup_bars) == (expected.bars, expected.warmup_bars)
    got = [as_trade(trade) for trade in await ada.trades(session, size=7)]
    assert got == [
        (
            trade.side,
            trade.quantity,
            trade.entry_ts,
            trade.entry_price,
            trade.exit_ts,
            trade.exit_price,
            trade.fees,
            trade.pnl,
            trade.exit_reason,
            trade.ambiguous,
        )
        for trade in expected.trades
    ]
    closed = [trade for trade in expected.trades if trade.exit_ts is not None]
    assert session.total_trades == len(closed)
    assert session.winning_trades == sum((trade.pnl or 0) > 0 for trade in closed)
    assert session.realized_pnl == fixed.text(sum(trade.pnl or 0 for trade in closed))


async def test_trades_that_hang_on_the_assumed_path_are_marked_alike(trader: Any, bars: Any) -> None:
    tight = drawing(
        {
            "p": "price",
            "c": ("compare", {"op": ">", "value": 0}),
            "b": "buy",
            "stop_loss": ("stop_loss", {"percent": 1}),
            "take_profit": ("take_profit", {"percent": 1}),
        },
        "p>c.a c>b",
    )
    compiled = compile_strategy(tight).artefact
    assert compiled is not None
    expected = backtest(compiled, bars, RunSettings())
    assert {trade.ambiguous for trade in expected.trades} == {True, False}
    ada = await trader()
    session = await ada.started(tight, "AAPL")
    await ada.at_tick(session, 4 * len(bars))
    got = await ada.trades(session)
    assert [trade.ambiguous for trade in got] == [trade.ambiguous for trade in expected.trades]
    assert [trade.pnl for trade in got if trade.pnl] == [
        fixed.text(trade.pnl) for trade in expected.trades if trade.pnl is not None
    ]


@pytest.mark.parametrize("graph", [GUARDED, BOTH_WAYS], ids=["guards", "both ways"])
async def test_events_of_a_replay_are_the_backtests_events(trader: Any, bars: Any, graph: Any) -> None:
    compiled = compile_strategy(graph).artefact
    assert compiled is not None
    expected = backtest(compiled, bars, RunSettings(allow_short=True))
    ada = await trader()
    session = await ada.started(graph, "AAPL", settings={"allow_short": True})
    session = await ada.at_tick(session, 4 * len(bars))
    assert session.last_sequence == len(expected.events)
    got = await ada.events(session, session.last_sequence)
    assert [(e.sequence, e.kind, e.price, e.quantity, e.fee, e.cash) for e in got] == [
        (
            int(e["number"]),
            int(e["kind"]),
            fixed.text(e["price"]),
            fixed.text(abs(e["quantity"])),
            fixed.text(e["fee"]),
            fixed.text(e["cash"]),
        )
        for e in expected.events
    ]
    sides = {"short" if e["quantity"] < 0 else "long" for e in expected.events if e["quantity"]}
    assert {e.side for e in got if e.kind == pb.SESSION_EVENT_KIND_ENTRY} == sides
    said = {e.reason for e in got if e.kind == pb.SESSION_EVENT_KIND_NOTICE}
    assert said == ({"crossed"} if graph is BOTH_WAYS else set())


@pytest.mark.parametrize("interval", ["tick", "1h"])
async def test_an_interval_that_the_bars_cannot_serve_is_named(trader: Any, bars: Any, interval: str) -> None:
    ada = await trader()
    probe = await ada.started(GUARDED, "AAPL")
    await ada.at_tick(probe, 4 * len(bars))  # the feed's bars are there to be looked at
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ada.create(GUARDED, "AAPL", settings={"interval": interval})
    assert list(violations(caught.value)) == ["settings.interval"]
    daily = await ada.create(GUARDED, "AAPL", settings={"interval": "1d"})
    assert daily.settings.interval == "1d"


def as_trade(trade: pb.Trade) -> tuple[Any, ...]:
    closed = trade.HasField("exit_time")
    return (
        {pb.TRADE_SIDE_LONG: "long", pb.TRADE_SIDE_SHORT: "short"}[trade.side],
        fixed.parse(trade.quantity),
        trade.entry_time.ToNanoseconds(),
        fixed.parse(trade.entry_price),
        trade.exit_time.ToNanoseconds() if closed else None,
        fixed.parse(trade.exit_price) if closed else None,
        fixed.parse(trade.fees),
        fixed.parse(trade.pnl) if closed else None,
        trade.exit_reason if closed else None,
        trade.ambiguous,
    )
