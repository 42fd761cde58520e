from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cli.answers import Call
from graphs import drawing

from algotrade.cli.plot import extremes
from algotrade.engine.compile import compile_strategy
from algotrade.platform.bars_file import read_bars

KEYS = [
    "artefact", "data_hash", "bars", "warmup_bars", "final_equity", "trades", "rejections", "metrics",
    "monthly_returns", "timing",
]  # fmt: skip


def failed(call: Call, *arguments: object) -> dict[str, Any]:
    """The error as JSON; without --json it is one line on standard error."""
    answer = call("backtest", *arguments, "--json")
    assert answer.code == 1
    told = call("backtest", *arguments)
    error: dict[str, Any] = answer.json["error"]
    assert (told.code, told.out, told.err) == (1, "", f"error: {error['message']}\n")
    return error


def test_the_answer_to_a_program(call: Call, strategy: Path, bars: Path) -> None:
    answer = call("backtest", strategy, bars, "--json")
    assert answer.code == 0
    found = answer.json
    assert list(found) == KEYS
    assert found["artefact"] == compile_strategy(strategy.read_bytes()).artefact.hash  # type: ignore[union-attr]
    assert found["data_hash"] == read_bars(bars).data_hash
    assert (found["bars"], found["warmup_bars"]) == (5, 0)
    # 2 x 11 = 22 with a fee of 0.022, 2 x 12 = 24 with a fee of 0.024
    assert found["final_equity"] == "10001.954"
    assert found["trades"] == [
        {
            "side": "long",
            "quantity": "2",
            "entry_time": "2024-01-03T00:00:00Z",
            "entry_price": "11",
            "exit_time": "2024-01-05T00:00:00Z",
            "exit_price": "12",
            "fees": "0.046",
            "pnl": "1.954",
            "exit_reason": "sell",
            "ambiguous": False,
        }
    ]
    assert found["rejections"] == {}
    assert found["metrics"]["net_profit"] == "1.954"
    assert found["metrics"]["exposure"] == 40.0
    assert found["metrics"]["profit_factor"] is None
    assert list(found["timing"]) == ["compile_ms", "run_ms", "ns_per_bar"]


def test_an_open_trade_has_no_exit(call: Call, strategy: Path, bars: Path) -> None:
    found = call("backtest", strategy, bars, "--json", "--set", "exit=99.5").json
    trade = found["trades"][0]
    assert [trade[key] for key in ("exit_time", "exit_price", "pnl", "exit_reason")] == [None] * 4
    assert trade["fees"] == "0.022"
    assert found["final_equity"] == "10001.978"


def test_settings_reach_the_run(call: Call, strategy: Path, bars: Path) -> None:
    found = call("backtest", strategy, bars, "--json", "--cash", "100", "--fee-bps", "0", "--slippage-bps", "100").json
    assert found["trades"][0]["entry_price"] == "11.11"
    assert found["trades"][0]["exit_price"] == "11.88"
    assert found["final_equity"] == "101.54"
    poor = call("backtest", strategy, bars, "--json", "--cash", "10").json
    assert poor["trades"] == []
    assert poor["rejections"] == {"insufficient_cash": 1}
    close = call("backtest", strategy, bars, "--json", "--fill", "close", "--fee-bps=0").json
    assert close["optimistic"] is True
    assert (close["trades"][0]["entry_time"], close["trades"][0]["entry_price"]) == ("2024-01-02T00:00:00Z", "10")


def test_a_coarser_interval_keeps_a_curve_of_all_bars(call: Call, strategy: Path, tmp_path: Path) -> None:
    rows = [f"2024-01-0{day}T{hour:02}:00:00Z,10,10,10,10,1" for day in (1, 2, 3) for hour in (0, 12)]
    path = tmp_path / "half_days.csv"
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows))
    found = call("backtest", strategy, path, "--json", "--interval", "1d").json
    assert found["bars"] == 2  # the last day is not over
    assert found["trades"][0]["entry_time"] == "2024-01-02T00:00:00Z"
    assert found["metrics"]["exposure"] == pytest.approx(100 * 4 / 6)


def test_parquet_gives_the_same_answer(call: Call, strategy: Path, bars: Path, tmp_path: Path) -> None:
    pl.read_csv(bars, try_parse_dates=True).write_parquet(tmp_path / "bars.parquet")
    answers = [call("backtest", strategy, path, "--json").json for path in (bars, tmp_path / "bars.parquet")]
    for answer in answers:
        del answer["timing"]
    assert answers[0] == answers[1]


def test_the_answer_to_a_person(call: Call, strategy: Path, bars: Path, tmp_path: Path) -> None:
    chart = tmp_path / "chart.html"
    answer = call("backtest", strategy, bars, "--plot", chart)
    assert (answer.code, answer.err) == (0, "")
    for part in ("Two <b>pieces</b>", "2024-01-03", "1.95", "sharpe", "mean return / deviation", f"Written: {chart}"):
        assert part in answer.out
    page = chart.read_text()
    assert "https://cdn" not in page.split("<body>")[0]
    assert "Plotly.newPlot" in page
    assert "Two <b>pieces" not in page
    quiet = call("backtest", strategy, bars, "--cash", "10", "--fill", "close")
    assert "No trades." in quiet.out
    assert "Rejections: insufficient_cash 1" in quiet.out
    assert "optimistic" in quiet.out


def test_shorts_and_notices(call: Call, tmp_path: Path) -> None:
    nodes: dict[str, Any] = {"p": "price", "on": ("compare", {"op": ">=", "value": 10}), "off": "not"}
    nodes |= {"s": ("short", {"size_mode": "quantity", "size": 2}), "c": ("cover", {"portion": 50}), "n": "notify"}
    graph = tmp_path / "short.json"
    graph.write_text(json.dumps(drawing(nodes, "p>on.a on>off on>s off>c on>n")))
    path, chart = tmp_path / "falling.csv", tmp_path / "chart.html"
    prices = (10, 10, 8, 8, 7)
    rows = [f"2024-01-0{day},{price},{price},{price},{price},1" for day, price in enumerate(prices, start=1)]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows))
    refused = call("backtest", graph, path, "--json")
    assert (refused.code, refused.json["error"]["field"]) == (1, "allow_short")
    answer = call("backtest", graph, path, "--json", "--allow-short", "--fee-bps", "0").json
    told = [(t["side"], t["quantity"], t["exit_price"], t["pnl"], t["exit_reason"]) for t in answer["trades"]]
    assert told == [("short", "1", "8", "2", "cover"), ("short", "0.5", "7", "1.5", "cover"),
                    ("short", "0.5", None, None, None)]  # fmt: skip
    assert (answer["final_equity"], answer["notices"]) == ("10005", {"n": 2})
    assert answer["rejections"] == {"already_short": 1}
    table = call("backtest", graph, path, "--allow-short", "--plot", chart)
    assert (table.code, table.err) == (0, "")
    assert "Notices: n 2" in table.out
    points = re.search(r'"symbol":\["triangle-down".*?\]', chart.read_text())
    assert points, "a short's entry points down"


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_tables_of_trades_and_curves(call: Call, strategy: Path, bars: Path, tmp_path: Path, ending: str) -> None:
    trades, equity = tmp_path / f"trades{ending}", tmp_path / f"equity{ending}"
    answer = call("backtest", strategy, bars, "--json", "--trades", trades, "--equity", equity)
    assert answer.code == 0
    readers = {
        ".csv": lambda path: pl.read_csv(path, infer_schema=False),
        ".json": pl.read_json,
        ".parquet": pl.read_parquet,
    }
    read = readers[ending]
    (trade,) = read(trades).to_dicts()
    told = answer.json["trades"][0]
    assert list(trade) == list(told)
    assert Decimal(trade["pnl"]) == Decimal(told["pnl"])
    assert str(trade["ambiguous"]).lower() == "false"
    curve = read(equity)
    assert curve.columns == ["time", "close", "equity", "drawdown", "benchmark"]
    assert float(curve["equity"][-1]) == pytest.approx(float(answer.json["final_equity"]))
    assert float(curve["benchmark"][-1]) == pytest.approx(
        10_000 * (1 + answer.json["metrics"]["buy_and_hold_return"] / 100)
    )
    if ending == ".parquet":
        assert curve.schema["time"] == pl.Datetime("ns", "UTC")


def test_tables_that_cannot_be_written(call: Call, strategy: Path, bars: Path, tmp_path: Path) -> None:
    assert failed(call, strategy, bars, "--trades", tmp_path / "trades.xlsx")["code"] == "unknown_format"
    assert failed(call, strategy, bars, "--equity", tmp_path / "nowhere" / "e.csv")["code"] == "unwritable"


def test_months_are_told(call: Call, strategy: Path, bars: Path) -> None:
    found = call("backtest", strategy, bars, "--json").json
    assert list(found["monthly_returns"]) == ["2024-01"]
    assert found["monthly_returns"]["2024-01"] == pytest.approx(found["metrics"]["total_return"])
    assert "2024  0.0" in call("backtest", strategy, bars).out


def test_bad_rows_end_the_run_unless_skipped(call: Call, strategy: Path, bars: Path) -> None:
    bars.write_text(bars.read_text() + "2024-01-06,x,1,1,1,1\n2024-01-05,1,1,1,1,1\n")
    error = failed(call, strategy, bars)
    assert error["code"] == "bad_rows"
    assert error["bad_rows_total"] == 2
    assert error["bad_rows"] == [
        {"line": 7, "reason": "open 'x' is not a decimal number"},
        {"line": 8, "reason": "timestamp repeats that of line 6"},
    ]
    skipped = call("backtest", strategy, bars, "--skip-bad", "--json").json
    assert list(skipped) == [*KEYS, "bad_rows"]
    assert skipped["bad_rows"] == error["bad_rows"]
    assert skipped["final_equity"] == "10001.954"
    assert "line 7: open 'x'" in call("backtest", strategy, bars, "--skip-bad").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--fee-bps", "ten"], "invalid_setting", "--fee-bps: 'ten'"),
        (["--fee-bps", "0.000000001"], "invalid_setting", "--fee-bps"),
        (["--cash", "-1"], "invalid_setting", "--cash: -1"),
        (["--cash", "nan"], "invalid_setting", "--cash"),
        (["--fill", "never"], "invalid_setting", "--fill: 'never'"),
        (["--interval", "7m"], "invalid_setting", "--interval: '7m'"),
        (["--interval", "1h"], "invalid_setting", "--interval: 1h"),
        (["--interval", "tick"], "invalid_setting", "--interval"),
        (["--path", "best"], "invalid_setting", "--path: 'best'"),
        (["--day-timezone", "Mars/Base"], "invalid_setting", "--day-timezone"),
        (["--max-position-percent", "101"], "invalid_setting", "--max-position-percent"),
        (["--set", "exit"], "invalid_parameter", "--set exit"),
        (["--set", "exit=much"], "invalid_parameter", "--set exit: 'much'"),
        (["--set", "exit=nan"], "invalid_parameter", "--set exit"),
        (["--set", "exit=101"], "invalid_parameter", "--set exit: 101"),
        (["--set", "exit=1", "--set", "exit=2"], "invalid_parameter", "given twice"),
        (["--set", "enter=1"], "unknown_parameter", "it has exit"),
        (["--plot", "/absent/folder/chart.html"], "unwritable", "/absent/folder"),
    ],
)
def test_wrong_options_are_named(
    call: Call, strategy: Path, bars: Path, arguments: list[str], code: str, words: str
) -> None:
    error = failed(call, strategy, bars, *arguments)
    assert error["code"] == code
    assert words in error["message"]


def test_files_that_cannot_be_used(call: Call, strategy: Path, bars: Path, tmp_path: Path) -> None:
    assert failed(call, tmp_path / "absent.json", bars)["code"] == "not_found"
    assert failed(call, tmp_path, bars)["code"] == "unreadable"
    assert failed(call, strategy, tmp_path / "absent.csv")["code"] == "not_found"
    assert failed(call, strategy, strategy)["code"] == "missing_column"
    (tmp_path / "latin.csv").write_bytes(b"timestamp,open,high,low,close,volume\n2024-01-01,1,1,1,1,\xe9\n")
    assert failed(call, strategy, tmp_path / "latin.csv")["code"] == "not_utf8"
    (tmp_path / "none.csv").write_bytes(b"")
    assert failed(call, strategy, tmp_path / "none.csv")["code"] == "empty_file"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"nodes": [\n  1,]', "invalid_json", "line 2 column"),
        ("", "invalid_json", "line 1 column 1"),
        ("\xff", "invalid_json", ""),
        ("[]", "invalid_document", "not a JSON object"),
        ('{"nodes": 7}', "invalid_document", "nodes"),
        ('{"nodes": []}', "no_action", "no action"),
        ('{"nodes": [{"id": "n", "type": "wizard"}]}', "unknown_node_type", "wizard"),
        (" " * (1 << 20) + "{}", "document_too_large", ""),
    ],
)
def test_drawings_that_cannot_be_compiled(
    call: Call, bars: Path, tmp_path: Path, text: str, code: str, words: str
) -> None:
    path = tmp_path / "drawing.json"
    path.write_bytes(text.encode("latin-1"))
    answer = call("backtest", path, bars, "--json")
    assert answer.code == 1
    assert list(answer.json) == ["diagnostics"]
    found = {item["code"]: item for item in answer.json["diagnostics"]}
    assert list(found[code]) == ["severity", "code", "message", "node_id", "edge_id", "param"]
    assert words in found[code]["message"]
    told = call("backtest", path, bars)
    assert (told.code, told.out) == (1, "")
    assert f"[{code}]" in told.err


def test_warnings_do_not_stop_a_run(call: Call, strategy: Path, bars: Path) -> None:
    document = json.loads(strategy.read_text())
    document["nodes"].append({"id": "lonely", "type": "volume"})
    strategy.write_text(json.dumps(document))
    found = call("backtest", strategy, bars, "--json").json
    assert [(item["severity"], item["node_id"]) for item in found["warnings"]] == [("warning", "lonely")]
    assert "warning: node 'lonely'" in call("backtest", strategy, bars).out


def test_many_trades_are_shown_in_part(call: Call, strategy: Path, tmp_path: Path) -> None:
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 4, 9), "1d", eager=True)
    price = [10.0, 11.0, 12.5, 11.0] * (len(days) // 4)
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), price)
    pl.DataFrame({"timestamp": days[: len(price)], **columns}).write_parquet(tmp_path / "bars.parquet")
    answer = call("backtest", strategy, tmp_path / "bars.parquet")
    assert "5 earlier trades not shown" in answer.out


def test_a_thinned_line_keeps_its_extremes() -> None:
    values = pl.Series(range(100_000)).cast(pl.Float64).to_numpy().copy()
    values[77_777] = -5.0
    kept = extremes(values, 1_000)
    assert len(kept) <= 1_000
    assert 77_777 in kept
    assert (kept[0], kept[-1]) == (0, 99_999)
    assert extremes(values[:10], 1_000).tolist() == list(range(10))
