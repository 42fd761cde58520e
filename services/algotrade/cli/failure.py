"""What can go wrong in a command, and the one way in which it is told.

With `--json` the answer on standard output is `{"error": {"code", "message", …}}`, or `{"diagnostics": […]}` where
the compiler refused the drawing; without, a line on standard error. Either way the exit code is 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from algotrade.engine.graph import Diagnostic


class CommandError(Exception):
    """A failure with a code for programs, a sentence for people, and facts that go into the JSON beside them."""

    def __init__(self, code: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts: Mapping[str, object] = facts


class RefusedError(Exception):
    """The compiler refused the drawing."""

    def __init__(self, path: str, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__(f"{path}: the strategy cannot be compiled")
        self.diagnostics = diagnostics


@contextmanager
def failures_told(*, as_json: bool) -> Iterator[None]:
    """Run a command's body; on failure tell it and exit with 1. ALGOTRADE_DEBUG=1 lets faults through."""
    try:
        yield
    except CommandError as failure:
        _tell(as_json, failure.code, failure.message, failure.facts)
    except RefusedError as refused:
        _tell_diagnostics(as_json, refused)
    except BrokenPipeError:
        # Whoever read our output has gone: say nothing more, not even when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as fault:
        if os.environ.get("ALGOTRADE_DEBUG"):
            raise
        text = " ".join(str(fault).split()) or "no message"
        _tell(as_json, "internal", f"{type(fault).__name__}: {text}; ALGOTRADE_DEBUG=1 shows where", {})
    else:
        return
    raise typer.Exit(1)


def print_json(value: object) -> None:
    """Print one JSON document on standard output, in ASCII, since ids and paths may hold what UTF-8 cannot."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_failure(code: str, message: str, facts: Mapping[str, object] | None = None) -> None:
    """Print a failure as JSON."""
    print_json({"error": {"code": code, "message": message, **(facts or {})}})


def printable(text: str) -> str:
    """A name from a file, safe to show: nothing in it can move a cursor or break an encoding."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def diagnostics_json(diagnostics: Sequence[Diagnostic]) -> list[dict[str, Any]]:
    """Findings as plain objects."""
    names = ("severity", "code", "message", "node_id", "edge_id", "param")
    return [{name: getattr(diagnostic, name) for name in names} for diagnostic in diagnostics]


def diagnostic_lines(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Findings as lines: severity, place, message."""
    return [printable(f"{found.severity}: {_place(found)}{found.message} [{found.code}]") for found in diagnostics]


def _place(found: Diagnostic) -> str:
    places = (("node", found.node_id), ("edge", found.edge_id), ("parameter", found.param))
    named = [f"{kind} {name!r}" for kind, name in places if name is not None]
    return f"{', '.join(named)}: " if named else ""


def _tell(as_json: bool, code: str, message: str, facts: Mapping[str, object]) -> None:
    if as_json:
        print_failure(code, message, facts)
    else:
        typer.echo(f"error: {printable(message)}", err=True)


def _tell_diagnostics(as_json: bool, refused: RefusedError) -> None:
    if as_json:
        print_json({"diagnostics": diagnostics_json(refused.diagnostics)})
        return
    typer.echo(f"error: {printable(str(refused))}", err=True)
    for line in diagnostic_lines(refused.diagnostics):
        typer.echo(f"  {line}", err=True)
