"""`algotrade data`: bars of the past: downloaded once, listed, verified, brought along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from algotrade.cli import inputs
from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.engine.records import Records
    from algotrade.market_data.history.cache import CandleCache, Series
    from algotrade.market_data.history.fetch import Fetched
    from algotrade.market_data.history.report import BarsReport
    from algotrade.platform.bars_file import BarFile

data = typer.Typer(name="data", help="Bars of the past: download, list, verify, import.", no_args_is_help=True)

OWN: Final = "own"  # the provider of bars that people brought; as the cache has it, which is slow to import
DEFAULT_BAR: Final = "1h"

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTC-USD.")]
FromOption = Annotated[str, typer.Option("--from", metavar="TIME", help="ISO 8601; the first bar.", show_default=False)]
ToOption = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="ISO 8601; bars before it. [default: now]", show_default=False),
]
BarOption = Annotated[str, typer.Option("--bar", metavar="LENGTH", help="Length of a bar: 1m, 5m, 15m, 1h, 6h, 1d.")]
ProviderOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Where bars are from: coinbase, finnhub, alpaca, sample, own (imported), with an extra ccxt.kraken …",
    ),
]


@data.command()
def download(
    symbol: SymbolArgument,
    start: FromOption,
    end: ToOption = None,
    bar: BarOption = DEFAULT_BAR,
    provider: ProviderOption = "coinbase",
    json: JsonOption = False,
) -> None:
    """Fetch what is missing of a range. Coinbase wants no key; what is here already is not fetched again."""
    with failures_told(as_json=json):
        start_ns, end_ns = time_range(start, end)
        with progress_bar(f"{symbol} {bar}") as told:
            series, fetched = download_range(provider, symbol, bar, start_ns, end_ns, told)
        bars = read_range(series, start_ns, end_ns)
        answer = {"symbol": symbol, "bar": bar, "bars": len(bars), **_fetched_json(fetched)}
        if json:
            print_json(answer)
        else:
            typer.echo(f"{len(bars):,} bars of {symbol} {bar}; {fetched.bars:,} fetched in {fetched.requests} requests")
            for reason, count in fetched.left_out.items():
                typer.echo(f"  {count} left out: {reason}")


@data.command("list")
def list_(json: JsonOption = False) -> None:
    """List what is here."""
    with failures_told(as_json=json):
        cache, listed = open_cache(), []
        for series in _all_series(cache):
            chunks = cache.chunks(series)
            if not chunks:
                continue
            listed.append(
                {
                    "provider": series.provider,
                    "symbol": series.symbol,
                    "bar": series.interval,
                    "from": inputs.time_text(chunks[0].start_ns),
                    "until": inputs.time_text(chunks[-1].end_ns),
                    "files": len(chunks),
                    "bytes": sum(chunk.path.stat().st_size for chunk in chunks),
                }
            )
        if json:
            print_json({"data": listed})
        elif not listed:
            typer.echo(f"nothing in {cache.root}; algotrade data download BTC-USD --from 2024-01-01")
        else:
            _print_table(listed)


@data.command()
def verify(
    json: JsonOption = False,
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is damaged: it is fetched again.")] = False,
) -> None:
    """Read every file and judge it: order, grid, prices, holes. Exits with 1 where one is damaged."""
    from algotrade.market_data.history.cache import DamagedError

    with failures_told(as_json=json):
        cache, bars, files, damaged = open_cache(), 0, 0, []
        for series in _all_series(cache):
            for chunk in cache.chunks(series):
                files += 1
                try:
                    bars += len(cache.load(series, chunk))
                except DamagedError as error:
                    damaged.append({"path": str(error.path), "what": error.what})
                    if repair:
                        cache.remove(chunk)
        leftovers = cache.leftovers()
        if repair:
            for path in leftovers:
                path.unlink(missing_ok=True)
        answer = {"files": files, "bars": bars, "damaged": damaged, "unfinished": len(leftovers), "repaired": repair}
        if json:
            print_json(answer)
        else:
            typer.echo(f"{files} files, {bars:,} bars, {len(damaged)} damaged, {len(leftovers)} unfinished")
            for one in damaged:
                typer.echo(f"  {one['path']}: {one['what']}{'; removed' if repair else ''}")
        if damaged and not repair:
            raise typer.Exit(1)


@data.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, CSV.gz or Parquet.")],
    symbol: Annotated[
        str, typer.Option(metavar="NAME", help="Keep it as this symbol, provider own.", show_default=False)
    ],
    bar: BarOption = DEFAULT_BAR,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="OURS=THEIRS", help="What a column is called; repeatable.", show_default=False
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only report; keep nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Report what is odd about a file of bars (gaps, repeats, order, off the grid), and keep the good ones."""
    from algotrade.market_data.history.imported import UnusableFileError, read_import

    with failures_told(as_json=json):
        interval_ns = _interval(bar)
        try:
            found = read_import(file, interval_ns, _mapping(columns or ()))
        except UnusableFileError as error:
            raise CommandError(error.code, str(error), path=str(file)) from None
        kept = 0 if check else _keep(symbol, bar, interval_ns, found.bars)
        if json:
            bad = [{"line": row.line, "reason": row.reason} for row in found.bad_rows[:1000]]
            print_json(
                _report_json(found.report) | {"bad_rows_total": len(found.bad_rows), "bad_rows": bad, "kept": kept}
            )
        else:
            _print_report(found.report, [f"line {row.line}: {row.reason}" for row in found.bad_rows])
            typer.echo(f"{kept:,} bars kept as {symbol}" if kept else "nothing kept")


def time_range(start: str, end: str | None) -> tuple[int, int]:
    """Read a range. Raises CommandError."""
    from algotrade.platform.clock import SystemClock

    start_ns = inputs.time_argument(start, "--from")
    end_ns = inputs.time_argument(end, "--to") if end is not None else SystemClock().now_ns()
    if end_ns <= start_ns:
        raise CommandError("invalid_time", "--to is not after --from")
    return max(start_ns, 0), end_ns


def open_cache() -> CandleCache:
    """Open the cache in the data directory of the settings."""
    from algotrade.market_data.history.cache import CandleCache
    from algotrade.platform.settings import Settings

    return CandleCache(Settings().data_dir / "history")


def bars_of(symbol: str, provider: str, bar: str, start: str, end: str | None) -> BarFile:
    """Return a range of bars, downloaded first where they are missing. Raises CommandError."""
    import hashlib

    from algotrade.platform.bars_file import BarFile

    start_ns, end_ns = time_range(start, end)
    if provider == OWN:
        from algotrade.market_data.history.cache import Series

        series = Series(OWN, symbol, bar, _interval(bar))
    else:
        with progress_bar(f"{symbol} {bar}") as told:
            series, _ = download_range(provider, symbol, bar, start_ns, end_ns, told)
    bars = read_range(series, start_ns, end_ns)
    if not len(bars):
        raise CommandError("no_bars", f"there are no bars of {symbol} {bar} in that range")
    return BarFile(bars, (), hashlib.sha256(bars.tobytes()).hexdigest())


def read_range(series: Series, start_ns: int, end_ns: int) -> Records:
    """Read what is in the cache of a range. Raises CommandError for a damaged file."""
    from algotrade.market_data.history.cache import DamagedError

    try:
        return open_cache().read(series, start_ns, end_ns)
    except DamagedError as error:
        message = f"{error}; algotrade data verify --repair removes it, and it is fetched again"
        raise CommandError("damaged", message, path=str(error.path)) from None


def download_range(
    provider: str, symbol: str, bar: str, start_ns: int, end_ns: int, told: Callable[[int, int], None] | None
) -> tuple[Series, Fetched]:
    """Fetch what is missing of a range. Raises CommandError."""
    from algotrade.market_data.history.fetch import Downloader
    from algotrade.market_data.venues.candles import MissingKey, UnknownProviderError, candle_source
    from algotrade.market_data.venues.venue import VenueError, VenueRefused
    from algotrade.platform import limits
    from algotrade.platform.clock import SystemClock
    from algotrade.platform.settings import Settings

    async def fetched() -> tuple[Series, Fetched]:
        source = candle_source(provider, Settings())
        try:
            if bar not in source.intervals:
                raise CommandError("invalid_bar", f"--bar {bar}: {provider} has {', '.join(source.intervals)}")
            if (end_ns - start_ns) // source.intervals[bar] > limits.MAX_HISTORY_BARS:
                raise CommandError("too_much", f"a range holds {limits.MAX_HISTORY_BARS:,} bars at most")
            downloader = Downloader(source, open_cache(), SystemClock())
            series = downloader.series(symbol, bar)
            return series, await downloader.fetch(series, start_ns, end_ns, told)
        finally:
            await source.close()

    try:
        return asyncio.run(fetched())
    except UnknownProviderError as error:
        raise CommandError("unknown_provider", f"--provider {error}; {OWN} (imported)") from None
    except MissingKey as error:
        raise CommandError("no_key", str(error)) from None
    except VenueRefused as error:
        raise CommandError("venue_refused", str(error)) from None
    except VenueError as error:
        raise CommandError("venue_away", f"{provider}: {error}; what came is kept: try again") from None
    except ValueError as error:
        raise CommandError("invalid_symbol", str(error)) from None


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error where somebody watches."""
    import sys

    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _interval(bar: str) -> int:
    from algotrade.engine.settings import INTERVALS
    from algotrade.market_data.venues.coinbase_rest import ExchangeCandles

    known = {name: length for name, length in INTERVALS.items() if length} | dict(ExchangeCandles.intervals)
    if bar not in known:
        raise CommandError("invalid_bar", f"--bar {bar}: one of {', '.join(known)}")
    return known[bar]


def _all_series(cache: CandleCache) -> Iterator[Series]:
    from algotrade.market_data.history.cache import Series

    for provider, symbol, bar in cache.series():
        yield Series(provider, symbol, bar, _interval(bar))


def _mapping(columns: Sequence[str]) -> Mapping[str, str]:
    pairs = [column.partition("=") for column in columns]
    if wrong := [column for column, (ours, _, theirs) in zip(columns, pairs, strict=True) if not ours or not theirs]:
        raise CommandError("invalid_column", f"--column {wrong[0]}: write OURS=THEIRS, such as timestamp=date")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _keep(symbol: str, bar: str, interval_ns: int, bars: Records) -> int:
    """Keep the bars that lie on the grid, in place of what was kept of the symbol."""
    from algotrade.market_data.history.cache import Series

    series, cache = Series(OWN, symbol, bar, interval_ns), open_cache()
    bars = bars[bars["ts"] % interval_ns == 0]
    starts = bars["ts"] // series.chunk_ns
    try:
        cache.clear(series)
        for start in sorted(set(starts.tolist())):
            part = bars[starts == start]
            cache.write(series, start * series.chunk_ns, int(part["ts"][-1]) + interval_ns, part)
    except ValueError as error:
        raise CommandError("invalid_symbol", str(error)) from None
    return len(bars)


def _fetched_json(fetched: Fetched) -> dict[str, Any]:
    facts = asdict(fetched)
    return {"fetched": facts.pop("bars"), **facts, "left_out": dict(fetched.left_out)}


def _report_json(report: BarsReport) -> dict[str, Any]:
    return asdict(report) | {
        "first": inputs.time_text(report.first_ns),
        "last": inputs.time_text(report.last_ns),
        "holes": [{"start": inputs.time_text(hole.start_ns), "bars": hole.bars} for hole in report.holes],
        "off_grid": [inputs.time_text(ts) for ts in report.off_grid],
    }


def _print_report(report: BarsReport, bad: Sequence[str]) -> None:
    shown = 5
    typer.echo(f"{report.bars:,} bars from {inputs.time_text(report.first_ns)} to {inputs.time_text(report.last_ns)}")
    typer.echo(f"  holes          {report.holes_total:,} ({report.missing:,} bars missing)")
    for hole in report.holes[:shown]:
        typer.echo(f"    {inputs.time_text(hole.start_ns)}  {hole.bars:,} bars")
    typer.echo(f"  off the grid   {report.off_grid_total:,}")
    for ts in report.off_grid[:shown]:
        typer.echo(f"    {inputs.time_text(ts)}")
    typer.echo(f"  repeats        {report.duplicates:,}")
    typer.echo(f"  order breaks   {report.order_breaks:,}")
    typer.echo(f"  no volume      {report.silent:,}")
    typer.echo(f"  bad rows       {len(bad):,}")
    for line in bad[:shown]:
        typer.echo(f"    {line}")


def _print_table(listed: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*listed[0])
    for row in listed:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console().print(table)
