"""The state of one session: one row of bytes whose first fields are the same in every artefact.

Settings are written by the host before a run; everything else belongs to the module. A graph's own slots and rings
follow these fields (`lower.py`). Amounts are i64 in units of 1e-8, times i64 nanoseconds, indicator values f64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algotrade.engine.ir import I64, Struct, Type
from algotrade.engine.records import BAR, EVENT, TICK

# Absolute addresses shared by all rows of a module: the event log that the host provides.
LOG_POINTER: Final = 16
LOG_COUNT: Final = 20
LOG_LIMIT: Final = 24  # stop early once this many events are in the log

NO_LEVEL: Final = 2**63 - 1  # a trigger above every price

# Percentages and basis points are integers in units of 1e-8 too, so a whole is:
WHOLE_PERCENT: Final = 100 * 10**8
WHOLE_BPS: Final = 10_000 * 10**8

# Bits of `attention`: why the next tick must go through the broker even if it touches no level.
ENTRY_PENDING: Final = 1
EXIT_PENDING: Final = 2
WATCH_PATH: Final = 4  # an exit happened on this bar's assumed path; see whether another order would have changed it
PATH_MOVED: Final = 8  # this bar's assumed path has filled an entry or moved a stop: an exit on it depends on the path
ON_PATH: Final = WATCH_PATH | PATH_MOVED
PENDING: Final = ENTRY_PENDING | EXIT_PENDING

# Values of `mode`.
RUNNING: Final = 0
EXITS_ONLY: Final = 1
HALTED: Final = 2
STALE: Final = 3  # the feed is silent: no entries, stale_data
GAP: Final = 4  # ticks are missing, what comes is late: no entries either, and nothing fills before the feed is live

# What every tick reads and writes: two lines of the processor's cache, so that many sessions step quickly.
TICKING: Final[Mapping[str, Type]] = {
    "last_seq": "i64",
    "since": "i64",  # the time of the first record seen
    "bar_end": "i64",
    "low_trigger": "i64",  # the broker must look at prices at or below this
    "high_trigger": "i64",  # or at or above this
    "last_ts": "i64",
    "last_price": "i64",
    "mode": "i32",
    "in_bar": "i32",
    "bar_ts": "i64",  # the bar being built, laid out as a BAR record
    "bar_open": "i64",
    "bar_high": "i64",
    "bar_low": "i64",
    "bar_close": "i64",
    "bar_volume": "f64",
    "attention": "i32",
    "closes_always": "i32",  # setting: CLOSES_BAR where every tick is a bar, else 0
    "closes_mask": "i32",  # setting: CLOSES_BAR where flags close bars, else 0
    "slot": "i32",
}

SETTINGS: Final[Mapping[str, Type]] = {
    "initial_cash": "i64",
    "fee_bps": "i64",
    "slippage_bps": "i64",
    "lot_step": "i64",
    "price_step": "i64",
    "min_notional": "i64",
    "max_position_percent": "i64",
    "interval": "i64",  # nanoseconds; 0: bars close by their ticks' flags
    "bar_length": "i64",  # nanoseconds from a bar's start to its end, for coarser clocks; 0 where each tick is a bar
    "fill_at_close": "i32",
    "worst_path": "i32",
    "allow_short": "i32",
    "day_zone": "i32",  # address of the day's time zone table, see calendar.py
    "day_zone_length": "i32",
}

STATE: Final[Mapping[str, Type]] = {
    "cash": "i64",
    "quantity": "i64",  # negative when short
    "cost": "i64",  # what the open position cost, without its fee; negative for a short: what it brought in
    "entry_fee": "i64",
    "average_price": "i64",
    "entry_ts": "i64",
    "realized_pnl": "i64",
    "fees_paid": "i64",
    "stop": "i64",  # the level that counts, 0: none
    "target": "i64",  # 0: none
    "set_stop": "i64",  # the stop_loss node's own level, 0: none
    "moving_stop": "i64",  # the tightest level of those that follow the price, 0: none
    "next_move": "i64",  # at this price, or beyond it in the position's favour, they have to be looked at
    "best_price": "i64",  # the most favourable since the entry
    "order_level": "i64",  # the price that an entry waits for, 0: none waits
    "order_low": "i64",  # it fills at prices at or below this
    "order_high": "i64",  # or at or above this
    "watched_low": "i64",
    "watched_high": "i64",
    "exit_portion": "i64",
    "entry_node": "i32",
    "exit_node": "i32",
    "exit_reason": "i32",
    "entry_short": "i32",
    "stop_reason": "i32",
    "moving_reason": "i32",
    "order_bar": "i32",  # how many bars had closed when the waiting entry was decided
    "warmup": "i32",
    "bars": "i32",
    "entry_bar": "i32",  # how many bars had closed when the position was entered
    "event_number": "i64",
    "equity": "f64",  # at the last close; this and the next in units of 1e-8
    "peak": "f64",
    "lowest": "f64",  # equity below this falls deeper from the peak than ever before
    "max_drawdown": "f64",  # of the peak, 0 to 1
    "day": "i64",
    "day_equity": "f64",  # at the last close before this day
    "day_known": "i32",
    "ended": "i32",  # max_drawdown_halt has ended all trading
    "blocked": "i32",  # daily_loss_limit has ended trading for the day below
    "trades_today": "i32",  # entries on the day below
    "blocked_day": "i64",
    "trades_day": "i64",
}


def _structs() -> tuple[Struct, Struct, Struct, Struct]:
    row, bar, tick, event = Struct(), Struct(), Struct(), Struct()
    for name, type in {**TICKING, **SETTINGS, **STATE}.items():
        row.add(name, type)
    row.size += -row.size % 8
    kinds: Mapping[str, Type] = {"<i4": "i32", "<i8": I64, "<f8": "f64"}
    for struct, dtype in ((bar, BAR), (tick, TICK), (event, EVENT)):
        for name in dtype.names or ():
            struct.add(name, kinds[dtype[name].str])
    return row, bar, tick, event


ROW, BAR_FIELDS, TICK_FIELDS, EVENT_FIELDS = _structs()
