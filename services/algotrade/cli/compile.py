"""`algotrade compile`: a drawing to its artefact, or to everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any

import typer

from algotrade.cli import inputs
from algotrade.cli.failure import CommandError, diagnostics_json, failures_told, print_json
from algotrade.cli.options import GraphArgument, JsonOption

if TYPE_CHECKING:
    from algotrade.engine.compile import Artefact, Compilation


def compile_(
    graph: GraphArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.wasm", help="Write the artefact.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compile a strategy to its artefact.

    Prints the hash, the report and the order of evaluation, or everything that is wrong with the drawing.
    """
    with failures_told(as_json=json):
        from algotrade.engine.compile import compile_strategy  # noqa: F401  (imported before the clock starts)
        from algotrade.engine.native import MODULES

        _ = MODULES.engine
        started = perf_counter_ns()
        compilation, artefact = inputs.compile_graph(graph)
        MODULES.load(artefact.hash, artefact.wasm)
        answer = compilation_json(compilation, artefact, perf_counter_ns() - started)
        if output is not None:
            _write(output, artefact.wasm)
        if json:
            print_json(answer)
        else:
            from algotrade.cli.render import show_compilation

            show_compilation(compilation, answer, output)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CommandError("unwritable", f"{path}: cannot be written: {error.strerror}", path=str(path)) from None


def compilation_json(compilation: Compilation, artefact: Artefact, compile_ns: int) -> dict[str, Any]:
    """What the compiler says of a strategy that it accepted."""
    from dataclasses import asdict

    report = artefact.report
    return {
        "artefact": artefact.hash,
        "wasm_bytes": len(artefact.wasm),
        "state_bytes": report.state_bytes,
        "warmup_bars": report.warmup_bars,
        "node_order": list(report.order),
        "parameters": [asdict(parameter) for parameter in artefact.manifest.parameters],
        "report": asdict(report),
        "diagnostics": diagnostics_json(compilation.diagnostics),
        "timing": {"compile_ms": round(compile_ns / 1e6, 3)},
    }
