"""The bars of charts in the tables chart_data and chart_places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.engine.bars import BarBuilder
from algotrade.forward_test import rows
from algotrade.forward_test.charts import Chart, Wanted, chart_interval
from algotrade.platform.ticks import FeedReader

# Sessions that go on, and those that have ended meanwhile: what they saw is drawn to its end.
_WANTED: Final = text("""
    SELECT symbol, settings->>'interval' AS interval, log_partition, stopped_at IS NULL AS goes_on,
        min(coalesce(begin_offset, log_offset)) AS begin, max(log_offset) AS reached
    FROM forward_test_sessions
    WHERE status <> 'created' AND (stopped_at IS NULL OR stopped_at > now() - interval '1 day')
    GROUP BY 1, 2, 3, 4
""")
_PLACES: Final = text("SELECT symbol, interval_ns, next_offset FROM chart_places")
_PLACE: Final = text("""
    SELECT next_offset, last_tick_sequence, feed_epoch, CAST(builder AS text) AS builder FROM chart_places
    WHERE symbol = :symbol AND interval_ns = :interval
""")
_PLACE_COLUMNS: Final = {
    "symbol": "text",
    "interval_ns": "bigint",
    "log_partition": "integer",
    "next_offset": "bigint",
    "last_tick_sequence": "bigint",
    "feed_epoch": "bigint",
    "builder": "text",
    "was": "bigint",
}
_ROW: Final = "r.log_partition, r.next_offset, r.last_tick_sequence, r.feed_epoch, CAST(r.builder AS jsonb)"
_NAMES: Final = "log_partition, next_offset, last_tick_sequence, feed_epoch, builder"
_FIRST: Final = text(f"""
    INSERT INTO chart_places (symbol, interval_ns, {_NAMES})
    SELECT r.symbol, r.interval_ns, {_ROW} FROM {rows.unnest("r", _PLACE_COLUMNS)} WHERE r.was IS NULL
    ORDER BY r.symbol, r.interval_ns
    ON CONFLICT DO NOTHING RETURNING symbol, interval_ns
""")
_MOVE: Final = text(f"""
    UPDATE chart_places AS c SET ({_NAMES}) = ROW ({_ROW}) FROM {rows.unnest("r", _PLACE_COLUMNS)}
    WHERE c.symbol = r.symbol AND c.interval_ns = r.interval_ns AND c.next_offset = r.was
    RETURNING c.symbol, c.interval_ns
""")
_BAR_COLUMNS: Final = {
    "symbol": "text",
    "interval_ns": "bigint",
    "start_ns": "bigint",
    "open": "bigint",
    "high": "bigint",
    "low": "bigint",
    "close": "bigint",
    "volume": "double precision",
    "closed_offset": "bigint",
    "closed_sequence": "bigint",
}
_PRICES: Final = ("open", "high", "low", "close")
_BAR_VALUES: Final = ", ".join(rows.decimal(f"r.{name}") if name in _PRICES else f"r.{name}" for name in _BAR_COLUMNS)
_BARS: Final = text(f"""
    INSERT INTO chart_data ({", ".join(_BAR_COLUMNS)}) SELECT {_BAR_VALUES} FROM {rows.unnest("r", _BAR_COLUMNS)}
    ON CONFLICT DO NOTHING
""")
_BEYOND: Final = text("""
    WITH newest_beyond AS MATERIALIZED (
        SELECT start_ns FROM chart_data WHERE symbol = :symbol AND interval_ns = :interval
        ORDER BY start_ns DESC OFFSET :most LIMIT 1
    )
    DELETE FROM chart_data AS d USING newest_beyond AS b
    WHERE d.symbol = :symbol AND d.interval_ns = :interval AND d.start_ns <= b.start_ns
""")
_UNUSED: Final = text("""
    DELETE FROM chart_places AS c
    WHERE NOT EXISTS (SELECT FROM forward_test_sessions AS s WHERE s.symbol = c.symbol)
""")


class PostgresCharts:
    """The port `ChartStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def wanted(self) -> list[Wanted]:
        """Select sessions that go on and those that have ended of late: a scan, so not to be asked for often."""
        async with self._engine.connect() as connection:
            sessions = (await connection.execute(_WANTED)).all()
            places = {(row.symbol, row.interval_ns): row.next_offset for row in await connection.execute(_PLACES)}
        found: dict[tuple[str, int], Wanted] = {}
        for row in sessions:
            key = row.symbol, chart_interval(row.interval)
            if not row.goes_on and row.reached <= places.get(key, 0):
                continue
            begin = min(row.begin, found[key].begin) if key in found else row.begin
            found[key] = Wanted(*key, row.log_partition, begin)
        return list(found.values())

    async def place(self, wanted: Wanted) -> Chart:
        """Select by primary key."""
        symbol, interval = wanted.symbol, wanted.interval
        async with self._engine.connect() as connection:
            row = (await connection.execute(_PLACE, {"symbol": symbol, "interval": interval})).one_or_none()
        if row is None:
            return Chart(symbol, interval, wanted.partition, wanted.begin, FeedReader(), BarBuilder(interval))
        reader = FeedReader(row.last_tick_sequence, row.feed_epoch)
        builder = BarBuilder.restored(interval, *orjson.loads(row.builder))
        return Chart(symbol, interval, wanted.partition, row.next_offset, reader, builder, row.next_offset)

    async def keep(self, charts: Sequence[Chart]) -> list[Chart]:
        """Insert or update the places, then insert the bars of those that were."""
        places = [
            (
                chart.symbol,
                chart.interval,
                chart.partition,
                chart.offset,
                chart.reader.sequence,
                chart.reader.epoch,
                orjson.dumps(chart.builder.state).decode(),
                chart.stored,
            )
            for chart in sorted(charts, key=lambda chart: chart.key)
        ]
        async with self._engine.begin() as connection:
            values = rows.arrays(_PLACE_COLUMNS, places)
            moved = [*await connection.execute(_FIRST, values), *await connection.execute(_MOVE, values)]
            mine = {(row.symbol, row.interval_ns) for row in moved}
            bars = [(*chart.key, *astuple(bar)) for chart in charts if chart.key in mine for bar in chart.closed]
            if bars:
                await connection.execute(_BARS, rows.arrays(_BAR_COLUMNS, bars))
        for chart in charts:
            chart.stored = chart.offset
            chart.closed.clear()
        return [chart for chart in charts if chart.key not in mine]

    async def forget(self, symbol: str, interval: int, most: int) -> None:
        """Delete along the primary keys."""
        async with self._engine.begin() as connection:
            await connection.execute(_UNUSED)
            await connection.execute(_BEYOND, {"symbol": symbol, "interval": interval, "most": most})
