"""Where bars of the past are from, by a provider's name and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algotrade.market_data.history.candles import CandleSource
from algotrade.market_data.history.sample import SAMPLE, SampleCandles
from algotrade.market_data.venues.alpaca import ALPACA_WS
from algotrade.market_data.venues.alpaca_candles import ALPACA_REST, AlpacaCandles
from algotrade.market_data.venues.alpaca_candles import REQUESTS_A_SECOND as ALPACA_REQUESTS
from algotrade.market_data.venues.ccxt_candles import PREFIX, CcxtCandles
from algotrade.market_data.venues.coinbase_rest import EXCHANGE_REST, ExchangeCandles
from algotrade.market_data.venues.finnhub_candles import FINNHUB_REST, FinnhubCandles
from algotrade.market_data.venues.finnhub_candles import REQUESTS_A_SECOND as FINNHUB_REQUESTS
from algotrade.market_data.venues.names import names_of
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.venue import VenueRefused
from algotrade.platform.settings import Settings

KNOWN: Final = (ExchangeCandles.name, FinnhubCandles.name, AlpacaCandles.name, SAMPLE, f"{PREFIX}<exchange>")


TAPES: Final = ("iex", "sip", "delayed_sip")  # of Alpaca


class MissingKey(VenueRefused):
    """A provider wants a key that the settings do not have."""


class UnknownProviderError(ValueError):
    """No provider of bars of the past has that name."""


def candle_source(provider: str, settings: Settings) -> CandleSource:
    """Open a provider. UnknownProviderError; MissingKey; VenueRefused where ccxt is missing."""
    if provider == ExchangeCandles.name:
        return ExchangeCandles(Rest(settings.coinbase_rest_url or EXCHANGE_REST))
    if provider == FinnhubCandles.name:
        if settings.finnhub_token is None:
            raise MissingKey("finnhub wants a key: ALGOTRADE_FINNHUB_TOKEN is not set")
        headers = {"X-Finnhub-Token": settings.finnhub_token.get_secret_value()}
        rest = Rest(settings.finnhub_rest_url or FINNHUB_REST, headers, FINNHUB_REQUESTS)
        return FinnhubCandles(rest, names_of(settings.finnhub_symbols))
    if provider == AlpacaCandles.name:
        return _alpaca(settings)
    if provider == SAMPLE:
        return SampleCandles(settings.data_dir / "samples")
    if provider.startswith(PREFIX):
        return CcxtCandles(provider)
    raise UnknownProviderError(f"{provider}: there are {', '.join(KNOWN)}")


def candle_sources(settings: Settings) -> Mapping[str, CandleSource]:
    """Open those that the settings name, and those whose feeds they name, by name."""
    feeds = (name for name in settings.market_providers if name in KNOWN)
    names = dict.fromkeys((SAMPLE, *settings.history_providers, *feeds))
    return {name: candle_source(name, settings) for name in names}


def _alpaca(settings: Settings) -> AlpacaCandles:
    key_id, key = settings.alpaca_key_id, settings.alpaca_key
    if key_id is None or key is None:
        raise MissingKey("alpaca wants a key: ALGOTRADE_ALPACA_KEY_ID or ALGOTRADE_ALPACA_KEY is not set")
    headers = {"APCA-API-KEY-ID": key_id.get_secret_value(), "APCA-API-SECRET-KEY": key.get_secret_value()}
    # The tape of the live feed; where that is crypto's, the one that every plan has.
    tape = (settings.alpaca_ws_url or ALPACA_WS).rstrip("/").rpartition("/")[2]
    tape = tape if tape in TAPES else TAPES[0]
    rest = Rest(settings.alpaca_rest_url or ALPACA_REST, headers, ALPACA_REQUESTS)
    return AlpacaCandles(rest, names_of(settings.alpaca_symbols), tape)
