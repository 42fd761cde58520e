"""The venues' feeds by the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from pydantic import SecretStr

from algotrade.market_data.feed import FeedSymbol
from algotrade.market_data.venues.alpaca import ALPACA_WS, AlpacaDialect
from algotrade.market_data.venues.ccxt_candles import PREFIX
from algotrade.market_data.venues.ccxt_trades import CcxtConnection, no_dialect
from algotrade.market_data.venues.coinbase import ADVANCED_WS, EXCHANGE_WS, AdvancedDialect, ExchangeDialect
from algotrade.market_data.venues.coinbase_rest import ADVANCED_REST, EXCHANGE_REST, AdvancedTrades, ExchangeTrades
from algotrade.market_data.venues.connection import Connection, ConnectionRules
from algotrade.market_data.venues.feed import VenueFeed
from algotrade.market_data.venues.finnhub import FINNHUB_WS, FinnhubDialect
from algotrade.market_data.venues.loose_tape import LooseTape
from algotrade.market_data.venues.names import names_of
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.tape import Tape, TapeRules
from algotrade.market_data.venues.venue import Dialect
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

COINBASE: Final = "coinbase"
FINNHUB: Final = "finnhub"
ALPACA: Final = "alpaca"


def coinbase_feed(settings: Settings, clock: Clock, metrics: Metrics) -> VenueFeed:
    """Make the feed of Coinbase: of its Exchange, or of Advanced Trade."""
    exchange = settings.coinbase_api == "exchange"
    rules = tape_rules(settings)
    ws_url = settings.coinbase_ws_url or (EXCHANGE_WS if exchange else ADVANCED_WS)
    rest = Rest(settings.coinbase_rest_url or (EXCHANGE_REST if exchange else ADVANCED_REST))
    return VenueFeed(
        COINBASE,
        _symbols(COINBASE, settings, settings.coinbase_symbols, settings.coinbase_on_demand_symbols),
        partial(ExchangeDialect, ws_url) if exchange else partial(AdvancedDialect, ws_url),
        ExchangeTrades(rest) if exchange else AdvancedTrades(rest),
        clock,
        metrics,
        connection=connection_rules(settings),
        tape=lambda resume, now_ns: Tape(resume, rules, now_ns, COINBASE),
    )


def finnhub_feed(settings: Settings, clock: Clock, metrics: Metrics) -> VenueFeed:
    """Make the feed of Finnhub."""
    names = names_of(settings.finnhub_symbols)
    dialect = partial(FinnhubDialect, _text(settings.finnhub_token), names, settings.finnhub_ws_url or FINNHUB_WS)
    return _loose_feed(FINNHUB, settings, names, dialect, settings.finnhub_silence_seconds, clock, metrics)


def alpaca_feed(settings: Settings, clock: Clock, metrics: Metrics) -> VenueFeed:
    """Make the feed of Alpaca."""
    names = names_of(settings.alpaca_symbols)
    key = _text(settings.alpaca_key_id), _text(settings.alpaca_key)
    dialect = partial(AlpacaDialect, *key, names, settings.alpaca_ws_url or ALPACA_WS)
    return _loose_feed(ALPACA, settings, names, dialect, settings.alpaca_silence_seconds, clock, metrics)


def ccxt_feed(provider: str, settings: Settings, clock: Clock, metrics: Metrics) -> VenueFeed:
    """Make the feed of an exchange that ccxt follows, such as ccxt.kraken."""
    names = names_of(settings.ccxt_symbols)
    return _loose_feed(
        provider,
        settings,
        names,
        no_dialect,
        settings.ccxt_silence_seconds,
        clock,
        metrics,
        connect=partial(CcxtConnection, names=names, clock=clock),
    )


def _loose_feed(
    venue: str,
    settings: Settings,
    names: Mapping[str, str],
    dialect: Callable[[], Dialect],
    silence_seconds: float,
    clock: Clock,
    metrics: Metrics,
    connect: Callable[..., Connection] = Connection,
) -> VenueFeed:
    rules = replace(tape_rules(settings), grace_ns=round(settings.loose_grace_seconds * SECOND_NS))
    return VenueFeed(
        venue,
        [_with_hours(symbol, names[symbol.name], settings) for symbol in _symbols(venue, settings, list(names), ())],
        dialect,
        None,
        clock,
        metrics,
        connection=replace(connection_rules(settings), silence_seconds=silence_seconds),
        connect=connect,
        tape=lambda resume, now_ns: LooseTape(resume, rules, now_ns),
    )


def _with_hours(symbol: FeedSymbol, theirs: str, settings: Settings) -> FeedSymbol:
    """A share has the hours of its exchange; what is called COINBASE:BTC-USD or BTC/USD is traded around the clock."""
    around_the_clock = symbol.provider.startswith(PREFIX) or {":", "/"} & set(theirs)
    if symbol.exchange or symbol.name in settings.exchanges or around_the_clock:
        return symbol
    return replace(symbol, exchange=settings.equities_exchange)


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def connection_rules(settings: Settings) -> ConnectionRules:
    """Read how patient connections are."""
    return ConnectionRules(
        silence_seconds=settings.venue_silence_seconds,
        backoff_seconds=settings.venue_backoff_seconds,
        most_backoff_seconds=settings.venue_most_backoff_seconds,
    )


def tape_rules(settings: Settings) -> TapeRules:
    """Read how patient tapes are."""
    return TapeRules(
        patience_ns=round(settings.venue_patience_seconds * SECOND_NS),
        give_up_ns=round(settings.venue_give_up_seconds * SECOND_NS),
        stale_ns=round(settings.venue_stale_seconds * SECOND_NS),
        retry_ns=round(settings.venue_retry_seconds * SECOND_NS),
        marker_ns=round(settings.marker_interval_seconds * SECOND_NS),
        grace_ns=round(settings.marker_grace_seconds * SECOND_NS),
    )


def _symbols(venue: str, settings: Settings, always: Sequence[str], on_demand: Sequence[str]) -> list[FeedSymbol]:
    band = settings.price_band_percent / 100
    return [
        FeedSymbol(
            name,
            venue,
            on_demand=name not in always,
            tells=True,
            exchange=settings.exchanges.get(name, ""),
            band=band,
        )
        for name in (*always, *on_demand)
    ]
