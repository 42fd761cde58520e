"""The chart of a session: its bars are those of the ticks, its figures those of its trades, whatever stops when."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pytest
from forward_test.test_lifecycle import failure
from forward_test.test_recovery import EAGER, START, logged, walk
from graphs import at_prices, sma_cross
from market_data.feeds import SECOND, ManualFeed
from sqlalchemy import text

from algotrade.engine import fixed
from algotrade.engine.bars import build_bars
from algotrade.engine.records import TICK, Records
from algotrade.forward_test.charts import Charter
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_charts import PostgresCharts
from algotrade.forward_test.source import Source
from algotrade.platform import limits
from algotrade.platform.errors import info
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb

BARS_OF_5S = {"interval": "5s", "fee_bps": "10", "slippage_bps": "2"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leave the charts to the tests."""
    return settings.model_copy(update={"chart_seconds": 3600.0})


@pytest.fixture
def charter(platform: Platform) -> Charter:
    return new_charter(platform)


def new_charter(platform: Platform) -> Charter:
    source = Source(platform.bus, PostgresArchive(platform.database))
    return Charter(PostgresCharts(platform.database), source, every_seconds=1)


def jagged(seed: int, count: int) -> Records:
    """A walk of prices at odd times, some seconds without any."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    ticks["ts"] = START + np.cumsum(rng.integers(SECOND // 10, 3 * SECOND, count))
    ticks["price"] = np.rint((100 + np.cumsum(rng.normal(0, 1, count)).clip(-90)) * fixed.SCALE)
    ticks["size"] = rng.integers(1, 9, count)
    return ticks


async def pushed(platform: Platform, feed: ManualFeed, ticks: Records, cuts: int = 7) -> None:
    for part in np.array_split(ticks, cuts):
        feed.push("AAA", part)
    await logged(platform, len(ticks))


async def whole(owner: Any, session: pb.Session, size: int = 0) -> list[pb.ChartPoint]:
    found, token = [], ""
    while True:
        request = pb.ListChartPointsRequest(session_id=session.session_id, page_size=size, page_token=token)
        page = await owner.sessions.ListChartPoints(request)
        found += page.points
        assert len(page.points) <= (size or 500)
        token = page.next_page_token
        if not token:
            return found


def starts(points: list[pb.ChartPoint]) -> list[int]:
    return [point.start_time.ToNanoseconds() for point in points]


def assert_bars(points: list[pb.ChartPoint], ticks: Records, interval: int) -> None:
    bars = build_bars(ticks, interval)
    assert starts(points) == bars["ts"].tolist()
    for name in ("open", "high", "low", "close"):
        assert [fixed.parse(getattr(point, name)) for point in points] == bars[name].tolist()
    assert [point.volume for point in points] == bars["volume"].tolist()


async def test_points_are_the_bars_with_what_the_trades_made_of_them(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter
) -> None:
    """Cash, quantity and equity at each close are worked out again from the trades alone."""
    ada = await trader()
    session = await ada.started(sma_cross(2, 5), "AAA", settings=BARS_OF_5S)
    ticks = jagged(3, 600)
    await pushed(platform, feed, ticks)
    await charter.turn()
    session = await ada.at_tick(session, len(ticks))
    points = await whole(ada, session)
    assert_bars(points, ticks, 5 * SECOND)
    assert len(points) == session.bars > 100

    trades = await ada.trades(session)
    assert len(trades) > 10
    moments = [(t.entry_time.ToNanoseconds(), t) for t in trades]
    for point, bar in zip(points, build_bars(ticks, 5 * SECOND), strict=True):
        end = int(bar["ts"]) + 5 * SECOND
        entered = [t for at, t in moments if at < end]
        held = [t for t in entered if not t.HasField("exit_time") or t.exit_time.ToNanoseconds() >= end]
        quantity = sum(fixed.parse(t.quantity) for t in held)
        gained = sum(fixed.parse(t.pnl) for t in entered if t not in held)
        assert fixed.parse(point.quantity) == quantity
        assert fixed.parse(point.equity) == fixed.parse(point.cash) + quantity * int(bar["close"]) // fixed.SCALE
        if not held:
            assert fixed.parse(point.cash) == fixed.parse("10000") + gained
    assert any(point.quantity != "0" for point in points)


async def test_a_picture_of_the_whole_keeps_the_extremes(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter
) -> None:
    ada, bob = await trader(), await trader()
    session = await ada.started(sma_cross(2, 5), "AAA", settings=BARS_OF_5S)
    await pushed(platform, feed, jagged(4, 400))
    await charter.turn()
    await ada.at_tick(session, 400)
    points = await whole(ada, session)
    assert points == await whole(ada, session, 7)

    async def picture(most: int) -> pb.ListChartPointsResponse:
        request = pb.ListChartPointsRequest(session_id=session.session_id, max_points=most)
        return await ada.sessions.ListChartPoints(request)

    few, all_of_them = await picture(10), await picture(4000)
    assert list(all_of_them.points) == points
    assert few.total_points == all_of_them.total_points == len(points)
    assert 4 <= len(few.points) <= 10
    assert not few.next_page_token
    assert (few.points[0], few.points[-1]) == (points[0], points[-1])
    worth = [fixed.parse(point.equity) for point in few.points]
    equity = [fixed.parse(point.equity) for point in points]
    assert (min(worth), max(worth)) == (min(equity), max(equity))

    for owner, fields, reason in (
        (bob, {}, "SESSION_NOT_FOUND"),
        (ada, {"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        (ada, {"max_points": 3}, "FIELD_INVALID"),
    ):
        request = pb.ListChartPointsRequest(session_id=session.session_id, **fields)
        assert info(await failure(owner.sessions.ListChartPoints(request))).reason == reason


async def test_ticks_are_drawn_by_the_second_from_where_the_session_trades(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter
) -> None:
    """A session that began later on the same symbol has a part of the same chart; one not begun has none."""
    ada = await trader()
    ticks = jagged(5, 90)
    first = await ada.started(at_prices(1), "AAA", settings={"interval": "tick"})
    await pushed(platform, feed, ticks[:40])
    await ada.at_tick(first, 40)
    later = await ada.started(at_prices(1), "AAA", settings={"interval": "tick"})
    waiting = await ada.create(at_prices(1), "AAA", settings={"interval": "tick"})
    feed.push("AAA", ticks[40:])
    await ada.at_tick(later, 90)
    await ada.at_tick(first, 90)
    await charter.turn()
    points = await whole(ada, first)
    assert_bars(points, ticks, SECOND)
    part = await whole(ada, later)
    closed_before = len(build_bars(ticks[:40], SECOND))
    assert part == points[closed_before:]
    assert part
    assert await whole(ada, waiting) == []


async def test_charters_that_die_or_race_leave_every_bar_once(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    """At every step another one goes on from the row, and one that was passed over stores nothing."""
    ada = await trader()
    sessions = [await ada.started(at_prices(1), "AAA", settings=BARS_OF_5S | {"interval": one}) for one in ("5s", "1m")]
    ticks = jagged(6, 300)
    slow = new_charter(platform)
    done = 0
    for part in np.array_split(ticks, 6):
        feed.push("AAA", part)
        done += len(part)
        await logged(platform, done)
        if done % 100 == 0:
            await slow.turn()  # it finds that others have moved its charts, and begins again from their rows
        await new_charter(platform).turn()
    await slow.turn()
    await slow.turn()
    for session, seconds in zip(sessions, (5, 60), strict=True):
        await ada.at_tick(session, len(ticks))
        assert_bars(await whole(ada, session), ticks, seconds * SECOND)


async def test_what_does_not_reach_the_database_is_drawn_by_the_next(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(1), "AAA", settings=BARS_OF_5S)
    ticks = jagged(7, 120)
    await pushed(platform, feed, ticks[:60])

    async def dies(*_: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(PostgresCharts, "keep", dies)
        with pytest.raises(ConnectionError):
            await charter.turn()
    feed.push("AAA", ticks[60:])
    await logged(platform, 120)
    await new_charter(platform).turn()
    await ada.at_tick(session, 120)
    assert_bars(await whole(ada, session), ticks, 5 * SECOND)


async def test_an_ended_session_is_drawn_to_its_end_and_no_further(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(1), "AAA", settings=BARS_OF_5S)
    ticks = jagged(8, 120)
    await pushed(platform, feed, ticks[:60])
    await ada.at_tick(session, 60)
    await ada.stop(session, pb.STOP_MODE_KEEP)
    feed.push("AAA", ticks[60:])
    await logged(platform, 120)
    await charter.turn()
    assert_bars(await whole(ada, session), ticks[:60], 5 * SECOND)


async def test_only_the_newest_bars_are_kept_and_none_that_nobody_needs(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(1), "AAA", settings=BARS_OF_5S)
    ticks = jagged(9, 120)
    monkeypatch.setattr(limits, "MAX_CHART_BARS", 10)
    monkeypatch.setattr(limits, "CHART_BARS_TIDIED", 1)
    await pushed(platform, feed, ticks)
    await charter.turn()
    await ada.at_tick(session, 120)
    assert starts(await whole(ada, session)) == build_bars(ticks, 5 * SECOND)["ts"][-10:].tolist()
    await ada.stop(session, pb.STOP_MODE_KEEP)
    await ada.sessions.DeleteSession(pb.DeleteSessionRequest(session_id=session.session_id))
    await PostgresCharts(platform.database).forget("BBB", SECOND, 10)
    async with platform.database.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM chart_data")) == 0


async def test_a_chart_has_a_bound(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await trader()
    session = await ada.started(sma_cross(2, 5), "AAA", settings=BARS_OF_5S)
    await pushed(platform, feed, jagged(3, 200))
    await charter.turn()
    await ada.at_tick(session, 200)
    monkeypatch.setattr(limits, "MAX_CHARTED_FILLS", 1)
    error = await failure(whole(ada, session))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")


async def test_points_follow_by_themselves(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    """Nobody needs to ask."""
    ada = await trader()
    session = await ada.started(at_prices(1), "AAA", settings=BARS_OF_5S)
    ticks = jagged(8, 60)
    await pushed(platform, feed, ticks)
    running = asyncio.create_task(new_charter(platform).run())
    async with asyncio.timeout(30):
        while len(await whole(ada, session)) < len(build_bars(ticks, 5 * SECOND)):
            pass
    running.cancel()


async def test_metrics_of_the_equity_at_closes(
    trader: Any, feed: ManualFeed, platform: Platform, charter: Charter
) -> None:
    """Sharpe, worked out from the points alone; the engine's own deepest fall is the one that the points have."""
    ada = await trader()
    session = await ada.started(sma_cross(2, 5), "AAA", settings=BARS_OF_5S)
    await pushed(platform, feed, jagged(3, 600))
    await ada.at_tick(session, 600)

    async def metrics() -> dict[str, str]:
        response = await ada.sessions.GetMetrics(pb.GetMetricsRequest(session_id=session.session_id))
        return {one.name: one.value for one in response.metrics}

    early = await metrics()
    assert (early["charted_bars"], early["sharpe"], early["volatility"], early["exposure"]) == ("0", "", "", "")
    await charter.turn()
    found, points = await metrics(), await whole(ada, session)
    equity = np.array([float(point.equity) for point in points])
    returns = equity[1:] / equity[:-1] - 1
    spacing = np.median(np.diff(starts(points))) / SECOND
    sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(365 * 86_400 / spacing)
    assert float(found["sharpe"]) == pytest.approx(sharpe)
    peaks = np.maximum.accumulate(np.maximum(equity, 10_000))
    assert float(found["max_drawdown"]) == pytest.approx(100 * (equity / peaks - 1).min())
    held = np.mean([point.quantity != "0" for point in points])
    assert float(found["exposure"]) == pytest.approx(100 * held)
    assert found["charted_bars"] == str(len(points))


async def test_rejections_are_counted_by_reason(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings={"interval": "tick"})
    await pushed(platform, feed, walk(3, 60))
    await ada.at_tick(session, 60)
    events = await ada.events(session, (await ada.get(session)).last_sequence)
    refused = Counter(e.reason for e in events if e.kind == pb.SESSION_EVENT_KIND_REJECTION)
    assert len(refused) >= 1
    response = await ada.sessions.GetMetrics(pb.GetMetricsRequest(session_id=session.session_id))
    found = {one.name: one.value for one in response.metrics}
    assert found["rejections"] == str(refused.total())
    assert {f"rejections_{reason}": str(count) for reason, count in refused.items()} == {
        name: value for name, value in found.items() if name.startswith("rejections_")
    }
