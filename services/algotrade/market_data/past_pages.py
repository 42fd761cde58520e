"""ListHistory and ListHistoryProviders: ranges of the past in messages, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.market_data.past import Past, Span
from algotrade.platform import limits, paging
from algotrade.platform.bar_columns import columns_of
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import types_pb2

LIST_PROVIDERS: Final = "ListHistoryProviders"
LIST_HISTORY: Final = "ListHistory"


class PastPages:
    """Translates between messages and the past."""

    def __init__(self, past: Past, of_symbols: Mapping[str, str]) -> None:
        """Take the past, and whose bars are meant where a symbol is named and no provider."""
        self._past = past
        self._of_symbols = of_symbols

    def provider_of(self, symbol: str) -> str:
        """Return whose bars are those of a symbol's feed; empty where there are none."""
        return self._of_symbols.get(symbol, "")

    def providers(self, request: pb.ListHistoryProvidersRequest) -> pb.ListHistoryProvidersResponse:
        """Return a page of the providers."""
        keys = paging.read_token(LIST_PROVIDERS, request.page_token, 1)
        names = sorted(name for name in self._past.sources if keys is None or name > str(keys[0]))
        page = names[: paging.page_size(request.page_size)]
        token = paging.write_token(LIST_PROVIDERS, page[-1]) if len(page) < len(names) else ""
        return pb.ListHistoryProvidersResponse(providers=[self._provider(name) for name in page], next_page_token=token)

    async def page(self, request: pb.ListHistoryRequest) -> pb.ListHistoryResponse:
        """Return a page of bars, fetched where they are missing. Raises InvalidArgument; else as `Past.bars`."""
        asked = request.history
        named = f"{asked.symbol} {asked.provider} {asked.interval} {asked.start_time.ToNanoseconds()}"
        keys = paging.read_token(LIST_HISTORY, request.page_token, 3)
        if keys is not None and (keys[0] != named or not all(isinstance(key, int) for key in keys[1:])):
            raise paging.bad_token()
        span = self._span(asked) if keys is None else self._span(asked, int(keys[1]), int(keys[2]))
        size = paging.page_size(request.page_size, limits.BARS_A_CHUNK, limits.MAX_HISTORY_PAGE)
        until_ns = page_end(span, size)
        bars, fetched = await self._past.bars(span.part(span.start_ns, until_ns))
        more = until_ns < span.end_ns
        return pb.ListHistoryResponse(
            bars=None if request.omit_bars else columns_of(bars),
            next_page_token=paging.write_token(LIST_HISTORY, named, until_ns, span.end_ns) if more else "",
            bar_count=len(bars),
            fetched_count=fetched,
            covered_time=Timestamp(seconds=until_ns // SECOND_NS, nanos=until_ns % SECOND_NS),
            provider=span.series.provider,
        )

    def _span(self, asked: types_pb2.HistoryRange, start_ns: int | None = None, end_ns: int | None = None) -> Span:
        """Read a range, or what a token says is left of it: without an end it goes up to what was then now."""
        if start_ns is None:
            start_ns = max(asked.start_time.ToNanoseconds(), 0)
            end_ns = asked.end_time.ToNanoseconds() if asked.HasField("end_time") else None
        provider = asked.provider or self.provider_of(asked.symbol)
        return self._past.span(provider, asked.symbol, asked.interval, start_ns, end_ns)

    def _provider(self, name: str) -> pb.HistoryProvider:
        symbols = self._past.sources[name].symbols
        return pb.HistoryProvider(provider=name, intervals=self._past.lengths(name), symbols=symbols)


def page_end(span: Span, size: int) -> int:
    """Return where a page of so many lengths of a bar ends: with a file of the cache where it reaches one's end.

    A page of long bars spans no more of the provider's own than one of those does.
    """
    series = span.series
    spanned = min(size * span.length_ns, limits.MAX_HISTORY_PAGE * series.interval_ns)
    end_ns = span.start_ns + max(spanned, span.length_ns)
    with_file_ns = end_ns // series.chunk_ns * series.chunk_ns
    return min(with_file_ns if with_file_ns > span.start_ns else end_ns, span.end_ns)
