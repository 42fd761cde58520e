"""docs/nodes.md: the catalogue as a page, a table a family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from algotrade.engine.interpreter import Interpreter
from algotrade.engine.ir import I32, Expr, Function, Program, View, const
from algotrade.engine.node_type import Category, NodeType, Param, Port
from algotrade.engine.row import ROW
from algotrade.engine.site import Row, Scope, Site
from algotrade.engine.strategy import CheckedNode

_HEAD = """# Nodes

Every node type that a strategy can use. This page is written by `algotrade nodes --markdown`; `make check` fails where
it is not what the catalogue says.

An input marked `?` may be left open, one marked `*` takes any number of edges, and `(bool)` marks conditions; the rest
are numbers. Parameters stand as `name = default (least to most, unit)`, `–` being a parameter that may be left out. The
lookback is how many bars a node needs before its first value, with the parameters at their defaults.
"""
_COLUMNS = ("node", "inputs", "outputs", "parameters", "lookback", "what it gives", "source")


def page(types: Sequence[NodeType]) -> str:
    """Markdown."""
    parts = [_HEAD]
    for category in dict.fromkeys(node.category for node in types):
        parts.append(_family(category, [node for node in types if node.category is category]))
    return "\n".join(parts)


def _family(category: Category, types: Iterable[NodeType]) -> str:
    lines = [f"## {category.value.capitalize()}", "", _row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    for node in types:
        cells = (
            f"`{node.name}`" + (f" v{node.version}" if node.version > 1 else ""),
            ", ".join(_port(port) for port in node.inputs),
            ", ".join(_port(port) for port in node.outputs),
            "<br>".join(_param(param) for param in node.params),
            str(lookback(node)),
            node.summary,
            node.source,
        )
        lines.append(_row(cells))
    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _port(port: Port) -> str:
    mark = "*" if port.many else "" if port.required else "?"
    return f"`{port.name}`{mark}{' (bool)' if port.kind == 'bool' else ''}"


def _param(param: Param) -> str:
    default = "–" if param.default is None else str(param.default)
    notes = [", ".join(param.choices)] if param.choices else []
    if param.minimum is not None and param.maximum is not None:
        notes.append(f"{param.minimum:.12g} to {param.maximum:.12g}")
    notes += [param.unit] if param.unit else []
    return f"`{param.name}` = {default}" + (f" ({', '.join(notes)})" if notes else "")


def lookback(node: NodeType) -> int:
    """Bars before the first value, with every parameter at its default."""
    if node.lookback is None:
        return 0
    f = Function("lookback", [I32], I32, export=True)
    scope = Scope(f, f.args[0], Row(), View(f, f.args[0], ROW), const(I32, 0))
    checked = CheckedNode(node.name, 0, node, {param.name: param.default for param in node.params}, {})
    bars = node.lookback(Site(scope, checked))
    f.ret(bars if isinstance(bars, Expr) else const(I32, bars))
    return int(Interpreter(Program([f]), 64).call("lookback", 0))
