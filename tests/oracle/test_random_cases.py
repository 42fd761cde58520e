"""The generator: the same seed gives the same case, cases are varied, and most of them are worth running."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from oracle.backtest import backtest
from oracle.document import INPUTS
from oracle.random_graphs import case


def test_a_seed_gives_one_case() -> None:
    assert case(7) == case(7)
    assert case(7).document != case(8).document


def test_every_node_type_and_setting_comes_up() -> None:
    cases = [case(seed) for seed in range(200)]
    types = Counter(node["type"] for c in cases for node in c.document["nodes"])
    assert set(types) == set(INPUTS)
    assert {c.settings.get("fill") for c in cases} == {None, "next_tick", "close"}
    assert {c.settings.get("path") for c in cases} == {None, "tradingview", "worst"}


def test_rows_are_good_bars() -> None:
    for seed in range(100):
        rows = case(seed).tape.rows
        assert all(low > 0 and low <= min(o, c) and max(o, c) <= high for _, o, high, low, c, _ in rows)
        assert all(later[0] > earlier[0] for earlier, later in pairwise(rows))


def test_most_cases_trade_and_few_hang_on_rounding() -> None:
    results = [backtest(c.document, c.tape.rows, c.settings, c.parameters) for c in map(case, range(150))]
    assert sum(bool(r.trades) for r in results) > 60
    assert sum(bool(r.fragile) for r in results) < 40
    reasons = {t.exit_reason for r in results for t in r.trades}
    exits = {"sell", "cover", "close", "reverse", "time_stop", "daily_loss_limit"}
    assert reasons >= {None, "stop_loss", "take_profit", "trailing_stop", "break_even"} | exits
    assert {t.side for r in results for t in r.trades} == {"long", "short"}
    refused = {reason for r in results for reason in r.rejections}
    assert refused >= {"expired", "cancelled", "no_stop", "no_entry", "max_trades_per_day", "already_short"}
    assert any(t.ambiguous for r in results for t in r.trades)
