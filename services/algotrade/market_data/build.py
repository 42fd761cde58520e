"""Composes the service: feeds by the settings, the writer beside the servicer, all in one task of their own."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from algotrade.market_data.bar_pages import BarPages
from algotrade.market_data.bars import BarSource
from algotrade.market_data.closing import ClosingFeed
from algotrade.market_data.demand import Demand
from algotrade.market_data.failover import standing_in
from algotrade.market_data.fallback import open_windows
from algotrade.market_data.feed import Feed, FeedSymbol
from algotrade.market_data.follow import Follower
from algotrade.market_data.history.cache import CandleCache
from algotrade.market_data.history.sample import SAMPLE
from algotrade.market_data.hours import ExchangeHours, UnknownExchangeError
from algotrade.market_data.ingest import Ingest
from algotrade.market_data.past import Past
from algotrade.market_data.past_pages import PastPages
from algotrade.market_data.postgres import PostgresLeases
from algotrade.market_data.postgres_subscriptions import PostgresSubscriptions
from algotrade.market_data.replay import Gate, ReplayFeed, read_ticks
from algotrade.market_data.resize import WindowSizes
from algotrade.market_data.servicer import MarketDataServicer
from algotrade.market_data.synthetic import SyntheticFeed
from algotrade.market_data.venues.build import alpaca_feed, ccxt_feed, coinbase_feed, finnhub_feed
from algotrade.market_data.venues.candles import candle_sources
from algotrade.market_data.venues.ccxt_candles import PREFIX
from algotrade.market_data.venues.feed import VenueFeed
from algotrade.market_data.window import WindowStore
from algotrade.platform import limits
from algotrade.platform.background import end, together
from algotrade.platform.clock import SECOND_NS, Clock, steady
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.samples import aapl_daily
from algotrade.platform.server import Mount
from algotrade.platform.settings import Settings
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import market_data_service_pb2_grpc as pb_grpc

log = logger(__name__)

SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,31}")  # as the protos have it


class FeedsError(Exception):
    """The feeds cannot be served together."""


class FeedsDown(Exception):  # noqa: N818  (a state)
    """The writer has failed: no new ticks come."""


_VENUES: Final[Mapping[str, Callable[[Settings, Clock, Metrics], VenueFeed]]] = {
    "coinbase": coinbase_feed,
    "finnhub": finnhub_feed,
    "alpaca": alpaca_feed,
}


async def _open() -> None:
    """Hold nothing back."""


async def feeds_of(settings: Settings, clock: Clock, metrics: Metrics, replay_gate: Gate = _open) -> list[Feed]:
    """Make the feeds the settings name. BarFileError for a replay file that cannot be used."""
    feeds: list[Feed] = []
    if "synthetic" in settings.market_providers:
        names, rate = settings.synthetic_symbols, settings.synthetic_ticks_per_second
        feeds.append(
            SyntheticFeed(names, settings.synthetic_seed, clock, rate, on_demand=settings.synthetic_on_demand_symbols)
        )
    if "replay" in settings.market_providers:
        path = settings.replay_path
        if path is None:
            path = await asyncio.to_thread(aapl_daily, settings.data_dir / "samples")
        ticks, bars = await asyncio.to_thread(read_ticks, path)
        speed = settings.replay_speed
        repeat = settings.replay_path is None and speed > 0  # a demo does not run dry; a file is replayed once
        feeds.append(
            ReplayFeed(settings.replay_symbol, ticks, clock, bars=bars, speed=speed, repeat=repeat, gate=replay_gate)
        )
    # In the order in which they are named: of a symbol that several have, the first is preferred.
    for name in settings.market_providers:
        if name in _VENUES:
            feeds.append(_VENUES[name](settings, clock, metrics))
        elif name.startswith(PREFIX):
            feeds.append(ccxt_feed(name, settings, clock, metrics))
    return feeds


@asynccontextmanager
async def build(
    platform: Platform, feeds: Sequence[Feed] | None = None, replay_gate: Gate = _open
) -> AsyncIterator[Mount]:
    """Yield the service while its feeds run; ``replay_gate`` holds a replay back until it returns."""
    settings, clock = platform.settings, steady(platform.clock)  # a market goes on when the machine's clock is set
    if feeds is None:
        feeds = await feeds_of(settings, clock, platform.metrics, replay_gate)
    venues = [feed for feed in feeds if isinstance(feed, VenueFeed)]
    spared = platform.aids | {venue.venue: venue.probe for venue in venues}
    feeds = standing_in(feeds, clock, settings.failover_seconds)
    symbols = _symbols(feeds)
    feeds = await _closing(feeds, clock, settings)
    past = Past(
        candle_sources(settings),
        CandleCache(settings.data_dir / "history"),
        clock,
        most_bytes=settings.history_bytes,
        seconds=settings.history_seconds,
    )
    subscriptions = PostgresSubscriptions(platform.database, platform.bus)
    demand = Demand(name for name, symbol in symbols.items() if symbol.on_demand)
    async with open_windows(platform, list(symbols), await subscriptions.sizes()) as windows:
        ingest = _ingest(platform, feeds, windows, demand, clock)
        follower = Follower(
            windows,
            platform.bus,
            clock,
            metrics=platform.metrics,
            heartbeat_seconds=settings.heartbeat_seconds,
            lag_ticks=settings.stream_lag_ticks,
            lag_seconds=settings.stream_lag_seconds,
        )
        bars = BarSource(windows, follower, clock, heartbeat_seconds=settings.heartbeat_seconds)
        pages = PastPages(past, _pasts(symbols.values(), past, settings))
        servicer = MarketDataServicer(
            symbols,
            windows,
            follower,
            bars,
            BarPages(bars, past, pages.provider_of, ingest.spells),
            WindowSizes(list(symbols), windows, subscriptions, platform.bus),
            subscriptions,
            pages,
            ingest.state,
            clock,
        )
        await ingest.open()
        running = asyncio.create_task(
            together(ingest.run(), beside=(demand.follow(subscriptions, platform.bus),)), name="ingest"
        )
        running.add_done_callback(_report)

        async def probe_feeds() -> None:
            if running.done() and not running.cancelled() and running.exception() is not None:
                raise FeedsDown(str(running.exception()))

        try:
            yield Mount(
                pb.DESCRIPTOR.services_by_name["MarketDataService"],
                lambda server: pb_grpc.add_MarketDataServiceServicer_to_server(servicer, server),
                {"database": platform.database_probe, "feeds": probe_feeds} | platform.bus_probes | spared,
                frozenset(spared),
            )
        finally:
            await end(running)
            await past.close()
            for venue in venues:
                await venue.close()


def _ingest(platform: Platform, feeds: Sequence[Feed], windows: WindowStore, demand: Demand, clock: Clock) -> Ingest:
    return Ingest(
        feeds,
        database=platform.database,
        bus=platform.bus,
        leases=PostgresLeases(platform.database),
        windows=windows,
        demand=demand,
        clock=clock,
        metrics=platform.metrics,
        marker_seconds=platform.settings.marker_interval_seconds,
        marker_grace_seconds=platform.settings.marker_grace_seconds,
    )


def _symbols(feeds: Sequence[Feed]) -> dict[str, FeedSymbol]:
    listed = [symbol for feed in feeds for symbol in feed.symbols]
    for symbol in listed:
        if not SYMBOL.fullmatch(symbol.name):
            raise FeedsError(f"{symbol.name!r} is not a symbol: capitals, digits, dot, dash and underscore, up to 32")
    symbols = {symbol.name: symbol for symbol in listed}
    if len(symbols) < len(listed):
        raise FeedsError(f"more than one feed delivers {', '.join(_repeated(listed))}")
    if len(symbols) > limits.MAX_SYMBOLS:
        raise FeedsError(f"{len(symbols)} symbols are more than {limits.MAX_SYMBOLS}")
    return symbols


async def _closing(feeds: Sequence[Feed], clock: Clock, settings: Settings) -> list[Feed]:
    """Have the feeds of exchanges with hours say when those are closed."""
    codes = {symbol.exchange for feed in feeds for symbol in feed.symbols if symbol.exchange}
    try:
        hours = await asyncio.to_thread(lambda: {code: ExchangeHours(code) for code in sorted(codes)})
    except UnknownExchangeError as error:
        raise FeedsError(str(error)) from None
    grace_ns = round(settings.loose_grace_seconds * SECOND_NS)
    return [
        ClosingFeed(feed, lambda symbol: hours.get(symbol.exchange), clock, grace_ns)
        if any(symbol.exchange for symbol in feed.symbols)
        else feed
        for feed in feeds
    ]


def _pasts(symbols: Iterable[FeedSymbol], past: Past, settings: Settings) -> dict[str, str]:
    """Return whose bars of the past are those of each symbol's feed."""
    found = {}
    for symbol in symbols:
        sampled = symbol.provider == "replay" and settings.replay_path is None
        provider = SAMPLE if sampled else symbol.provider
        source = past.sources.get(provider)
        if source is not None and (not source.symbols or symbol.name in source.symbols):
            found[symbol.name] = provider
    return found


def _repeated(symbols: Sequence[FeedSymbol]) -> list[str]:
    counts = Counter(symbol.name for symbol in symbols)
    return sorted(name for name, count in counts.items() if count > 1)


def _report(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("feeds.failed", exc_info=error)
