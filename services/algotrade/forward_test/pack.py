"""Records of one symbol's ticks packed for the archive, and unpacked as they were.

Columns of differences in their greatest common unit, their bytes laid side by side, compress to a few bytes a tick;
sizes that are decimals of 8 places are kept as such. What is not a plain batch of
ticks, such as a change of the feed's state or a record that nobody can read, is kept as it stands: a reader of the
archive takes, drops and refuses exactly what a reader of the log did.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from algotrade.engine.records import TICK, Records, joined
from algotrade.platform.bus import Record
from algotrade.platform.ticks import from_batch, to_batch
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1.events_pb2 import MarketDataUpdate

LEVEL: Final = 6
_HEAD: Final = struct.Struct("<BIII")  # version, records, ticks, bytes kept as they stand
_VERSION: Final = 1
_AS_IT_STANDS: Final = -1  # in place of a number of ticks; then the first sequence is a number of bytes
_META: Final = ("<i8", "<i8", "<i8", "<i4")  # offset, epoch, first sequence, ticks
_COLUMNS: Final = (("ts", "<i8"), ("price", "<i8"), ("size", "<i8"), ("flags", "<i4"))
_UNITS: Final = struct.Struct(f"<{len(_META) + len(_COLUMNS)}q")  # of each column's numbers
_E8: Final = 1e8
_BITS: Final = 0  # in place of the unit of sizes: they are kept as the bits they are


def pack(records: Sequence[Record]) -> tuple[bytes, int]:
    """Return records of one symbol, in order, packed; and how many ticks are in them."""
    meta: list[tuple[int, int, int, int]] = []
    parts: list[Records] = []
    raw: list[bytes] = []
    for record in records:
        update = _plain(record)
        if update is None:
            raw.append(record.payload)
            meta.append((record.offset, 0, len(record.payload), _AS_IT_STANDS))
        else:
            parts.append(from_batch(update.ticks))
            meta.append((record.offset, update.epoch, update.ticks.first_sequence, len(parts[-1])))
    ticks = joined(TICK, parts)
    told = np.array(meta, np.int64).reshape(len(meta), 4)
    columns = [_in_units(_steps(told[:, index].astype(kind))) for index, kind in enumerate(_META)]
    for name, kind in _COLUMNS:
        columns.append(_sizes(ticks["size"]) if name == "size" else _in_units(_steps(ticks[name].astype(kind))))
    kept = b"".join(raw)
    head = _HEAD.pack(_VERSION, len(meta), len(ticks), len(kept)) + _UNITS.pack(*(unit for unit, _ in columns))
    return zlib.compress(head + b"".join(_laid(column) for _, column in columns) + kept, LEVEL), len(ticks)


def unpack(packed: bytes, partition: int, symbol: str) -> list[Record]:
    """Return the records. Raises ValueError for bytes that were not packed so."""
    try:
        data = zlib.decompress(packed)
        version, count, ticks_count, kept = _HEAD.unpack_from(data)
        units = _UNITS.unpack_from(data, _HEAD.size)
    except (zlib.error, struct.error) as error:
        raise ValueError(f"a segment of {symbol}: {error}") from error
    widths = [np.dtype(kind).itemsize * count for kind in _META]
    widths += [np.dtype(kind).itemsize * ticks_count for _, kind in _COLUMNS]
    at = _HEAD.size + _UNITS.size
    if version != _VERSION or len(data) != at + sum(widths) + kept:
        raise ValueError(f"a segment of {symbol}: version {version}, {len(data)} bytes")
    columns: dict[str, Any] = {}
    names = [*map(str, range(len(_META))), *(name for name, _ in _COLUMNS)]
    kinds = [*_META, *(kind for _, kind in _COLUMNS)]
    for name, kind, width, unit in zip(names, kinds, widths, units, strict=True):
        numbers = _read(data[at : at + width], kind)
        columns[name] = numbers if name == "size" else _sums(numbers * numbers.dtype.type(unit))
        at += width
    ticks = np.zeros(ticks_count, TICK)
    unit = units[len(_META) + 2]
    columns["size"] = columns["size"].view("<f8") if unit == _BITS else columns["size"] * unit / _E8
    for name, _ in _COLUMNS:
        ticks[name] = columns[name]
    return _records([columns[name] for name in names[: len(_META)]], ticks, data[at:], partition, symbol)


def _records(meta: Sequence[Any], ticks: Records, raw: bytes, partition: int, symbol: str) -> list[Record]:
    found, tick, byte = [], 0, 0
    for offset, epoch, first, count in zip(*(column.tolist() for column in meta), strict=True):
        if count == _AS_IT_STANDS:
            payload, byte = raw[byte : byte + first], byte + first
        else:
            batch, tick = ticks[tick : tick + count], tick + count
            batch["seq"] = np.arange(first, first + count)
            payload = MarketDataUpdate(symbol=symbol, epoch=epoch, ticks=to_batch(batch)).SerializeToString()
        found.append(Record(MARKET_DATA_UPDATES.name, partition, offset, symbol, payload, {}, 0))
    return found


def _plain(record: Record) -> MarketDataUpdate | None:
    """Return the update of a record that is a batch of ticks and nothing else; None of any other."""
    try:
        update = MarketDataUpdate.FromString(record.payload)
        ticks = from_batch(update.ticks)
    except (DecodeError, ValueError):
        return None
    again = MarketDataUpdate(symbol=record.key, epoch=update.epoch, ticks=to_batch(ticks))
    return update if len(ticks) and again == update else None


def _steps(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return each number less the one before it; what leaves the range comes round again, there and back."""
    with np.errstate(over="ignore"):
        return np.diff(column, prepend=column.dtype.type(0))


def _sums(steps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.cumsum(steps, dtype=steps.dtype)


def _in_units(numbers: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """Return the greatest unit that all numbers are multiples of, and how many of it each is."""
    low = np.iinfo(numbers.dtype).min
    unit = 1 if (numbers == low).any() else int(np.gcd.reduce(numbers)) if len(numbers) else 1
    return max(unit, 1), numbers // max(unit, 1)


def _sizes(sizes: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """Return sizes as decimals of 8 places, where each comes back as the very float it was; else as their bits."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint(sizes * _E8)
        whole = np.where(np.abs(scaled) < 2**53, scaled, 0).astype("<i8")
        unit, numbers = _in_units(whole)
        if np.array_equal((numbers * unit / _E8).view("<i8"), np.ascontiguousarray(sizes).view("<i8")):
            return unit, numbers
    return _BITS, np.ascontiguousarray(sizes).view("<i8")


def _laid(column: npt.NDArray[Any]) -> bytes:
    """Return the first bytes of all numbers, then the second, and so on."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.dtype.itemsize).T.tobytes()


def _read(raw: bytes, kind: str) -> npt.NDArray[Any]:
    width = np.dtype(kind).itemsize
    count = len(raw) // width
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(width, count).T).view(kind).reshape(count)
