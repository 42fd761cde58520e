"""Where bars are from: what is kept with a run, and how a message says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

Origin = Literal["uploaded", "sample", "history"]
_ORIGINS: Final[Mapping[Origin, pb.DataOrigin.ValueType]] = {
    "uploaded": pb.DATA_ORIGIN_UPLOADED,
    "sample": pb.DATA_ORIGIN_SAMPLE,
    "history": pb.DATA_ORIGIN_HISTORY,
}


@dataclass(frozen=True, slots=True)
class DataSource:
    """How bars came; of bars of the past also whose they are, their length's name, and the range (ns) asked for."""

    origin: Origin
    symbol: str = ""
    provider: str = ""
    interval: str = ""
    start_ns: int = 0
    end_ns: int = 0

    @property
    def label(self) -> str:
        """What to call bars of the past."""
        return f"{self.symbol} {self.interval}"


def source_json(source: DataSource | None) -> dict[str, Any] | None:
    """Write a source as JSON knows it."""
    return None if source is None else asdict(source)


def source_of(stored: Mapping[str, Any] | None) -> DataSource | None:
    """Read one; None where none was kept."""
    return None if stored is None else DataSource(**stored)


def source_message(source: DataSource | None) -> pb.DataSource | None:
    """Write one as a message."""
    if source is None:
        return None
    told = types_pb2.HistoryRange(symbol=source.symbol, provider=source.provider, interval=source.interval)
    if source.end_ns:
        told.start_time.CopyFrom(_timestamp(source.start_ns))
        told.end_time.CopyFrom(_timestamp(source.end_ns))
    return pb.DataSource(origin=_ORIGINS[source.origin], history=told if source.symbol else None)


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)
