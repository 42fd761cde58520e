"""What a strategy can see: the bar, the clock, its position and its account."""

from __future__ import annotations

from typing import Final

from algotrade.engine.calendar import ENTRY_BYTES, FIELDS, calendar, zone_table
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import F64, Expr, const, select
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, NodeType, Param, ParamKind, Port
from algotrade.engine.site import NAN, Series, Site, Value

PRICE_FIELDS = ("open", "high", "low", "close", "hl2", "hlc3", "ohlc4")


def _price(site: Site) -> dict[str, Value]:
    return {"value": site.scope.price(site.choice("field"))}


def _volume(site: Site) -> dict[str, Value]:
    return {"value": site.scope.price("volume")}


def _time(site: Site) -> dict[str, Value]:
    table = zone_table(site.choice("timezone"))
    field = FIELDS.index(site.choice("field"))
    entries = len(table) // ENTRY_BYTES
    address = site.table(table) if entries else const("i32", 0)
    value = site.f.call(calendar().field, address, entries, site.scope.bar["ts"], field)
    return {"value": site.scope.series(value, always=True)}


def _constant(site: Site) -> dict[str, Value]:
    return {"value": site.scope.series(site.number("value"), always=True)}


def _units(value: Expr) -> Expr:
    """An amount in units of 1e-8 as f64."""
    return value.to(F64) / float(SCALE)


def _position(site: Site) -> dict[str, Value]:
    f, row, scope = site.f, site.row, site.scope
    held = f.let(row["quantity"])
    quantity = f.let(_units(held))
    price = f.let(_units(row["average_price"]))
    close = scope.price("close").value

    def always(value: Expr) -> Series:
        return scope.series(value, always=True)

    return {
        "side": always((held > 0).to(F64) - (held < 0).to(F64)),
        "quantity": always(quantity),
        "average_price": scope.series(select(held.ne(0), price, const(F64, NAN))),
        "unrealized_pnl": always((close - price) * quantity),
        "bars_held": always(select(held.ne(0), (scope.bars - row["entry_bar"]).to(F64), const(F64, 0.0))),
    }


def _account(site: Site) -> dict[str, Value]:
    f, row, scope = site.f, site.row, site.scope
    equity = f.let(row["equity"])
    values = {
        "equity": equity / float(SCALE),
        "cash": _units(row["cash"]),
        "drawdown": (1.0 - equity / row["peak"]) * 100.0,
        "day_pnl": (equity - row["day_equity"]) / float(SCALE),
    }
    return {port: scope.series(value, always=True) for port, value in values.items()}


def _check_zone(name: str) -> str | None:
    try:
        zone_table(name)
    except ValueError:
        return "is not a time zone of the tz database"
    return None


ZONE: Final = Param("timezone", ParamKind.TEXT, "UTC", "A name of the tz database.", check=_check_zone)

NODES = (
    NodeType(
        "price",
        Category.DATA,
        "A price of the bar.",
        _price,
        (),
        VALUE,
        (
            Param(
                "field",
                ParamKind.CHOICE,
                "close",
                "Which price; hl2, hlc3 and ohlc4 are means of those named.",
                choices=PRICE_FIELDS,
            ),
            TIMEFRAME,
        ),
    ),
    NodeType("volume", Category.DATA, "The quantity traded in the bar.", _volume, (), VALUE, (TIMEFRAME,)),
    NodeType(
        "time",
        Category.DATA,
        "A part of the bar's start, by the clock of a time zone.",
        _time,
        (),
        VALUE,
        (
            Param(
                "field",
                ParamKind.CHOICE,
                "hour",
                "timestamp is in seconds since the epoch; day_of_week is 0 on Monday.",
                choices=FIELDS,
            ),
            ZONE,
        ),
    ),
    NodeType(
        "constant",
        Category.DATA,
        "A fixed number.",
        _constant,
        (),
        VALUE,
        (Param("value", ParamKind.NUMBER, 0, "The number."),),
    ),
    NodeType(
        "position",
        Category.DATA,
        "The open position at the bar's close. average_price is NaN while flat; unrealized_pnl is before fees.",
        _position,
        (),
        (
            Port("side", summary="1 long, -1 short, 0 flat"),
            Port("quantity", summary="negative when short"),
            Port("average_price"),
            Port("unrealized_pnl"),
            Port("bars_held", summary="1 at the first close after the entry"),
        ),
    ),
    NodeType(
        "account",
        Category.DATA,
        "The account at the bar's close.",
        _account,
        (),
        (
            Port("equity"),
            Port("cash"),
            Port("drawdown", summary="percent below the highest equity at a close"),
            Port("day_pnl", summary="equity less that of the last close before this day"),
        ),
    ),
)
