"""Links between the project's pages lead somewhere, and those of docs/ stay in docs/, which is a site of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def pages() -> list[Path]:
    found = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in found.stdout.splitlines()]


def links(page: Path) -> list[str]:
    return LINK.findall(CODE.sub("", page.read_text()))


def test_there_are_pages_with_links() -> None:
    assert len(pages()) > 40
    assert sum(len(links(page)) for page in pages()) > 50


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    docs = ROOT / "docs"
    for link in links(page):
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.exists(), link
        assert docs not in page.parents or docs in target.parents, f"{link} leads out of the site"
