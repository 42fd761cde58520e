"""Windows in Redis: a stream a symbol, ``market:{SYMBOL}``, which anybody may read with XRANGE.

An entry has one field, ``packed``: the writer's epoch, the last price and the window's length (`HEADER`), then up to 64
consecutive ticks, laid out as TICK. Its id is the sequence of its last tick, so a write that is repeated adds nothing,
and a range of sequences is a range of ids. The braces keep a symbol's keys in one slot of a cluster.

1. A write is one script a symbol, all symbols in one pipeline: pass over what is there, begin anew across a hole, add,
   trim to the window's length in ticks, put the end of the stream's life off by a day.
2. A read is one script too, since "the newest 100 ticks" depends on where the stream ends. It returns the ticks of
   whole entries as one string of bytes, from which the reader takes its part.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Mapping
from typing import Any, Final, cast

import numpy as np

from algotrade.engine.records import TICK, Records, joined
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.market_data.window import Arrivals, Head
from algotrade.platform import limits
from algotrade.platform.redis import RedisClient, answer

LIFE_SECONDS: Final = 24 * 3600  # of a stream to which nothing is added

HEADER: Final = struct.Struct("<3q")  # before the ticks of an entry: epoch, last price (1e-8), length of the window

# Sequences are exact in Lua up to 2^53; epoch and price pass through as bytes. An entry is {id, {"packed", packed}}.
_COMMON: Final = f"""
local KEY, HEADER, TICK, ENTRY = KEYS[1], {HEADER.size}, {TICK.itemsize}, {limits.MAX_TICKS_AN_ENTRY}
local function id(sequence) return string.format('%.0f', sequence) end
local function last_of(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function top() return redis.call('XREVRANGE', KEY, '+', '-', 'COUNT', 1)[1] end
local function capacity_of(packed) return (struct.unpack('<i8', packed, 17)) end
"""

# ARGV: capacity, epoch, seconds of life, whether to replace; then of each entry first and last sequence, price or an
# empty string, and ticks. Returns {capacity, whether the window began anew}.
_WRITE: Final = f"""{_COMMON}
local capacity, epoch, life, replace = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] == '1'
local newest, last, price = top(), 0, string.rep('\\0', 8)
if newest then capacity = math.max(capacity, capacity_of(newest[2][2])) end
if newest and not replace then
  last, price = last_of(newest), string.sub(newest[2][2], 9, 16)
else
  redis.call('DEL', KEY) -- a stream that somebody has emptied still remembers its last id
end
local anew = last == 0
for at = 5, #ARGV, 4 do
  local first, final, ticks = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 3]
  if final > last then
    if last > 0 and first > last + 1 then
      redis.call('DEL', KEY)
      anew = true
    elseif first <= last then
      ticks = string.sub(ticks, (last + 1 - first) * TICK + 1)
    end
    if ARGV[at + 2] ~= '' then price = ARGV[at + 2] end
    redis.call('XADD', KEY, id(final), 'packed', epoch .. price .. struct.pack('<i8', capacity) .. ticks)
    last = final
  end
end
if last > 0 then
  redis.call('XTRIM', KEY, 'MINID', '=', id(math.max(1, last - capacity + 1)))
  redis.call('EXPIRE', KEY, life)
end
return {{capacity, anew and 1 or 0}}
"""

# ARGV: a sequence or an empty string for the newest, and how many ticks. Returns {last sequence, capacity, ticks}.
_READ: Final = f"""{_COMMON}
local newest, count = top(), tonumber(ARGV[2])
if not newest then return {{}} end
local last = last_of(newest)
local after = tonumber(ARGV[1]) or math.max(0, last - count)
local found = {{}}
if after < last then
  for at, entry in ipairs(redis.call('XRANGE', KEY, id(after + 1), id(after + count + ENTRY - 1))) do
    found[at] = string.sub(entry[2][2], HEADER + 1)
  end
end
return {{id(last), capacity_of(newest[2][2]), table.concat(found)}}
"""

# Returns {last sequence, header, last tick, last sequence of the oldest entry, bytes of its ticks}.
_HEAD: Final = f"""{_COMMON}
local newest = top()
if not newest then return {{}} end
local packed, oldest = newest[2][2], redis.call('XRANGE', KEY, '-', '+', 'COUNT', 1)[1]
local header, tick = string.sub(packed, 1, HEADER), string.sub(packed, -TICK)
return {{id(last_of(newest)), header, tick, id(last_of(oldest)), #oldest[2][2] - HEADER}}
"""


class RedisWindows:
    """The port over Redis. Every call may raise what `algotrade.platform.redis.AWAY` lists.

    Whoever appends in the same process wakes those who wait; another process's ticks are found every ``poll_seconds``.
    """

    def __init__(
        self,
        client: RedisClient,
        symbols: list[str],
        capacity: int,
        larger: Mapping[str, int] | None = None,
        *,
        poll_seconds: float,
    ) -> None:
        """Take windows of ``capacity`` ticks or what ``larger`` says of a symbol; one that is longer stays so."""
        self._client = client
        self._poll_seconds = poll_seconds
        self._writing = asyncio.Lock()
        self._room = asyncio.Semaphore(limits.MAX_REDIS_CALLS)
        self._arrivals = Arrivals(symbols)
        self.capacities = {symbol: max(capacity, (larger or {}).get(symbol, 0)) for symbol in symbols}

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        await self.append_all({symbol: LoggedTicks(epoch, ticks)})

    async def append_all(self, batches: Mapping[str, LoggedTicks]) -> list[str]:
        """Append to many windows in one pipeline; return those that began anew."""
        batches = {symbol: batch for symbol, batch in batches.items() if len(batch.ticks)}
        async with self._writing:
            pipeline = self._client.pipeline(transaction=False)
            for symbol, batch in batches.items():
                pipeline.eval(_WRITE, 1, _key(symbol), *self._arguments(symbol, batch, replace=False))
            return self._told(batches, await answer(pipeline.execute()))

    async def replace(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Hold these consecutive ticks, the newest of them, and nothing else; of none, nothing."""
        async with self._writing:
            await self._replace(symbol, LoggedTicks(epoch, ticks[-self.capacities[symbol] :]))

    async def capacity(self, symbol: str) -> int:
        """Return how many ticks are kept at most."""
        await self.head(symbol)
        return self.capacities[symbol]

    async def grow(self, symbol: str, capacity: int, older: Records) -> None:
        """Keep up to ``capacity`` ticks, and those of ``older`` that lead up to what is there."""
        if capacity <= await self.capacity(symbol):
            return
        async with self._writing:
            head, held = await self.head(symbol), await self.newest(symbol, limits.MAX_TICKS_A_WINDOW)
            self.capacities[symbol] = capacity
            if not len(held):
                return
            before = older[older["seq"] < head.oldest][-(capacity - len(held)) :]
            if len(before) and int(before["seq"][-1]) != head.oldest - 1:
                before = before[:0]  # a hole lies between
            await self._replace(symbol, LoggedTicks(head.epoch, joined(TICK, (before, held))))

    async def head(self, symbol: str) -> Head:
        """Return where the feed stands."""
        found = await self._run(_HEAD, symbol)
        if not found:
            return Head()
        last, oldest = int(found[0]), int(found[3])
        epoch, price, capacity = HEADER.unpack(found[1])
        event_ns = int(np.frombuffer(found[2], TICK)["ts"][0])
        capacity = self.capacities[symbol] = max(self.capacities[symbol], capacity)
        first = oldest - int(found[4]) // TICK.itemsize + 1
        return Head(last, max(first, last - capacity + 1), epoch, event_ns, price)

    async def newest(self, symbol: str, count: int) -> Records:
        """Return up to ``count`` of the newest ticks, oldest first."""
        capacity = self.capacities[symbol]
        found = await self._run(_READ, symbol, "", min(count, limits.MAX_TICKS_A_WINDOW))
        if not found:
            return np.zeros(0, TICK)
        return np.frombuffer(found[2], TICK)[-min(count, max(capacity, int(found[1]))) :].copy()

    async def after(self, symbol: str, sequence: int, count: int) -> Records | None:
        """Return up to ``count`` ticks that follow a sequence; None where the next one is no longer, or not, here."""
        capacity = self.capacities[symbol]
        found = await self._run(_READ, symbol, sequence, min(count, limits.MAX_TICKS_A_WINDOW))
        last = int(found[0]) if found else 0
        if sequence == last:
            return np.zeros(0, TICK)
        ticks = np.frombuffer(found[2], TICK) if found else np.zeros(0, TICK)
        oldest = last - max(capacity, int(found[1])) + 1 if found else 1
        if sequence + 1 < oldest or not len(ticks) or int(ticks["seq"][0]) > sequence + 1:
            return None
        first = sequence + 1 - int(ticks["seq"][0])
        return ticks[first : first + count].copy()

    async def wait(self, symbol: str, sequence: int, seconds: float) -> bool:
        """Wait until the head is past a sequence; False if it is not after so long."""
        return await self._arrivals.wait(symbol, sequence, seconds, lambda: self.head(symbol), self._poll_seconds)

    async def _replace(self, symbol: str, batch: LoggedTicks) -> None:
        if not len(batch.ticks):
            await answer(self._client.delete(_key(symbol)))
            self._arrivals.tell(symbol, 0)
            return
        found = await self._run(_WRITE, symbol, *self._arguments(symbol, batch, replace=True))
        self._told({symbol: batch}, [found])

    def _arguments(self, symbol: str, batch: LoggedTicks, *, replace: bool) -> list[Any]:
        arguments: list[Any] = [self.capacities[symbol], _packed(batch.epoch), LIFE_SECONDS, int(replace)]
        size = limits.MAX_TICKS_AN_ENTRY
        for start in range(0, len(batch.ticks), size):
            ticks = batch.ticks[start : start + size]
            priced = ticks["price"][ticks["price"] > 0]
            price = _packed(int(priced[-1])) if len(priced) else b""
            arguments += (int(ticks["seq"][0]), int(ticks["seq"][-1]), price, ticks.tobytes())
        return arguments

    def _told(self, batches: Mapping[str, LoggedTicks], replies: list[Any]) -> list[str]:
        anew = []
        for (symbol, batch), (capacity, began) in zip(batches.items(), replies, strict=True):
            self.capacities[symbol] = max(self.capacities[symbol], int(capacity))
            self._arrivals.tell(symbol, int(batch.ticks["seq"][-1]))
            if began:
                anew.append(symbol)
        return anew

    async def _run(self, script: str, symbol: str, *arguments: Any) -> list[Any]:
        if symbol not in self.capacities:
            raise KeyError(symbol)
        async with self._room:
            return await answer(cast("Awaitable[list[Any]]", self._client.eval(script, 1, _key(symbol), *arguments)))


def _packed(number: int) -> bytes:
    return number.to_bytes(8, "little", signed=True)


def _key(symbol: str) -> str:
    return f"market:{{{symbol}}}"
