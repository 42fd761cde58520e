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


# ---------------------------------------------------------------------- every kind of action

MANY = drawing(
    {
        "p": "price",
        "nine": ("compare", {"op": "==", "value": 9}),
        "ten": ("compare", {"op": "==", "value": 10}),
        "twelve": ("compare", {"op": "==", "value": 12}),
        "high": ("compare", {"op": ">=", "value": 20}),
        "limit": ("buy", {"order_type": "limit", "limit_offset_percent": 10, "expire_bars": 2}),
        "sh": "short",
        "turn": "reverse",
        "say": ("notify", {"message": "ten", "throttle_bars": 3}),
        "block": "no_entry",
        "clock": ("time_stop", {"bars": 2}),
    },
    "p>nine.a p>ten.a p>twelve.a p>high.a nine>limit ten>sh twelve>turn ten>say high>block",
)


def many(bar: int, *closes: float) -> Explanation:
    probed = compile_strategy(MANY, probe=True)
    assert probed.strategy is not None, probed.diagnostics
    assert probed.artefact is not None
    bars = at_closes(*closes)
    return explain(probed.strategy, probed.artefact, bars, RunSettings(allow_short=True), None, int(bars["ts"][bar]))


def test_an_entry_that_waits_says_where() -> None:
    told = sentence(many(0, 9, 9.5, 9.5), "limit")
    assert (
        told
        == "buy 'limit' acted, because compare == 'nine' is true (a = 9, value = 9.0); its limit order waits at 8.1."
    )


def test_an_order_that_was_given_up_says_why() -> None:
    assert sentence(many(2, 9, 9.5, 9.5), "limit").endswith("; its order that waited was given up: expired.")


def test_a_second_entry_names_the_side_that_stands() -> None:
    explanation = many(1, 10, 10, 11)
    action = next(a for a in explanation.actions if a.node_id == "sh")
    assert (action.acted, action.rejection) == (False, "already_short")


def test_a_reverse_tells_of_both_halves() -> None:
    assert sentence(many(1, 10, 12, 11), "turn").endswith("; it filled at 11 and entered long.")
    assert sentence(many(0, 12, 11), "turn").startswith("reverse 'turn' had nothing to do, although")


def test_a_notice_and_its_silence() -> None:
    assert (
        sentence(many(0, 10, 10), "say")
        == "notify 'say' spoke because compare == 'ten' is true (a = 10, value = 10.0)."
    )
    assert "stayed silent" in sentence(many(1, 10, 10), "say")


def test_what_blocks_entries_is_named() -> None:
    nodes = {"p": "price", "on": ("compare", {"op": ">", "value": 1}), "late": ("compare", {"op": ">", "value": 5})}
    document = drawing(nodes | {"b": "buy", "n": "no_entry"}, "p>on.a p>late.a on>b late>n")
    probed = compile_strategy(document, probe=True)
    assert probed.strategy is not None
    assert probed.artefact is not None
    explanation = explain(probed.strategy, probed.artefact, at_closes(9, 9), RunSettings(), None, 0)
    assert sentence(explanation, "b") == (
        "buy 'b' was refused at the close: no_entry; compare > 'late' is true (a = 9, value = 5.0)."
    )


def test_a_risk_node_that_closes_is_told_too() -> None:
    assert sentence(many(2, 10, 11, 11, 7), "clock") == "time_stop 'clock' closes the position; it filled at 7."
