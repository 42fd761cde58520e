"""Bounds on what a strategy may lose, hold and do. Losses are of the equity at closes, open positions included."""

from __future__ import annotations

from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, boolean
from algotrade.engine.nodes.actions import decided_at_the_close

_MOST = 99.99999999


def _limit(name: str, summary: str, param: Param) -> NodeType:
    return NodeType(name, Category.RISK, summary, decided_at_the_close, params=(param,))


NODES = (
    _limit(
        "max_position",
        "Reject an entry, position_limit, whose cost is more than a share of equity.",
        Param("percent", ParamKind.DECIMAL, 100, "The share.", 1e-8, 100, unit="%"),
    ),
    _limit(
        "max_drawdown_halt",
        "Once equity at a close is this far below its peak: close the position and reject every later entry, halted.",
        Param("percent", ParamKind.DECIMAL, 20, "The fall.", 1e-8, _MOST, unit="%"),
    ),
    _limit(
        "daily_loss_limit",
        "Once equity at a close is this far below that of the last close of the day before: close the position and "
        "reject every entry that would fill on the same day.",
        Param("percent", ParamKind.DECIMAL, 5, "The loss.", 1e-8, _MOST, unit="%"),
    ),
    _limit(
        "max_trades_per_day",
        "Reject an entry that would fill on a day that has had this many.",
        Param("n", ParamKind.INT, 10, "How many entries.", 1, 1_000_000),
    ),
    NodeType(
        "no_entry",
        Category.RISK,
        "Reject entries decided at closes where this is true, and give up an order that waits.",
        decided_at_the_close,
        (boolean("when", "No entry on bars where this is true."),),
    ),
)
