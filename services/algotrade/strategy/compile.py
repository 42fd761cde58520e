"""From the text of a graph to what the engine makes of it: findings, and an artefact where there are no errors.

The engine takes some milliseconds for twenty nodes and more for five hundred: it runs in a thread, and what became of
a text is remembered, since an editor validates, saves and starts the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NoReturn

from algotrade.engine.compile import compile_strategy
from algotrade.engine.graph import Diagnostic
from algotrade.platform.errors import InvalidArgument
from algotrade.strategy.store import StoredArtefact

CACHED_TEXTS: Final = 256
CONCURRENT_COMPILES: Final = 2
UNTITLED: Final = "Untitled strategy"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a graph: the name it bears, every finding, and the artefact unless one of them is an error."""

    name: str
    diagnostics: tuple[Diagnostic, ...]
    artefact: StoredArtefact | None


class Compiler:
    """The engine's compiler, off the event loop and with a memory."""

    def __init__(self) -> None:
        """Begin without memories."""
        self._known: OrderedDict[bytes, Compiled] = OrderedDict()
        self._compiling = asyncio.Semaphore(CONCURRENT_COMPILES)

    async def compile(self, graph: str) -> Compiled:
        """Compile a graph. Raises InvalidArgument where the text is not a JSON document; all else is a finding."""
        key = hashlib.sha256(graph.encode()).digest()
        async with self._compiling:
            compiled = self._known.get(key)
            if compiled is None:
                compiled = await asyncio.to_thread(_compile, graph)
        self._known[key] = compiled
        self._known.move_to_end(key)
        while len(self._known) > CACHED_TEXTS:
            self._known.popitem(last=False)
        return compiled


def _compile(graph: str) -> Compiled:
    document = _read(graph)
    compilation = compile_strategy(document)
    artefact = compilation.artefact
    kept = StoredArtefact(artefact.hash, artefact.wasm, asdict(artefact.report)) if artefact else None
    return Compiled(_name(document), compilation.diagnostics, kept)


def _read(graph: str) -> Mapping[str, Any]:
    """Read JSON as its standard has it: the NaN and Infinity that Python also takes are no JSON."""
    try:
        document = json.loads(graph, parse_constant=_refuse_constant)
        # A half of a surrogate pair is no character: it could neither be stored nor sent in a finding.
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _malformed(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except UnicodeEncodeError:
        raise _malformed("not JSON: half of a surrogate pair in a string") from None
    except RecursionError:
        raise _malformed("not JSON: nested too deeply") from None
    except ValueError as error:
        raise _malformed(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _malformed("the document is not a JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _malformed(sentence: str) -> InvalidArgument:
    return InvalidArgument("GRAPH_MALFORMED", f"graph: {sentence}", violations=[("graph", sentence)])


def _name(document: Mapping[str, Any]) -> str:
    """The name in the document, as far as it can be shown."""
    name = document.get("name")
    shown = "".join(c for c in name if c.isprintable()).strip() if isinstance(name, str) else ""
    return shown[:200] or UNTITLED
