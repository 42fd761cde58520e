"""A made-up market: the same seed gives the same ticks, on every machine and however they are consumed.

Prices follow a geometric random walk whose volatility clusters (its logarithm reverts to a mean, step by step), with
rare jumps. Ticks come at random times, sometimes in bursts, sometimes not at all for a few seconds. Everything is
made in chunks of fixed length from one generator a symbol, so the pace of the reader changes nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import TICK, Records
from algotrade.market_data.feed import FeedItem, FeedSymbol, FeedTicks, Resume
from algotrade.platform.clock import SECOND_NS, Clock

CHUNK: Final = 64
PRICE_STEP: Final = SCALE // 100  # 0.01
YEAR_SECONDS: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class MarketModel:
    """How a made-up market behaves."""

    start_price: int  # units of 1e-8
    ticks_per_second: float = 20.0
    volatility: float = 1.2  # a year, as a fraction
    volatility_memory: float = 0.97  # of the logarithm of volatility, from chunk to chunk
    volatility_noise: float = 0.25
    jump_chance: float = 0.0005  # a tick
    jump_size: float = 0.002  # standard deviation, as a fraction
    burst_chance: float = 0.05  # a chunk: its ticks come ten times as fast
    gaps_a_minute: float = 0.4  # two to eight seconds of silence
    mean_size: float = 0.25


START_PRICES: Final[Mapping[str, int]] = {"BTC-USD": 64_000 * SCALE, "ETH-USD": 3_400 * SCALE}
OTHER_START_PRICE: Final = 100 * SCALE


class SyntheticMarket:
    """The endless ticks of one symbol, chunk by chunk."""

    def __init__(self, model: MarketModel, seed: Sequence[int], start_ns: int) -> None:
        """Begin at a time; the first tick comes after it."""
        self._model = model
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(tuple(seed))))
        self._log_price = math.log(model.start_price / SCALE)
        self._log_volatility = 0.0  # around the model's
        self._ts = start_ns

    def chunk(self) -> Records:
        """Make the next CHUNK ticks (dtype TICK, ``seq`` not set)."""
        model, random = self._model, self._random
        burst, gap = random.random(2)
        silence = random.uniform(2.0, 8.0)
        waits = random.exponential(1.0 / model.ticks_per_second, CHUNK)
        if burst < model.burst_chance:
            waits /= 10.0
        if gap < model.gaps_a_minute / 60.0 * CHUNK / model.ticks_per_second:
            waits[0] += silence
        self._log_volatility *= model.volatility_memory
        self._log_volatility += model.volatility_noise * random.standard_normal()
        volatility = model.volatility * math.exp(min(max(self._log_volatility, -2.0), 2.0))
        steps = volatility * np.sqrt(waits / YEAR_SECONDS) * random.standard_normal(CHUNK)
        jumps = random.random(CHUNK) < model.jump_chance
        steps += jumps * model.jump_size * random.standard_normal(CHUNK)
        path = self._log_price + np.cumsum(steps)
        self._log_price = float(path[-1])
        ticks = np.zeros(CHUNK, TICK)
        nanos = np.maximum(1, np.rint(waits * SECOND_NS)).astype(np.int64)
        ticks["ts"] = self._ts + np.cumsum(nanos)
        self._ts = int(ticks["ts"][-1])
        price_steps = np.rint(np.exp(path) * (SCALE / PRICE_STEP)).astype(np.int64)
        ticks["price"] = np.maximum(price_steps, 1) * PRICE_STEP
        ticks["size"] = np.round(random.exponential(model.mean_size, CHUNK), 8)
        return ticks


class SyntheticFeed:
    """The port `Feed` over made-up markets, in the clock's own time.

    After a restart or a pause it goes on from the last price with another stretch of the seed's randomness.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int,
        clock: Clock,
        ticks_per_second: float = 20.0,
        on_demand: Sequence[str] = (),
    ) -> None:
        """Name the symbols, those that always run and those on demand; each has randomness of its own."""
        always = [FeedSymbol(name, "synthetic") for name in names]
        self.symbols = (*always, *(FeedSymbol(name, "synthetic", on_demand=True) for name in on_demand))
        self._seed = seed
        self._clock = clock
        self._ticks_per_second = ticks_per_second

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield ticks as their time comes: all that are due, at once."""
        start_price = resume.price or START_PRICES.get(symbol, OTHER_START_PRICE)
        model = MarketModel(start_price, self._ticks_per_second)
        start_ns = max(self._clock.now_ns(), resume.event_ns)
        stretch = (self._seed, zlib.crc32(symbol.encode()), resume.epoch, resume.sequence)
        market = SyntheticMarket(model, stretch, start_ns)
        while True:
            ticks = market.chunk()
            sent = 0
            while sent < len(ticks):
                await self._clock.sleep_until(int(ticks["ts"][sent]))
                due = max(sent + 1, int(np.searchsorted(ticks["ts"], self._clock.now_ns(), side="right")))
                yield FeedTicks(ticks[sent:due])
                sent = due
