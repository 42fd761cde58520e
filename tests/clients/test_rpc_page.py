"""docs/rpc.md: every RPC has its two lines, and every line does what the page says."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.api import BY_NAME, INTERNAL, RPCS, Rpc
from clients.conftest import Stage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rpc.md"
GRPCURL = ROOT / ".venv" / "bin" / "grpcurl"
PAGE_SECONDS = 150


@dataclass(frozen=True)
class Line:
    """A line of the page, and what its answer has to contain, where the page says so."""

    command: str
    section: str
    expected: str = ""

    @property
    def tool(self) -> str:
        return self.command.split(" ", 1)[0]

    @property
    def rpc(self) -> Rpc | None:
        """The RPC that a grpcurl or curl line calls."""
        if self.tool == "grpcurl" and (found := re.search(r"algotrade\.v1\.(\w+)/(\w+)", self.command)):
            return BY_NAME[f"{found[1]}.{found[2]}"]
        if self.tool != "curl":
            return None
        path = re.sub(r"\$\([^)]*\)|\$\w+", "x", self.command.split("$URL", 1)[1]).split(" ", 1)[0]
        words = shlex.split(self.command.split("|", 1)[0])
        verb = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
        path = path.strip('"').split("?", 1)[0]
        return next((rpc for rpc in RPCS if rpc.matches(verb, path)), None)


def lines() -> Iterator[Line]:
    """Read the page's blocks: commands, and behind `# →` what the answers before it in the block contain."""
    section = ""
    for found in re.finditer(r"^#{2,3} (\w[^\n]*)$|^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if found[1]:
            section = found[1]
            continue
        block = found[2].replace("\\\n", " ")
        expected = next((line[4:] for line in block.splitlines() if line.startswith("# → ")), "")
        for command in _commands(block):
            yield Line(command, section, expected)


def _commands(block: str) -> Iterator[str]:
    """A command is a line, or more while a quote is open."""
    held = ""
    for line in block.splitlines():
        if not held and (not line or line.startswith("#")):
            continue
        held += line
        if held.count("'") % 2:
            held += "\n"
            continue
        yield held
        held = ""


def test_every_rpc_has_a_line_of_each_kind_in_its_own_section() -> None:
    unknown = [line.command for line in lines() if line.tool == "curl" and line.rpc is None]
    assert not unknown, "no RPC has this verb and path"
    told = [(line.section, line.tool, str(line.rpc)) for line in lines() if line.expected and line.rpc]
    wanted = {(rpc.name, tool, str(rpc)) for rpc in RPCS for tool in ("grpcurl", "curl")}
    assert set(told) == wanted
    assert all(f"`{rpc.service}/{rpc.name}`" in PAGE.read_text() for rpc in INTERNAL)
    assert len(told) == len(wanted), "an RPC has more lines than its two"


@pytest.mark.timeout(PAGE_SECONDS + 60)
async def test_every_line_does_what_the_page_says(stage: Stage, tmp_path: Path) -> None:
    assert GRPCURL.exists(), "`make clients` builds it"
    assert shutil.which("curl"), "curl comes with the system"
    page = list(lines())
    assert len(page) > 2 * len(RPCS)
    dsn = stage.settings.database_dsn
    assert dsn
    script = [f"export TMPDIR={tmp_path} ALGOTRADE_DATABASE_DSN={shlex.quote(dsn.get_secret_value())}"]
    for number, line in enumerate(page):
        command = line.command.replace("127.0.0.1:8080", stage.settings.gateway_address)
        script += [f"printf '\\x1e{number}\\x1f'", command, "printf '\\x1f%s' $?"]
    (tmp_path / "page.sh").write_text("\n".join(script))
    shell = await asyncio.create_subprocess_exec(
        *("bash", str(tmp_path / "page.sh")),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PAGE_SECONDS):
        output, _ = await shell.communicate()
    ran = output.decode().split("\x1e")[1:]
    assert len(ran) == len(page)
    wrong = []
    for line, text in zip(page, ran, strict=True):
        _, answer, code = text.split("\x1f")
        if int(code) != 0 or (line.rpc is not None and line.expected not in answer):
            wrong.append(f"{line.command}\n  ended with {code}, wanted {line.expected!r}: {answer[:500]}")
    assert not wrong, "\n".join(wrong)
