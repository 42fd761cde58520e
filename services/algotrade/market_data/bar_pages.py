"""ListBars: the bars of a window, and those of the past before it, page by page; and how a bar is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.engine import fixed
from algotrade.engine.records import BAR, Records, joined
from algotrade.engine.settings import INTERVALS
from algotrade.market_data.bars import BarSource
from algotrade.market_data.past import Past
from algotrade.market_data.past_pages import page_end
from algotrade.market_data.spells import Spells
from algotrade.platform import limits, paging
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import market_data_service_pb2 as pb

DEFAULT_BARS: Final = 500
LIST_BARS: Final = "ListBars"
NAMES: Final = {length: name for name, length in INTERVALS.items() if length}


class BarPages:
    """Translates between messages and bars."""

    def __init__(
        self, bars: BarSource, past: Past, provider_of: Callable[[str], str], spells: Callable[[str], Spells]
    ) -> None:
        """Take the bars of windows and of the past, whose past is a symbol's, and what is known of its gaps."""
        self._bars = bars
        self._past = past
        self._provider_of = provider_of
        self._spells = spells

    async def page(self, request: pb.ListBarsRequest, interval: int) -> pb.ListBarsResponse:
        """Return a page of bars of a length (ns, 0 for those of the feed). Raises InvalidArgument; also as `Past.bars`.

        Bars of the past come first, up to the first of the window.
        """
        keys = paging.read_token(LIST_BARS, request.page_token, 3)
        if keys is not None and (keys[:2] != [request.symbol, request.interval] or not isinstance(keys[2], int)):
            raise paging.bad_token()
        after = nanoseconds(request.after_time) if request.HasField("after_time") else -1
        after = max(after, int(keys[2]) if keys else -1)
        before = nanoseconds(request.before_time) if request.HasField("before_time") else fixed.MAX
        size = paging.page_size(request.page_size, DEFAULT_BARS, limits.MAX_BARS_A_PAGE)
        kept = await self._bars.kept(request.symbol, interval)
        bars = joined(BAR, (kept.closed, kept.builder.open))
        begin_ns = min(int(bars["ts"][0]) if len(bars) else fixed.MAX, before)
        told, covered_ns = await self._told(request.symbol, interval, after, begin_ns, size)
        messages = [_told(row, self._provider_of(request.symbol)) for row in told[:size].tolist()]
        if len(messages) < len(told):
            covered_ns = int(told["ts"][len(messages) - 1]) + 1
        if covered_ns < begin_ns:
            return self._answer(request, messages, covered_ns - 1)
        rest = bars[(bars["ts"] > after) & (bars["ts"] < before)] if after <= fixed.MAX else bars[:0]
        page = rest[: size - len(messages)]
        open_ns = int(bars["ts"][-1]) if len(bars) > len(kept.closed) else fixed.MAX
        messages += self.messages(request.symbol, interval, page, open_ns)
        last = int(page["ts"][-1]) if len(page) else begin_ns - 1
        return self._answer(request, messages, last if len(page) < len(rest) else None)

    def messages(self, symbol: str, interval: int, bars: Records, open_ns: int = fixed.MAX) -> list[pb.Bar]:
        """Write bars of a window, of which those from a time on are not over."""
        spells, found = self._spells(symbol), []
        for row in bars.tolist():
            bar, end_ns = _bar(*row), row[0] + max(interval, 1)
            bar.complete = row[0] < open_ns
            bar.source, bar.gapped = spells.sources(row[0], end_ns), spells.gapped(row[0], end_ns)
            found.append(bar)
        return found

    async def _told(self, symbol: str, interval: int, after: int, begin_ns: int, size: int) -> tuple[Records, int]:
        """Return bars of the past between a time and where the window begins, of one page, and how far they go."""
        provider, name = self._provider_of(symbol), NAMES.get(interval, "")
        nothing = np.zeros(0, BAR), begin_ns
        if after < 0 or not provider or name not in self._past.lengths(provider):
            return nothing
        start_ns = after + 1
        if start_ns >= min(begin_ns, self._past.now_ns()):
            return nothing
        span = self._past.span(provider, symbol, name, start_ns, begin_ns, field="after_time")
        until_ns = page_end(span, size)
        bars, _ = await self._past.bars(span.part(start_ns, until_ns))
        return bars, begin_ns if until_ns >= span.end_ns else until_ns

    @staticmethod
    def _answer(request: pb.ListBarsRequest, bars: Sequence[pb.Bar], after: int | None) -> pb.ListBarsResponse:
        token = "" if after is None else paging.write_token(LIST_BARS, request.symbol, request.interval, after)
        return pb.ListBarsResponse(bars=bars, next_page_token=token)


def _told(row: tuple[int, int, int, int, int, float], provider: str) -> pb.Bar:
    bar = _bar(*row)
    bar.complete, bar.past, bar.source = True, True, provider
    return bar


def _bar(ts: int, open_price: int, high: int, low: int, close: int, volume: float) -> pb.Bar:
    return pb.Bar(
        start_time=Timestamp(seconds=ts // SECOND_NS, nanos=ts % SECOND_NS),
        open=fixed.text(open_price),
        high=fixed.text(high),
        low=fixed.text(low),
        close=fixed.text(close),
        volume=volume,
    )


def nanoseconds(time: Timestamp) -> int:
    """Read a time; nanoseconds since the epoch, none before it."""
    return max(time.seconds * SECOND_NS + time.nanos, 0)
