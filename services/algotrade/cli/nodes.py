"""`algotrade nodes`: the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from algotrade.cli.failure import failures_told, print_json

if TYPE_CHECKING:
    from algotrade.engine.node_type import NodeType, Param, Port


def nodes(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/nodes.md.")] = False,
) -> None:
    """List the node types."""
    with failures_told(as_json=json):
        from algotrade.engine.nodes import CATALOGUE

        if json:
            print_json([node_json(node) for node in CATALOGUE.values()])
        elif markdown:
            from algotrade.cli.nodes_page import page

            typer.echo(page(tuple(CATALOGUE.values())), nl=False)
        else:
            from algotrade.cli.render import show_nodes

            show_nodes(tuple(CATALOGUE.values()))


def node_json(node: NodeType) -> dict[str, Any]:
    """A node type as a plain object."""
    return {
        "name": node.name,
        "category": node.category.value,
        "version": node.version,
        "summary": node.summary,
        "inputs": [_port_json(port) | {"required": port.required, "many": port.many} for port in node.inputs],
        "outputs": [_port_json(port) for port in node.outputs],
        "params": [_param_json(param) for param in node.params],
        "source": node.source,
    }


def _port_json(port: Port) -> dict[str, Any]:
    return {"name": port.name, "kind": port.kind.value, "summary": port.summary}


def _param_json(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "kind": param.kind.value,
        "default": param.default,
        "min": param.minimum,
        "max": param.maximum,
        "choices": list(param.choices),
        "unit": param.unit,
        "summary": param.summary,
    }
