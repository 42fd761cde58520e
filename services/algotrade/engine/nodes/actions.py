"""What a strategy does. An action acts where ``when`` is known to be true at a bar's close; `decide.py` says how."""

from __future__ import annotations

from collections.abc import Mapping

from algotrade.engine import row as R
from algotrade.engine.broker import SIZE_MODES
from algotrade.engine.limits import MAX_NAME_LENGTH
from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, boolean
from algotrade.engine.site import Site, Value

_WHEN = (boolean("when", "Act on bars where this is true."),)
_SMALLEST = 1e-8
_SHARES = ("percent_equity", "risk_percent")


def decided_at_the_close(site: Site) -> dict[str, Value]:
    """Nothing of its own: all actions are looked at together once every node has its value."""
    return {}


def _size_rule(params: Mapping[str, object]) -> tuple[str, str] | None:
    size, mode = params["size"], params["size_mode"]
    if mode in _SHARES and isinstance(size, int) and size > R.WHOLE_PERCENT:
        return "size", f"is outside 1e-08 to 100 for {mode}"
    return None


_SIZE = (
    Param(
        "size_mode",
        ParamKind.CHOICE,
        "percent_equity",
        "What size means: a share of equity that cost and fee must fit into, an amount of money before the fee, a "
        "quantity, or the share of equity to lose at the stop_loss, as far as cash reaches.",
        choices=tuple(SIZE_MODES),
    ),
    Param("size", ParamKind.DECIMAL, 100, "How much.", _SMALLEST, 1e10),
)
_ORDER = (
    Param(
        "order_type",
        ParamKind.CHOICE,
        "market",
        "How to enter: at the next tick; once the price has traded through a better one; or once it has reached a "
        "worse one.",
        choices=("market", "limit", "stop"),
    ),
    Param(
        "limit_offset_percent",
        ParamKind.DECIMAL,
        0,
        "How far from the close a limit or stop waits: better than it for a limit, worse for a stop.",
        0,
        99.99999999,
        unit="%",
    ),
    Param(
        "expire_bars",
        ParamKind.INT,
        None,
        "Give a waiting order up at this many closes after its own; left out: never.",
        1,
        1_000_000,
        unit="bars",
    ),
)
_PORTION = Param("portion", ParamKind.DECIMAL, 100, "Share of the position.", _SMALLEST, 100, unit="%")


def _entry(name: str, summary: str) -> NodeType:
    return NodeType(name, Category.ACTION, summary, decided_at_the_close, _WHEN, (), (*_SIZE, *_ORDER), rule=_size_rule)


def _exit(name: str, summary: str, *params: Param) -> NodeType:
    return NodeType(name, Category.ACTION, summary, decided_at_the_close, _WHEN, (), params)


NODES = (
    _entry("buy", "Enter long. While a position or another entry is open: rejected, already_long or already_short."),
    _entry("short", "Enter short; needs the run setting allow_short. Sized as buy; rejected as buy."),
    _exit(
        "sell",
        "Sell a portion of a long position at the market on the next tick. Of several exits on one bar the largest "
        "counts; while there is no long position nothing happens.",
        _PORTION,
    ),
    _exit("cover", "Buy back a portion of a short position at the market on the next tick, as sell does.", _PORTION),
    _exit("close", "Close the position, long or short, at the market on the next tick."),
    NodeType(
        "reverse",
        Category.ACTION,
        "Close the position and enter on the other side, both on the next tick; needs the run setting allow_short. "
        "While flat nothing happens; where another exit is asked for on the same bar, it only closes.",
        decided_at_the_close,
        _WHEN,
        (),
        _SIZE,
        rule=_size_rule,
    ),
    NodeType("hold", Category.ACTION, "Does nothing: a visible end of a branch.", decided_at_the_close, _WHEN),
    NodeType(
        "notify",
        Category.ACTION,
        "Say something: an event, and no order.",
        decided_at_the_close,
        _WHEN,
        (),
        (
            Param(
                "message",
                ParamKind.TEXT,
                "",
                "What to say.",
                check=lambda text: None if len(text) <= MAX_NAME_LENGTH else f"is longer than {MAX_NAME_LENGTH}",
            ),
            Param(
                "throttle_bars",
                ParamKind.INT,
                0,
                "Stay silent for this many bars, the first included, once something was said.",
                0,
                1_000_000,
                unit="bars",
            ),
        ),
    ),
)
