"""What a strategy does. An action acts where ``when`` is known to be true at a bar's close."""

from __future__ import annotations

from collections.abc import Mapping

from algotrade.engine import row as R
from algotrade.engine.broker import SIZE_MODES
from algotrade.engine.ir import I64, const
from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, boolean
from algotrade.engine.site import Site, Value

_WHEN = (boolean("when", "Act on bars where this is true."),)
_SMALLEST = 1e-8


def _entry(site: Site) -> dict[str, Value]:
    """Orders are placed once all nodes have their values, see `lower.decide`."""
    return {}


def _exit(site: Site) -> dict[str, Value]:
    portion = site.decimal("portion") if site.node.type.param("portion") else const(I64, R.WHOLE_PERCENT)
    decision = site.scope.decision
    with site.f.when(site.truth("when").true), site.f.when(portion > decision.exit_portion):
        site.f.set(decision.exit_portion, portion)
        site.f.set(decision.exit_node, site.node.index + 1)
    return {}


def _hold(site: Site) -> dict[str, Value]:
    return {}


def _size_rule(params: Mapping[str, object]) -> tuple[str, str] | None:
    size = params["size"]
    if params["size_mode"] == "percent_equity" and isinstance(size, int) and size > R.WHOLE_PERCENT:
        return "size", "is outside 1e-08 to 100 for percent_equity"
    return None


NODES = (
    NodeType(
        "buy",
        Category.ACTION,
        "Buy at the market on the next tick. While long: rejected, already_long.",
        _entry,
        _WHEN,
        (),
        (
            Param(
                "size_mode",
                ParamKind.CHOICE,
                "percent_equity",
                "What size means: a share of equity that cost and fee must fit into, an amount of money before the "
                "fee, or a quantity.",
                choices=tuple(SIZE_MODES),
            ),
            Param("size", ParamKind.DECIMAL, 100, "How much.", _SMALLEST, 1e10),
            Param("order_type", ParamKind.CHOICE, "market", "How to enter.", choices=("market",)),
        ),
        rule=_size_rule,
    ),
    NodeType(
        "sell",
        Category.ACTION,
        "Sell a portion of a long position at the market on the next tick. Of several exits on one bar the largest "
        "counts; while flat nothing happens.",
        _exit,
        _WHEN,
        (),
        (Param("portion", ParamKind.DECIMAL, 100, "Share of the position.", _SMALLEST, 100, unit="%"),),
    ),
    NodeType("close", Category.ACTION, "Close the position at the market on the next tick.", _exit, _WHEN),
    NodeType("hold", Category.ACTION, "Does nothing: a visible end of a branch.", _hold, _WHEN),
)
