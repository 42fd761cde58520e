"""The built frontend, held in memory: a page, and the files it names under /assets/, each with the headers it needs."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from algotrade.platform import limits

PAGE: Final = "/"
ASSETS: Final = "/assets/"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# Scripts come from here and nowhere else, and may compile WebAssembly: artefacts run in the browser too. Styles may
# stand in the page, as the component kit writes them there.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_SAFE: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
NOT_BUILT: Final = b"The pages are not built: `make frontend` builds them. The API is here all the same.\n"


class PagesError(Exception):
    """A folder is no built frontend."""


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    etag: str

    @cached_property
    def packed(self) -> bytes:
        """It by gzip; empty where that is no smaller. Made when it is first asked for."""
        packed = gzip.compress(self.body, 9, mtime=0)
        return packed if len(packed) < len(self.body) else b""


def built_pages() -> Path | None:
    """The folder of the built frontend, in a wheel beside this file or in a checkout; None where there is none."""
    for folder in (Path(__file__).with_name("frontend"), Path(__file__).parents[3] / "frontend" / "dist"):
        if (folder / "index.html").is_file():
            return folder
    return None


def read_pages(folder: Path) -> dict[str, File]:
    """Read files by the path they are served under. Raises PagesError for other or more than a frontend has."""
    files: dict[str, File] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = f"/{path.relative_to(folder).as_posix()}"
        if path.is_symlink() or path.suffix not in _TYPES or not (name == "/index.html" or name.startswith(ASSETS)):
            raise PagesError(f"{path}: not a file of a built frontend")
        body = path.read_bytes()
        total += len(body)
        if total > limits.MAX_PAGES_BYTES:
            raise PagesError(f"{folder}: more than {limits.MAX_PAGES_BYTES} bytes")
        files[PAGE if name == "/index.html" else name] = _file(path.suffix, body, lasting=name != "/index.html")
    if PAGE not in files:
        raise PagesError(f"{folder}: no index.html")
    return files


def _file(suffix: str, body: bytes, *, lasting: bool) -> File:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    # The names of assets hold a hash of what is in them.
    cached = "public, max-age=31536000, immutable" if lasting else "no-cache"
    headers = (("Content-Type", _TYPES[suffix]), ("Cache-Control", cached), ("ETag", etag), ("Vary", "Accept-Encoding"))
    return File(body, (*headers, *_SAFE), etag)
