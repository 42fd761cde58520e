from __future__ import annotations

import contextlib
import gzip
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.platform import bars_file, table_file
from algotrade.platform.bars_file import BarFileError, read_bars, read_trades
from algotrade.platform.text_columns import parse_prices, parse_sizes, parse_times, time_ns

HEADER = "timestamp,open,high,low,close,volume\n"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def market_data() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the market data beside the checkout (../shared/data)")
    return folder


def write(folder: Path, text: str | bytes, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def bad_lines(path: Path) -> dict[int, str]:
    with pytest.raises(BarFileError) as raised:
        read_bars(path)
    assert raised.value.code == "bad_rows"
    return {row.line: row.reason for row in raised.value.bad_rows}


def refusal(path: Path) -> BarFileError:
    with pytest.raises(BarFileError) as raised:
        read_bars(path)
    assert str(path) in str(raised.value)
    return raised.value


def test_reads_exact_bars_in_any_column_and_row_order(tmp_path: Path) -> None:
    text = (
        "volume, Close,low,high,open,timestamp,note\n"
        "5,2.5,0.00000001,3,2,2020-01-03,later\n"
        "0,123456789.12345678,1,123456789.12345678,1,2020-01-02T00:00:00+01:00,first\n"
    )
    file = read_bars(write(tmp_path, text))
    first = int(datetime(2020, 1, 1, 23, tzinfo=UTC).timestamp()) * 10**9
    assert file.bars.tolist() == [
        (first, 100000000, 12345678912345678, 100000000, 12345678912345678, 0.0),
        (first + 25 * 3600 * 10**9, 200000000, 300000000, 1, 250000000, 5.0),
    ]
    assert file.bad_rows == ()


@pytest.mark.parametrize(
    "stamp",
    [
        "2024-02-29T12:34:56.789Z",
        "2024-02-29 12:34:56.789",
        "2024-02-29T12:34:56.789000000",
        "2024-02-29T18:04:56.789+05:30",
        "2024-02-29T07:34:56.789-0500",
        "20240229T123456.789Z",
        "2024-02-29t12:34:56,789z",
        "1709210096.789",
        "1709210096789",
        "1709210096789000",
        "1709210096789000000",
    ],
)
def test_one_moment_in_its_spellings(tmp_path: Path, stamp: str) -> None:
    quoted = f'"{stamp}"' if "," in stamp else stamp
    file = read_bars(write(tmp_path, f"{HEADER}{quoted},1,1,1,1,1\n"))
    assert file.bars["ts"].tolist() == [1709210096789000000]


def test_every_bad_row_is_reported_with_its_line(tmp_path: Path) -> None:
    rows = [
        "2020-01-01,1,2,1,2,0",  # 2, good: zero volume
        ",1,2,1,2,1",
        "2020-01-03,1,2,1,,1",
        "2020-01-04,1,2,1,x,1",
        "2020-01-05,1.123456789,2,1,2,1",
        "2020-01-06,1,2,0,2,1",
        "2020-01-07,-1,2,1,2,1",
        "2020-01-08,1,1,2,1,1",
        "2020-01-09,3,2,1,2,1",
        "2020-01-10,1,2,1,0.5,1",
        "2020-01-01T00:00:00Z,1,2,1,2,1",  # 12
        "2020-01-12,1,2,1,2,-1",
        "2020-01-13,1,2,1,2,nan",
        "2020-02-30,1,2,1,2,1",
        "2020-01-15,1,2,1,2,1,7",
        "2020-01-16,1,2,1",
        "20200117,1,2,1,2,1",
        "2020-01-18,1,inf,1,2,1",
        "99999999999999999999,1,2,1,2,1",
        "2020-01-20,1,2,1,2,1",  # 21, good
    ]
    path = write(tmp_path, HEADER + "\n".join(rows))
    bad = bad_lines(path)
    assert sorted(bad) == list(range(3, 21))
    assert bad[3] == "timestamp is empty"
    assert bad[4] == "close is empty"
    assert bad[5] == "close 'x' is not a decimal number"
    assert "more than 8 decimals" in bad[6]
    assert bad[7] == "low 0 is not above zero"
    assert bad[9] == "high is below low"
    assert bad[10] == "open is outside low to high"
    assert bad[11] == "close is outside low to high"
    assert bad[12] == "timestamp repeats that of line 2"
    assert bad[13] == "volume -1 is below zero"
    assert bad[16] == "7 fields where the header has 6"
    assert bad[17] == "close is empty, volume is empty"
    assert "may be a date or seconds" in bad[18]
    assert "outside the years" in bad[20]

    skipped = read_bars(path, skip_bad=True)
    assert len(skipped.bars) == 2
    assert [row.line for row in skipped.bad_rows] == list(range(3, 21))


def test_the_message_names_the_first_bad_lines(tmp_path: Path) -> None:
    with pytest.raises(BarFileError, match=r"7 bad row\(s\): line 2: .*; line 6: .*; and 2 more"):
        read_bars(write(tmp_path, HEADER + "x,1,1,1,1,1\n" * 7))


def test_blank_lines_and_quotes_keep_line_numbers(tmp_path: Path) -> None:
    for quote in ("", '"'):
        text = f"{HEADER}\n2020-01-01,{quote}1{quote},1,1,1,1\r\n\n2020-01-02,1,1,1,1,\n\n"
        assert bad_lines(write(tmp_path, text)) == {5: "volume is empty"}


def test_a_row_that_repeats_a_bad_row_is_good(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "2020-01-01,1,2,1,2,\n2020-01-01,1,2,1,2,1\n")
    assert list(bad_lines(path)) == [2]


def test_csv_gzip_and_parquet_of_the_same_bars_have_one_hash(tmp_path: Path) -> None:
    rows = ["2020-01-01T00:00:00Z,1.1,2.25,0.3,2,10.5", "2020-01-01T00:01:00Z,2,3,0.0000001,3,0"]
    text = HEADER + "\n".join(rows) + "\n"
    plain = read_bars(write(tmp_path, text))
    reversed_rows = read_bars(write(tmp_path, HEADER + "\n".join(reversed(rows)), "r.csv"))
    members = gzip.compress(text[:60].encode()) + gzip.compress(text[60:].encode())
    packed = read_bars(write(tmp_path, members, "bars.csv.gz"))
    stamps = [datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 1, tzinfo=UTC)]
    columns = {
        "volume": [10.5, 0.0],
        "timestamp": stamps,
        "open": [1.1, 2.0],
        "high": [2.25, 3.0],
        "low": [0.3, 1e-7],
        "close": [2, 3],
    }
    frame = pl.DataFrame(columns)
    others = [frame, frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None).dt.cast_time_unit("ms"))]
    others.append(frame.with_columns(pl.col("timestamp").dt.epoch("s"), pl.col("open").cast(pl.Decimal(20, 8))))
    others.append(frame.with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"), pl.col("high").cast(str)))
    hashes = {plain.data_hash, reversed_rows.data_hash, packed.data_hash}
    for index, other in enumerate(others):
        other.write_parquet(tmp_path / f"{index}.parquet")
        hashes.add(read_bars(tmp_path / f"{index}.parquet").data_hash)
    assert len(hashes) == 1
    moved = read_bars(write(tmp_path, text.replace("10.5", "10.25"), "m.csv"))
    assert moved.data_hash not in hashes


def test_a_price_of_parquet_is_its_shortest_decimal(tmp_path: Path) -> None:
    columns = {"open": 0.1 + 0.2, "high": 1.0, "low": 0.1, "close": 0.3, "volume": 1}
    pl.DataFrame({"timestamp": [0, 60], **{name: [value] * 2 for name, value in columns.items()}}).write_parquet(
        tmp_path / "bars.parquet"
    )
    bad = bad_lines(tmp_path / "bars.parquet")
    assert list(bad) == [1, 2]
    assert "0.30000000000000004' has more than 8 decimals" in bad[1]


def test_what_is_no_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / "absent.csv").code == "not_found"
    assert refusal(tmp_path).code == "unreadable"
    assert refusal(write(tmp_path, b"")).code == "empty_file"
    assert refusal(write(tmp_path, HEADER)).code == "empty_file"
    assert refusal(write(tmp_path, HEADER.encode() + b"2020-01-01,1,1,1,1,1\n\xff\xfe")).code == "not_utf8"
    assert "line 3" in str(refusal(tmp_path / "bars.csv"))
    missing = refusal(write(tmp_path, "timestamp,open,high,low\n1,1,1,1\n"))
    assert missing.code == "missing_column"
    assert "no column close, volume" in str(missing)
    assert refusal(write(tmp_path, "2020-01-01,1,1,1,1,1\n")).code == "missing_column"
    assert refusal(write(tmp_path, HEADER.replace("open", "close") + "1,1,1,1,1,1\n")).code == "missing_column"
    assert refusal(write(tmp_path, "open," + HEADER + "1,1,1,1,1,1,1\n")).code == "duplicate_column"
    assert refusal(write(tmp_path, b"PAR1 and nothing of it")).code == "unreadable"
    assert refusal(write(tmp_path, gzip.compress(b"x" * 100)[:20])).code == "unreadable"
    columns = {name: [[1]] for name in bars_file.BAR_COLUMNS}
    pl.DataFrame(columns).write_parquet(tmp_path / "lists.parquet")
    assert refusal(tmp_path / "lists.parquet").code == "wrong_type"
    with pytest.raises(BarFileError) as raised:
        read_bars(write(tmp_path, HEADER + "x,1,1,1,1,1\n"), skip_bad=True)
    assert raised.value.code == "no_good_rows"
    monkeypatch.setattr(table_file, "MAX_FILE_BYTES", 100)
    assert refusal(write(tmp_path, gzip.compress(b"1," * 10_000))).code == "too_large"
    assert refusal(write(tmp_path, b"1," * 10_000)).code == "too_large"


def test_a_header_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, HEADER.replace(",open", ",\ropen") + "1,1,1,1,1,1\n")).code == "unreadable"
    assert refusal(write(tmp_path, HEADER.replace("\n", "\r") + "1,1,1,1,1,1\r")).code in ("unreadable", "empty_file")


@given(st.text(alphabet='0123456789-:.,"TZ\n\r e\x00é', max_size=80), st.integers(0, 200), st.booleans())
def test_broken_files_give_bars_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, noise: str, at: int, skip_bad: bool
) -> None:
    good = HEADER + "".join(f"2024-01-{day:02},1.5,2,1,1.25,10\n" for day in range(1, 6))
    path = write(tmp_path_factory.getbasetemp(), good[:at] + noise + good[at:], "noise.csv")
    with contextlib.suppress(BarFileError):
        bars = read_bars(path, skip_bad=skip_bad).bars
        assert np.all(bars["low"] > 0)
        assert np.all((bars["low"] <= bars["open"]) & (bars["close"] <= bars["high"]))
        assert np.all(np.diff(bars["ts"]) > 0)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({name: list(range(1, 200)) for name in bars_file.BAR_COLUMNS}).write_parquet(tmp_path / "bars.parquet")
    data = (tmp_path / "bars.parquet").read_bytes()
    for cut in (len(data) // 2, len(data) - 3):
        assert refusal(write(tmp_path, data[:cut], "cut.parquet")).code == "unreadable"


def test_trades_become_ticks_in_order(tmp_path: Path) -> None:
    text = "size,timestamp,price,id\n2,2020-01-01T00:00:01Z,11,b\n1,2020-01-01,10.5,a\n3,2020-01-01T00:00:01Z,12,c\n"
    file = read_trades(write(tmp_path, text))
    start = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    assert file.ticks.tolist() == [
        (start, 1050000000, 1.0, 1, 0, 0),
        (start + 10**9, 1100000000, 2.0, 2, 0, 0),
        (start + 10**9, 1200000000, 3.0, 3, 0, 0),
    ]
    with pytest.raises(BarFileError, match="line 3: price -1 is not above zero"):
        read_trades(write(tmp_path, "timestamp,price,size\n1,1,1\n2,-1,1\n"))


decimals = st.decimals(min_value=Decimal("0.00000001"), max_value=Decimal("46116860184.27387904"), places=8)


@given(st.lists(decimals, min_size=1, max_size=20), st.sampled_from(["f", "E", "s"]))
def test_prices_are_exact(values: list[Decimal], spelling: str) -> None:
    texts = [str(value) if spelling == "s" else format(value, spelling) for value in values]
    parsed = parse_prices(pl.Series("price", texts))
    assert not parsed.bad
    assert parsed.values.tolist() == [int(value.scaleb(8)) for value in values]


@given(st.lists(st.text(alphabet="0123456789.-+eE _", max_size=12), max_size=20))
def test_prices_are_what_decimal_reads_or_bad(texts: list[str]) -> None:
    parsed = parse_prices(pl.Series("price", texts, dtype=pl.String))
    for row, text in enumerate(texts):
        if row in parsed.bad:
            continue
        exact = Decimal(text.strip())
        assert int(parsed.values[row]) == exact.scaleb(8)
        assert exact > 0


@given(st.lists(st.floats(min_value=0, allow_infinity=False), min_size=1, max_size=20))
def test_sizes_are_the_nearest_floats(values: list[float]) -> None:
    for texts in ([repr(value) for value in values], [format(Decimal(value), "f") for value in values]):
        parsed = parse_sizes(pl.Series("size", texts))
        assert not parsed.bad
        assert parsed.values.tolist() == values
    assert parse_sizes(pl.Series("size", values)).values.tolist() == values


moments = st.datetimes(datetime(1678, 1, 1), datetime(2262, 1, 1))  # naive, as UTC
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.lists(st.tuples(moments, zones, st.sampled_from("T ")), min_size=1, max_size=20))
def test_iso_times_are_exact(cases: list[tuple[datetime, timezone, str]]) -> None:
    expected = [(moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1000 for moment, _, _ in cases]
    texts = [moment.replace(tzinfo=UTC).astimezone(zone).isoformat(sep) for moment, zone, sep in cases]
    for spelled in (texts, [moment.isoformat(sep) for moment, _, sep in cases]):
        parsed = parse_times(pl.Series("timestamp", spelled))
        assert not parsed.bad
        assert parsed.values.tolist() == expected
        assert [time_ns(text) for text in spelled] == expected


@settings(max_examples=300)
@given(st.text(alphabet="0123456789-:.TZ+ ", max_size=32))
def test_the_fast_way_agrees_with_the_exact_way(text: str) -> None:
    for probe in (text, "2020-01-01T" + text, "2020-01-01T00:00:00" + text):
        for leading in ("1709210096", "2020-01-01"):
            parsed = parse_times(pl.Series("timestamp", [leading, probe]))
            try:
                expected = time_ns(probe.strip())
            except ValueError:
                assert 1 in parsed.bad
            else:
                assert parsed.values[1] == expected


@given(st.integers(1, 2**63 - 1))
def test_epochs_are_read_by_their_digit_count(number: int) -> None:
    digits = len(str(number))
    power = 9 if digits <= 10 else 6 if digits <= 13 else 3 if digits <= 16 else 0
    parsed = parse_times(pl.Series("timestamp", [str(number)]))
    if digits == 8 and parsed.bad:
        assert "may be a date" in parsed.bad[0]
    elif number * 10**power < 2**63:
        assert parsed.values.tolist() == [number * 10**power]
    else:
        assert "outside the years" in parsed.bad[0]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_parquet_are_bounded(unit: str) -> None:
    column = pl.Series("timestamp", [0, 2**62, None], dtype=pl.Int64).cast(pl.Datetime(unit))  # type: ignore[arg-type]
    parsed = parse_times(column)
    assert parsed.values[0] == 0
    assert parsed.bad[2] == "timestamp is empty"
    assert (1 in parsed.bad) == (unit != "ns")


@pytest.mark.data
def test_real_files(market_data: Path) -> None:
    daily = read_bars(market_data / "spy_1d_1998-2021.csv")
    assert len(daily.bars) == 5849
    assert daily.bars[0].tolist() == (883699200 * 10**9, 9731000000, 9753000000, 9653000000, 9736000000, 2150000.0)
    assert len(read_bars(market_data / "spy_1h_1998-2021.csv.gz").bars) == 40832
    trades = read_trades(market_data / "spy_trades_20131007.csv.gz")
    assert len(trades.ticks) == 250601
    assert np.all(np.diff(trades.ticks["ts"]) >= 0)
