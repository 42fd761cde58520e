"""Why a strategy did what it did."""

from __future__ import annotations

import pytest
from graphs import drawing
from series import at_closes

from algotrade.engine.backtest import backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.explain import Explanation, explain
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings, SettingsError

DOCUMENT = drawing(
    {
        "close": "price",
        "mean": ("sma", {"timeperiod": 2}),
        "up": "crossover",
        "cheap": ("compare", {"op": "<", "value": 200}),
        "both": "and",
        "down": "crossunder",
        "buy": "buy",
        "sell": "sell",
    },
    "close>mean close>up.a mean>up.b close>cheap.a up>both cheap>both both>buy close>down.a mean>down.b down>sell",
)
BARS = at_closes(10, 9, 12, 12, 8, 250, 250)


def at(bar: int, settings: RunSettings | None = None, bars: Records = BARS) -> Explanation:
    probed = compile_strategy(DOCUMENT, probe=True)
    assert probed.strategy is not None
    assert probed.artefact is not None
    return explain(probed.strategy, probed.artefact, bars, settings or RunSettings(), None, int(bars["ts"][bar]))


def sentence(explanation: Explanation, node: str) -> str:
    return next(a.sentence for a in explanation.actions if a.node_id == node)


def test_every_port_at_a_bar() -> None:
    explanation = at(2)
    assert (explanation.bar, explanation.warmup_bars) == (2, 2)
    assert explanation.ports["mean", "value"] == 10.5
    assert explanation.ports["up", "value"] is True
    assert explanation.ports["down", "value"] is False


def test_what_acted_says_why_and_where_it_filled() -> None:
    assert (
        sentence(at(2), "buy") == "buy 'buy' acted, because crossover 'up' is true (a = 12, b = 10.5); it filled at 12."
    )
    assert "it filled at 250" in sentence(at(4), "sell")


def test_what_did_not_act_names_what_blocked_it() -> None:
    assert "because crossover 'up' is false (a = 12, b = 12)" in sentence(at(3), "buy")
    assert "because compare < 'cheap' is false (a = 250, value = 200.0)" in sentence(at(5), "buy")


def test_the_warm_up_is_told() -> None:
    said = sentence(at(0), "buy")
    assert "when is unknown" in said
    assert "warms up for 2 more bars" in said


def test_an_order_at_the_end_of_the_data() -> None:
    assert sentence(at(2, bars=BARS[:3]), "buy").endswith("the data end before it fills.")


def test_a_refused_order_says_so() -> None:
    explanation = at(2, RunSettings(min_notional=10**15))
    action = next(a for a in explanation.actions if a.node_id == "buy")
    assert (action.acted, action.rejection) == (False, "below_min_notional")


def test_grouped_bars_and_times_inside_a_bar() -> None:
    explanation = at(3, RunSettings(interval="5m"))
    assert explanation.ts == 0
    assert explanation.ports["close", "value"] == 8


def test_a_time_without_a_bar() -> None:
    probed = compile_strategy(DOCUMENT, probe=True)
    assert probed.strategy is not None
    assert probed.artefact is not None
    with pytest.raises(SettingsError, match="no bar"):
        explain(probed.strategy, probed.artefact, BARS[2:], RunSettings(), None, 60 * 10**9)


def test_a_probed_build_trades_as_the_plain_one() -> None:
    plain, probed = compile_strategy(DOCUMENT).artefact, compile_strategy(DOCUMENT, probe=True).artefact
    assert plain is not None
    assert probed is not None
    assert plain.hash != probed.hash
    results = [backtest(artefact, BARS, RunSettings()) for artefact in (plain, probed)]
    assert results[0].trades == results[1].trades
    assert len(results[0].trades) == 1
