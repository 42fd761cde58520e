"""The real platform, `algotrade up`, as a process of its own over a folder: to be killed, frozen and started again.

Most starts fork from a server that has imported everything already: what is killed is the same, and a start costs
half a second instead of two. ``cold`` starts run the command line itself.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from algotrade.stack.process import free_ports

ADDRESSES: Final = ("GATEWAY", "GRPC", "HTTP", "ENVOY_ADMIN")
START_SECONDS: Final = 120.0
COMMAND: Final = ("up", "--json")
LOOK_SECONDS: Final = 0.01

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["algotrade.cli.app", "algotrade.cli.serve", "algotrade.cli.up"])


def free_address() -> str:
    """Return a loopback address that nobody listens on just now."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def _serve(environment: Mapping[str, str], log: str) -> None:
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["algotrade", *COMMAND]
    from algotrade.cli.app import main

    main()


class PlatformProcess:
    """One platform after the other, at the same addresses, over the same data."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], addresses: Mapping[str, str] | None = None) -> None:
        """Take an empty folder with a short path, and settings by their names."""
        self.folder = folder
        self.settings = dict(settings)
        self.addresses = dict(addresses or {name: free_address() for name in ADDRESSES})
        self.starts = 0
        self._running: Any = None  # a Popen or a multiprocessing Process

    @property
    def gateway(self) -> str:
        return self.addresses["GATEWAY"]

    @property
    def grpc(self) -> str:
        return self.addresses["GRPC"]

    @property
    def pid(self) -> int:
        return int(self._running.pid)

    @property
    def log(self) -> Path:
        """What the newest start said."""
        return self.folder / f"up-{self.starts}.log"

    def start(self, *, cold: bool = False, **settings: Any) -> None:
        """Start a process; some settings may differ from the others'."""
        self.starts += 1
        given = {"data_dir": str(self.folder), "log_format": "json"} | self.settings | settings
        environment = {f"ALGOTRADE_{name.upper()}": text_of(value) for name, value in given.items()}
        environment |= {f"ALGOTRADE_{name}_ADDRESS": address for name, address in self.addresses.items()}
        if cold:
            with self.log.open("ab") as output:
                command = [sys.executable, "-m", "algotrade.cli", *COMMAND]
                self._running = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
        else:
            self._running = _context.Process(target=_serve, args=(environment, str(self.log)), daemon=True)
            self._running.start()

    def returncode(self) -> int | None:
        """Return how it ended: below 0 by that signal; None while it runs."""
        if isinstance(self._running, subprocess.Popen):
            return self._running.poll()
        return self._running.exitcode  # type: ignore[no-any-return]

    async def ready(self) -> None:
        """Return once it has said that it is up. Raises where it ends before."""
        async with asyncio.timeout(START_SECONDS):
            while not await self.is_ready():
                if self.returncode() is not None:
                    raise AssertionError(f"it ended with {self.returncode()}:\n{self.log.read_text()[-4000:]}")
                await asyncio.sleep(LOOK_SECONDS)

    async def is_ready(self) -> bool:
        """Tell whether it has said that it is up."""
        with suppress(FileNotFoundError):
            return '"event":"ready"' in self.log.read_text()
        return False

    async def ended(self, seconds: float = 60.0) -> int:
        """Return how it ended, once it has."""
        async with asyncio.timeout(seconds):
            while (code := self.returncode()) is None:
                await asyncio.sleep(LOOK_SECONDS)
        return code

    async def ends_within(self, seconds: float) -> bool:
        """Tell whether it ends by itself within a time."""
        end = time.monotonic() + seconds
        while self.returncode() is None and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
        return self.returncode() is not None

    async def frozen(self) -> None:
        """Return once it is stopped by a signal. Raises where it ends before."""
        async with asyncio.timeout(START_SECONDS):
            while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
                if self.returncode() is not None:
                    raise AssertionError(f"it ended with {self.returncode()}:\n{self.log.read_text()[-4000:]}")
                await asyncio.sleep(LOOK_SECONDS)

    async def kill(self) -> None:
        """End it as by kill -9; PostgreSQL and Envoy, which are processes of their own, live on."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """Ask it to end in order, and see that it does."""
        self.signal(signal.SIGTERM)
        assert await self.ended() == 0, self.log.read_text()[-4000:]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.returncode() is None:
            os.kill(self.pid, number)

    # ------------------------------------------------------------------ what outlives it

    @property
    def database_dsn(self) -> str:
        """Where its own PostgreSQL listens."""
        return f"postgresql://postgres@/postgres?host={self.folder / 'postgres'}"

    def postmaster(self) -> int | None:
        """Return the id of PostgreSQL's first process, while its file says so."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
            if str(self.folder) in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        return None

    def kill_database(self, *, whole: bool) -> bool:
        """End PostgreSQL: ``whole``, every process at once by kill -9, or its first one, as by an immediate stop."""
        if (pid := self.postmaster()) is None:
            return False
        if whole:
            for number in [pid, *_children(pid)]:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGQUIT)
        return True

    def clean_up(self) -> None:
        """End all that was started here."""
        if self._running is not None and self.returncode() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.kill_database(whole=True)
        self.kill_gateway()

    def kill_gateway(self) -> None:
        """End Envoy as by kill -9."""
        with suppress(OSError, ValueError):
            pid = int((self.folder / "gateway" / "envoy.pid").read_text())
            if str(self.folder) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def text_of(value: Any) -> str:
    """Write a setting as a variable has it."""
    return value if isinstance(value, str) else json.dumps(value)
