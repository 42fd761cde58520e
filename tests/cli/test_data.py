"""`algotrade data` and backtests over a symbol's past, against a venue of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cli.answers import Call
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.platform.clock import utc

GAPPED = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw" / "binance_btcusdt_1h_2017-2024_gapped.csv.gz"
HOUR, SYMBOL = 3600, "BTC-USD"
START = 1_700_000_000 // (1500 * HOUR) * 1500 * HOUR
TEMPLATE = Path(__file__).resolve().parents[2] / "services/algotrade/strategy/templates/sma_cross.json"
Algotrade = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def venue() -> AsyncIterator[FakeCoinbase]:
    async with FakeCoinbase() as venue:
        wave = (100, 102, 104, 103, 101, 99, 97, 98)
        venue.candles[SYMBOL] = [
            [START + at * HOUR, price - 2, price + 2, price, price + 1, 1.5]
            for at, price in ((at, wave[at % 8]) for at in range(1500))
            if at not in (7, 8)
        ]
        yield venue


@pytest.fixture
def algotrade(venue: FakeCoinbase, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Algotrade:
    """Run a command in a thread, with a loop of its own, while the venue answers in ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALGOTRADE_COINBASE_REST_URL", venue.rest_url)

    async def run(*arguments: str) -> tuple[int, Any]:
        answer = await asyncio.to_thread(call, *arguments, "--json")
        return answer.code, json.loads(answer.out) if answer.out else None

    return run


def hour(number: int) -> str:
    return utc((START + number * HOUR) * 10**9).isoformat()


def damage_only_file(folder: Path) -> Path:
    [file] = folder.glob(".algotrade/history/coinbase/*/*/*.parquet")
    file.write_bytes(b"PAR1 no more")
    return file


async def test_a_range_is_downloaded_listed_verified_and_backtested(
    algotrade: Algotrade, venue: FakeCoinbase, tmp_path: Path
) -> None:
    wanted = ("--from", hour(0), "--to", hour(100))
    code, answer = await algotrade("data", "download", SYMBOL, *wanted)
    assert (code, answer["bars"], answer["fetched"], answer["requests"]) == (0, 98, 1498, 5)
    code, answer = await algotrade("data", "download", SYMBOL, *wanted)
    assert (code, answer["bars"], answer["requests"]) == (0, 98, 0)
    code, answer = await algotrade("data", "list")
    [listed] = answer["data"]
    assert (listed["provider"], listed["symbol"], listed["bar"], listed["files"]) == ("coinbase", SYMBOL, "1h", 1)

    values = ("--set", "fast=2", "--set", "slow=3")
    code, answer = await algotrade("backtest", str(TEMPLATE), "--symbol", SYMBOL, *wanted, *values)
    assert (code, answer["bars"]) == (0, 98)
    assert len(answer["trades"]) > 5
    source = {"provider": "coinbase", "symbol": SYMBOL, "bar": "1h"}
    times = {"first": hour(0).replace("+00:00", "Z"), "last": hour(99).replace("+00:00", "Z")}
    assert answer["source"] == source | times
    code, again = await algotrade("backtest", str(TEMPLATE), "--symbol", SYMBOL, *wanted, *values)
    assert again["data_hash"] == answer["data_hash"]
    assert len(venue.requests) == 5

    file = damage_only_file(tmp_path)
    code, answer = await algotrade("data", "verify")
    assert code == 1
    assert [one["path"] for one in answer["damaged"]] == [str(file.relative_to(tmp_path))]
    code, answer = await algotrade("data", "verify", "--repair")
    assert code == 0
    code, answer = await algotrade("data", "verify")
    assert (code, answer["files"], answer["damaged"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("data", "download", SYMBOL, "--from", "soon"), "invalid_time"),
        (("data", "download", SYMBOL, "--from", hour(5), "--to", hour(5)), "invalid_time"),
        (("data", "download", SYMBOL, "--from", hour(0), "--bar", "7m"), "invalid_bar"),
        (("data", "download", "../x", "--from", hour(0), "--to", hour(1)), "invalid_symbol"),
        (("data", "download", SYMBOL, "--from", "1971-01-01", "--bar", "1m"), "too_much"),
        (("data", "download", SYMBOL, "--from", hour(0), "--provider", "nowhere"), "unknown_provider"),
        (("data", "download", SYMBOL, "--from", hour(0), "--provider", "own"), "unknown_provider"),
        (("data", "download", "AAPL", "--from", hour(0), "--provider", "finnhub"), "no_key"),
        (("data", "import", "absent.csv", "--symbol", "X"), "not_found"),
        (("data", "import", "absent.csv", "--symbol", "X", "--column", "timestamp"), "invalid_column"),
        (("backtest", str(TEMPLATE), "--symbol", "NONE", "--provider", "own", "--from", hour(0)), "no_bars"),
    ],
)
async def test_what_cannot_be_is_said(algotrade: Algotrade, arguments: tuple[str, ...], code: str) -> None:
    exit_code, answer = await algotrade(*arguments)
    assert (exit_code, answer["error"]["code"]) == (1, code)


@pytest.mark.parametrize("arguments", [(), ("--symbol", SYMBOL), ("x.csv", "--from", "2024-01-01")])
async def test_half_a_choice_of_bars_is_a_wrong_call(algotrade: Algotrade, arguments: tuple[str, ...]) -> None:
    assert await algotrade("backtest", str(TEMPLATE), *arguments) == (2, None)


async def test_a_refusal_of_the_venue_is_told_in_its_words(algotrade: Algotrade, venue: FakeCoinbase) -> None:
    venue.answers += [403]
    code, answer = await algotrade("data", "download", SYMBOL, "--from", hour(0), "--to", hour(1))
    assert (code, answer["error"]["code"]) == (1, "venue_refused")
    assert "403" in answer["error"]["message"]


async def test_own_bars_of_any_columns_are_judged_kept_and_backtested(algotrade: Algotrade, tmp_path: Path) -> None:
    lines = [f"{START + at * HOUR},{100 + at % 7},{110 + at % 7},{90 + at % 7},{101 + at % 7},5" for at in range(50)]
    lines[10], lines[11] = lines[11], lines[10]
    lines[20] = lines[20].replace(str(START + 20 * HOUR), str(START + 20 * HOUR + 14))
    del lines[30:33]
    lines.append(lines[-1])
    lines.append(f"{START + 60 * HOUR},-1,2,3,4,5")
    (tmp_path / "mine.csv").write_text("# mine\n# all mine\nwhen,o,h,l,c,v\n" + "\n".join(lines))
    columns = [
        f"--column={ours}={theirs}"
        for ours, theirs in zip(
            ("timestamp", "open", "high", "low", "close", "volume"), ("when", "o", "h", "l", "c", "v"), strict=True
        )
    ]
    code, answer = await algotrade("data", "import", "mine.csv", "--symbol", "MINE", *columns)
    assert code == 0
    assert (answer["bars"], answer["order_breaks"], answer["duplicates"]) == (49, 1, 1)
    assert (answer["off_grid_total"], answer["holes_total"], answer["missing"]) == (1, 2, 13)
    assert answer["bad_rows"] == [
        {"line": 51, "reason": "timestamp repeats that of line 50"},
        {"line": 52, "reason": "open -1 is not above zero"},
    ]
    assert answer["kept"] == 46
    own = ("--symbol", "MINE", "--provider", "own", "--from", hour(0), "--to", hour(99))
    code, answer = await algotrade("backtest", str(TEMPLATE), *own, "--set", "fast=2", "--set", "slow=3")
    assert (code, answer["bars"]) == (0, 46)


@pytest.mark.data
async def test_a_real_file_with_outages_is_told_as_it_is(algotrade: Algotrade) -> None:
    if not GAPPED.exists():
        pytest.skip(f"no file of bars at {GAPPED}")
    code, answer = await algotrade(
        "data", "import", str(GAPPED), "--symbol", "X", "--column", "timestamp=date", "--check"
    )
    assert code == 0
    found = {name: answer[name] for name in ("bars", "holes_total", "off_grid_total", "duplicates", "silent", "kept")}
    assert found == {
        "bars": 55_765, "holes_total": 28, "off_grid_total": 43, "duplicates": 0, "silent": 4, "kept": 0
    }  # fmt: skip
