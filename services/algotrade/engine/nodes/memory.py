"""Conditions that remember: edges, runs of bars, latches, and what is counted since.

An unknown input counts as false. What they give is always known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algotrade.engine.calendar import DAY_NS, ENTRY_BYTES, SECOND_NS, calendar, zone_table
from algotrade.engine.ir import F64, I32, I64, Expr, const, select
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.node_type import (
    TRUTH,
    VALUE,
    Category,
    Lower,
    NodeType,
    Param,
    ParamKind,
    boolean,
    number,
)
from algotrade.engine.nodes.data import ZONE
from algotrade.engine.site import NAN, Site, Truth, Value

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SCOPES: Final = ("day", "position", "session")
MINUTE_NS: Final = 60 * SECOND_NS
DAY_MINUTES: Final = 24 * 60
FOREVER: Final = 2**31 - 1


def _known(site: Site, true: Expr) -> dict[str, Value]:
    true = site.f.let(true)
    return {"value": Truth(site.scope, true, lambda: true ^ 1)}


def _moving(*, up: bool) -> Lower:
    """How many times in a row the samples moved one way, in a slot. Unknown where the input is."""

    def lower(site: Site) -> dict[str, Value]:
        f, x, n = site.f, site.input(), site.integer("n")
        last, run = site.slot(F64, NAN), site.slot(I32)
        moved, known = f.var(I32, 0), f.var(I32, 0)
        with x.step():
            before = f.let(last.get())
            last.set(x.value)
            went = x.value > before if up else x.value < before
            run.set(f.let(select(went, run.get() + 1, 0)))
            f.set(moved, run.get() >= n)
            f.set(known, x.count() > n)
        return {"value": Truth(site.scope, moved & known, lambda: (moved ^ 1) & known)}

    return lower


def _edge(site: Site) -> dict[str, Value]:
    f, last, now = site.f, site.slot(I32), site.truth("input").true
    before = f.let(last.get())
    last.set(now)
    return _known(site, now & (before ^ 1))


def _run_of(site: Site) -> Expr:
    """For how many bars the input has been true, this one included."""
    f, run = site.f, site.slot(I32)
    length = f.let(select(site.truth("input").true, run.get() + 1, const(I32, 0)))
    run.set(length)
    return length


def _since(site: Site, true: Expr) -> Expr:
    """How many bars ago something was last true; FOREVER before it ever was."""
    f, past = site.f, site.slot(I32, FOREVER)
    bars = f.let(past.get())
    bars = f.let(select(true, const(I32, 0), bars + bars.ne(FOREVER)))
    past.set(bars)
    return bars


def _holdfor(site: Site) -> dict[str, Value]:
    return _known(site, _run_of(site) >= site.integer("n"))


def _withinlast(site: Site) -> dict[str, Value]:
    return _known(site, _since(site, site.truth("input").true) < site.integer("n"))


def _latch(site: Site) -> dict[str, Value]:
    f, held = site.f, site.slot(I32)
    on = f.let((held.get() | site.truth("set").true) & (site.truth("reset").true ^ 1))
    held.set(on)
    return _known(site, on)


def _once_per(site: Site) -> dict[str, Value]:
    f, spent, choice = site.f, site.slot(I32), site.choice("scope")
    if choice != "session":
        key, last = f.let(_scope_key(site, choice)), site.slot(I64, -(2**63))
        with f.when(key.ne(last.get())):
            spent.set(0)
        last.set(key)
    first = f.let(site.truth("input").true & (spent.get() ^ 1))
    spent.set(spent.get() | first)
    return _known(site, first)


def _scope_key(site: Site, scope: str) -> Expr:
    """What changes when a new day, or a new position (or time without one), begins."""
    row = site.row
    if scope == "day":
        return site.f.call(calendar().day, row["day_zone"], row["day_zone_length"], site.scope.bar["ts"])
    held = row["quantity"].ne(0)
    return select(held, row["entry_bar"].to(I64) + 1, const(I64, 0) - 1)


def _every_n_bars(site: Site) -> dict[str, Value]:
    return _known(site, site.scope.bars.op2("rem_s", site.integer("n")).eq(0))


def _time_window(site: Site) -> dict[str, Value]:
    """A window that passes midnight belongs to the day on which it began."""
    f, row = site.f, site.scope.bar
    table = zone_table(site.choice("timezone"))
    entries = len(table) // ENTRY_BYTES
    address = site.table(table) if entries else const(I32, 0)
    zone_offset, day_of = calendar().zone_offset, calendar().day
    local = f.let(row["ts"] + f.call(zone_offset, address, entries, row["ts"]))
    day = f.let(f.call(day_of, const(I32, 0), 0, local))
    minute = f.let((local - day * DAY_NS).op2("div_s", MINUTE_NS).to(I32))
    start, end = minutes_of(site.choice("from")), minutes_of(site.choice("to"))
    after, before = minute >= start, minute < end
    if start >= end:
        inside = after | before
        day = f.let(day - (minute < end).to(I64))
    else:
        inside = after & before
    weekday = ((day + 3).op2("rem_s", 7) + 7).op2("rem_s", 7).to(I32)  # Monday is 0
    mask = sum(1 << index for index in days_of(site.choice("days")))
    return _known(site, inside & const(I32, mask).op2("shr_u", weekday))


def minutes_of(text: str) -> int:
    """Minutes since midnight of ``HH:MM``. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    if not (colon and len(hours) == len(minutes) == 2 and (hours + minutes).isascii() and (hours + minutes).isdigit()):
        raise ValueError(text)
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > DAY_MINUTES:
        raise ValueError(text)
    return total


def days_of(text: str) -> set[int]:
    """The days that a text such as ``mon-fri`` or ``sat,sun`` names, 0 being Monday. Raises ValueError."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        start = DAYS.index(first)
        end = DAYS.index(last) if dash else start
        found.update(day % 7 for day in range(start, end + 1 + (7 if end < start else 0)))
    return found


def _check_time(text: str) -> str | None:
    try:
        minutes_of(text)
    except ValueError:
        return "is not a time such as 09:30, from 00:00 to 24:00"
    return None


def _check_days(text: str) -> str | None:
    try:
        days_of(text)
    except ValueError:
        return f"is not a list of days such as mon-fri or sat,sun; the days are {', '.join(DAYS)}"
    return None


def _differ(settings: Mapping[str, object]) -> tuple[str, str] | None:
    return ("to", "is the same as from") if settings["from"] == settings["to"] else None


def _bars_since(site: Site) -> dict[str, Value]:
    bars = _since(site, site.truth("input").true)
    value = select(bars.ne(FOREVER), bars.to(F64), const(F64, NAN))
    return {"value": site.scope.series(value, tame=True)}


def _value_when(site: Site) -> dict[str, Value]:
    f, x, kept = site.f, site.input("value"), site.slot(F64, NAN)
    with f.when(site.truth("when").true & x.valid()):
        kept.set(x.value)
    return {"value": site.scope.series(kept.get(), tame=x.tame)}


def _counter(site: Site) -> dict[str, Value]:
    f, count = site.f, site.slot(I32)
    if site.connected("reset"):
        with f.when(site.truth("reset").true):
            count.set(0)
    now = f.let(count.get() + site.truth("input").true)
    count.set(now)
    return {"value": site.scope.series(now.to(F64), always=True, tame=True)}


def _cooldown(site: Site) -> dict[str, Value]:
    """Lets a condition through and then keeps silent for so many bars."""
    f, left = site.f, site.slot(I32)
    silent = f.let(left.get())
    passed = f.let(site.truth("input").true & silent.eq(0))
    left.set(select(passed, site.integer("bars"), select(silent > 0, silent - 1, const(I32, 0))))
    return _known(site, passed)


def _n_bars(default: int, summary: str, name: str = "n") -> Param:
    return Param(name, ParamKind.INT, default, summary, 1, MAX_PERIOD, unit="bars")


def _condition(
    name: str, lower: Lower, summary: str, params: tuple[Param, ...] = (), lookback: str = "", less: int = 0
) -> NodeType:
    def bars(site: Site) -> Expr:
        return site.integer(lookback) - less

    inputs = (boolean("input"),)
    return NodeType(name, Category.LOGIC, summary, lower, inputs, TRUTH, params, bars if lookback else None)


def _direction(name: str, word: str, *, up: bool) -> NodeType:
    return NodeType(
        name,
        Category.LOGIC,
        f"Whether the input {word} with each of its last n samples.",
        _moving(up=up),
        (number(),),
        TRUTH,
        (_n_bars(1, "How many in a row."),),
        lambda site: site.integer("n"),
    )


_RESET: Final = boolean("reset", "Left open: never.", required=False)

NODES = (
    _direction("rising", "rose", up=True),
    _direction("falling", "fell", up=False),
    NodeType(
        "edge",
        Category.LOGIC,
        "True on the bar on which the input becomes true.",
        _edge,
        (boolean("input"),),
        TRUTH,
        lookback=lambda site: 1,
    ),
    _condition(
        "holdfor",
        _holdfor,
        "Whether the input has been true on each of the last n bars.",
        (_n_bars(3, "How many bars."),),
        "n",
        1,
    ),
    _condition(
        "withinlast",
        _withinlast,
        "Whether the input has been true on one of the last n bars.",
        (_n_bars(3, "How many bars."),),
    ),
    NodeType(
        "latch",
        Category.LOGIC,
        "On from a bar on which set is true until one on which reset is; reset wins.",
        _latch,
        (boolean("set"), boolean("reset")),
        TRUTH,
    ),
    _condition(
        "once_per",
        _once_per,
        "The input's first true in each day (of the run's day_timezone), position (or time without one) or session.",
        (Param("scope", ParamKind.CHOICE, "day", "How often it may be true.", choices=SCOPES),),
    ),
    NodeType(
        "every_n_bars",
        Category.LOGIC,
        "True on the n-th bar since the session began, the 2n-th and so on.",
        _every_n_bars,
        (),
        TRUTH,
        (_n_bars(10, "How many bars."),),
    ),
    NodeType(
        "time_window",
        Category.LOGIC,
        "Whether the bar starts in a window of the day, from included, to not; one that passes midnight belongs to the"
        " day on which it began.",
        _time_window,
        (),
        TRUTH,
        (
            Param("from", ParamKind.TEXT, "00:00", "The first minute.", check=_check_time),
            Param("to", ParamKind.TEXT, "24:00", "The first minute that is out again.", check=_check_time),
            Param("days", ParamKind.TEXT, "mon-sun", "Days such as mon-fri or sat,sun.", check=_check_days),
            ZONE,
        ),
        rule=_differ,
    ),
    NodeType(
        "bars_since",
        Category.LOGIC,
        "How many bars ago the input was last true; NaN before it ever was.",
        _bars_since,
        (boolean("input"),),
        VALUE,
    ),
    NodeType(
        "value_when",
        Category.LOGIC,
        "The value on the last bar on which the condition was true and there was a value; NaN before.",
        _value_when,
        (boolean("when"), number("value")),
        VALUE,
    ),
    NodeType(
        "counter",
        Category.LOGIC,
        "On how many bars the input has been true; where reset is true it begins anew with that bar.",
        _counter,
        (boolean("input"), _RESET),
        VALUE,
    ),
    _condition(
        "cooldown",
        _cooldown,
        "Lets the input's true through, then keeps silent for a number of bars.",
        (_n_bars(10, "For how many bars.", "bars"),),
    ),
)
