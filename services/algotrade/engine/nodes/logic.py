"""Conditions in Kleene's three-valued logic: a comparison with NaN is unknown, and unknown never acts."""

from __future__ import annotations

from algotrade.engine.ir import I32, Expr
from algotrade.engine.node_type import TRUTH, Category, Lower, NodeType, Param, ParamKind, boolean, number
from algotrade.engine.nodes.maths import in_order
from algotrade.engine.site import Site, Truth, Value

# For each operator, the comparisons that make it known true and known false; neither holds with NaN.
_COMPARISONS = {
    ">": ("gt", "le"),
    ">=": ("ge", "lt"),
    "<": ("lt", "ge"),
    "<=": ("le", "gt"),
}
_OPERATORS = (*_COMPARISONS, "==", "!=")


def _compare(site: Site) -> dict[str, Value]:
    a = site.input("a").value
    b = site.input("b").value if site.connected("b") else site.number("value")
    op = site.choice("op")
    if op in _COMPARISONS:
        yes, no = (a.op2(name, b) for name in _COMPARISONS[op])
    else:
        yes, no = a.eq(b), (a < b) | (a > b)
        if op == "!=":
            yes, no = no, yes
    return {"value": Truth(site.scope, yes, lambda: no)}


def _all(site: Site) -> dict[str, Value]:
    values = site.truths("inputs")
    return {"value": Truth(site.scope, _join("and", [t.true for t in values]), lambda: _join("or", _false(values)))}


def _any(site: Site) -> dict[str, Value]:
    values = site.truths("inputs")
    return {"value": Truth(site.scope, _join("or", [t.true for t in values]), lambda: _join("and", _false(values)))}


def _false(values: list[Truth]) -> list[Expr]:
    return [value.false for value in values]


def _join(op: str, values: list[Expr]) -> Expr:
    joined = values[0]
    for value in values[1:]:
        joined = joined.op2(op, value)
    return joined


def _odd(site: Site) -> dict[str, Value]:
    """Known only where all are."""
    f, values = site.f, site.truths("inputs")
    odd = f.let(_join("xor", [t.true for t in values]))
    known = f.let(_join("and", [t.true | t.false for t in values]))
    return {"value": Truth(site.scope, odd & known, lambda: (odd ^ 1) & known)}


def _between(site: Site) -> dict[str, Value]:
    x, low, high = site.input().value, site.number("low"), site.number("high")
    return {"value": Truth(site.scope, (x >= low) & (x <= high), lambda: (x < low) | (x > high))}


def _not(site: Site) -> dict[str, Value]:
    value = site.truth("input")
    return {"value": Truth(site.scope, value.false, lambda: value.true)}


def _cross(*, under: bool) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        """Keeps whether a was at or below b on the last bar where both were known."""
        f, before = site.f, site.slot(I32)
        a, b = site.input("a").value, site.input("b").value
        if under:
            a, b = b, a
        behind, beyond = f.let(a <= b), f.let(a > b)
        last = f.let(before.get())
        before.set(behind | (last & (beyond ^ 1)))
        crossed = f.let(last & beyond)

        def false() -> Expr:
            """Known, and known before, but not crossed."""
            seen, known = site.slot(I32), f.let(behind | beyond)
            seen_before = f.let(seen.get())
            seen.set(seen_before | known)
            return seen_before & known & (crossed ^ 1)

        return {"value": Truth(site.scope, crossed, false)}

    return lower


def _crossing(name: str, summary: str, *, under: bool) -> NodeType:
    return NodeType(
        name, Category.LOGIC, summary, _cross(under=under), (number("a"), number("b")), TRUTH, lookback=lambda site: 1
    )


_INPUTS = (boolean("inputs", many=True),)

NODES = (
    NodeType(
        "compare",
        Category.LOGIC,
        "Whether a stands to b as asked; b may be a constant.",
        _compare,
        (number("a"), number("b", "Left open: the parameter value.")),
        TRUTH,
        (
            Param("op", ParamKind.CHOICE, ">", "The comparison.", choices=_OPERATORS),
            Param("value", ParamKind.NUMBER, None, "What to compare with where b is not connected."),
        ),
    ),
    NodeType("and", Category.LOGIC, "True if all are true, false if one is false.", _all, _INPUTS, TRUTH),
    NodeType("or", Category.LOGIC, "True if one is true, false if all are false.", _any, _INPUTS, TRUTH),
    NodeType("xor", Category.LOGIC, "True if an odd number are true; known where all are.", _odd, _INPUTS, TRUTH),
    NodeType("not", Category.LOGIC, "True if false; unknown stays unknown.", _not, (boolean("input"),), TRUTH),
    NodeType(
        "between",
        Category.LOGIC,
        "Whether the input lies from low to high, both included.",
        _between,
        (number(),),
        TRUTH,
        (
            Param("low", ParamKind.NUMBER, 0, "The lower end."),
            Param("high", ParamKind.NUMBER, 100, "The upper end."),
        ),
        rule=in_order,
    ),
    _crossing("crossover", "a was at or below b on the last bar and is above it now.", under=False),
    _crossing("crossunder", "a was at or above b on the last bar and is below it now.", under=True),
)
