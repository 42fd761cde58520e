"""Trades of any exchange that ccxt.pro follows, for those that have no adapter of their own. ccxt is an extra.

It hands on trades as they come and hides how: neither numbers nor frames by which a gap could be known, so every lost
connection is a gap that nobody fills. What its first answer tells of the time before is a snapshot and left out. ccxt
gives `side` as the taker's, but of coinbase the maker's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from algotrade.engine import fixed
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.venues.ccxt_candles import MILLISECOND_NS, PREFIX
from algotrade.market_data.venues.connection import Connection, ConnectionRules
from algotrade.market_data.venues.said import Said, Trade, Trades
from algotrade.market_data.venues.venue import Dialect, VenueRefused
from algotrade.platform.background import end
from algotrade.platform.clock import Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics

log = logger(__name__)

_TAKER: Final = {"buy": BUYER, "sell": SELLER}
_MAKER: Final = {"buy": SELLER, "sell": BUYER}
_TELLS_MAKERS: Final = frozenset({"coinbase"})


class CcxtConnection(Connection):
    """A connection as `VenueFeed` has them, made by ccxt."""

    def __init__(
        self,
        provider: str,
        dialect: Callable[[], Dialect],
        rules: ConnectionRules,
        metrics: Metrics,
        *,
        names: Mapping[str, str],
        clock: Clock,
        said: Callable[[Said], Awaitable[None]],
        up: Callable[[str], Awaitable[None]],
        down: Callable[[str], Awaitable[None]],
    ) -> None:
        """Take the provider (ccxt.kraken), what it calls our symbols, and whom to tell. No dialect is asked for."""
        super().__init__(provider, dialect, rules, metrics, said=said, up=up, down=down)
        self._exchange_name = provider.removeprefix(PREFIX)
        self._sides = _MAKER if self._exchange_name in _TELLS_MAKERS else _TAKER
        self._names = names
        self._clock = clock

    async def _talk(self) -> str:
        pro = _library()
        if self._exchange_name not in pro.exchanges:
            raise VenueRefused(f"ccxt follows no exchange {self._exchange_name}")
        exchange = getattr(pro, self._exchange_name)({"enableRateLimit": True, "newUpdates": True})
        if not exchange.has.get("watchTrades"):
            await exchange.close()
            raise VenueRefused(f"ccxt does not follow the trades of {self._exchange_name}")
        watching: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._changed.clear()
                for symbol in watching.keys() - self._wanted.keys():
                    await end(watching.pop(symbol))
                for symbol in self._wanted.keys() - watching.keys():
                    watching[symbol] = asyncio.create_task(self._follow(exchange, symbol))
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({*watching.values(), changed}, return_when=asyncio.FIRST_COMPLETED)
                await end(changed)
                for task in watching.values():
                    if task.done():
                        task.result()
        except pro.NetworkError as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        except TimeoutError:
            return "silent: nothing came for too long"
        except pro.BaseError as error:
            raise VenueRefused(f"{type(error).__name__}: {str(error)[:200]}") from error
        finally:
            for task in watching.values():
                task.cancel()
            await asyncio.gather(*watching.values(), return_exceptions=True)
            await exchange.close()

    async def _follow(self, exchange: Any, symbol: str) -> None:
        begun_ns, first = self._clock.now_ns(), True
        theirs = self._names.get(symbol, symbol)
        theirs = theirs.replace("-", "/") if theirs == symbol else theirs
        while True:
            async with asyncio.timeout(self._rules.silence_seconds):
                rows = await exchange.watch_trades(theirs)
            self._heard_at = time.monotonic()
            trades = [self._trade(row) for row in rows]
            if first:
                first = False
                if not self.connected:  # which nothing but an answer shows
                    self._is_connected()
                await self._up(symbol)
                trades = [trade for trade in trades if trade.ts >= begun_ns or trade.wrong]
            else:
                self._backoff.reset()
            if trades:
                await self._said(Trades(symbol, trades))

    def _trade(self, row: Mapping[str, Any]) -> Trade:
        """Read a trade; what cannot be is said and left out by the tape."""
        identity = str(row.get("id") or "")
        number = int(identity) if identity.isdecimal() and len(identity) < 19 else 0
        try:
            ts = int(row["timestamp"]) * MILLISECOND_NS
            price, size = fixed.from_number(row["price"]), float(row["amount"])
        except (KeyError, TypeError, ValueError):
            return Trade(number, wrong="bad_frame")
        if not 0 < price <= MAX_AMOUNT:
            return Trade(number, wrong="bad_price")
        if not 0 < size < float("inf"):
            return Trade(number, wrong="bad_size")
        return Trade(number, ts, price, size, self._sides.get(str(row.get("side")), 0))


def _library() -> Any:
    try:
        import ccxt.pro as pro  # an extra, and large
    except ImportError:
        raise VenueRefused("ccxt is not installed: pip install 'algotrade[ccxt]'") from None
    return pro


def no_dialect() -> Dialect:
    """Return how ccxt speaks, which nobody needs to know."""
    raise AssertionError("ccxt speaks for itself")
