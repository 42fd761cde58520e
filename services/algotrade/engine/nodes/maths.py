"""Arithmetic on ports. What is not finite becomes NaN."""

from __future__ import annotations

from algotrade.engine.ir import Expr
from algotrade.engine.node_type import VALUE, Category, Lower, NodeType, number
from algotrade.engine.nodes.overlap import period
from algotrade.engine.site import Site, Value


def _operation(op: str) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        a, b = site.input("a").value, site.input("b").value
        return {"value": site.number_out(a.op2(op, b))}

    return lower


def _lag(site: Site) -> dict[str, Value]:
    f, x, n, out = site.f, site.input(), site.integer("n"), site.out()
    x.keep(site.most("n") + 1)
    with x.step(), f.when(x.count() > n):
        f.set(out, x.ago(n))
    return {"value": site.scope.series(out)}


def _lag_lookback(site: Site) -> Expr:
    return site.integer("n")


def _binary(name: str, op: str, summary: str) -> NodeType:
    return NodeType(name, Category.MATH, summary, _operation(op), (number("a"), number("b")), VALUE)


NODES = (
    _binary("add", "add", "a + b."),
    _binary("sub", "sub", "a - b."),
    _binary("mul", "mul", "a · b."),
    _binary("div", "div", "a / b; division by zero gives NaN."),
    NodeType(
        "lag",
        Category.MATH,
        "The sample n samples ago.",
        _lag,
        (number(),),
        VALUE,
        (period(1, name="n", minimum=1, summary="How many samples ago."),),
        _lag_lookback,
    ),
)
