"""A server as a process of its own: its output in a file, its id in another; what is ended is that process only."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 0.05
READY_SECONDS: Final = 90.0
GRACE_SECONDS: Final = 20.0
LOG_TAIL_BYTES: Final = 2_048
PORTS: Final = range(10_000, 32_000)
PORT_TRIES: Final = 1_000


class StackError(Exception):
    """A server did not start or went away; the text has the end of its log."""


@dataclass(slots=True)
class Server:
    """A server that can be started, ended, killed and started again on the same directory."""

    name: str
    command: Sequence[str]
    directory: Path
    ready: Callable[[], Awaitable[bool]]  # may raise OSError while there is nothing to talk to
    environment: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None  # runs as this account instead of root
    stop_signal: signal.Signals = signal.SIGTERM
    _process: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The id of the process. Raises StackError where none runs."""
        if self._process is None or self._process.returncode is not None:
            raise StackError(f"{self.name} does not run")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The file that takes what the server says."""
        return self.directory / f"{self.name}.log"

    async def start(self) -> None:
        """Start it and return when it answers. Raises StackError, and then nothing is left running."""
        with self.log_path.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *_as(self.account, self.command),
                stdout=output,
                stderr=output,
                stdin=asyncio.subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C reaches the program, which ends its servers in their order
            )
        self._pid_file.write_text(f"{self._process.pid}\n")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._answers()
        except TimeoutError:
            await self.stop()
            raise StackError(f"{self.name} does not answer after {READY_SECONDS:g} s\n{self._tail()}") from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ask it to end; kill it when it takes too long."""
        await self._end(self.stop_signal)

    async def kill(self) -> None:
        """End it as a power cut does."""
        await self._end(signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until it ends by itself, which it should not. Always raises StackError."""
        code = await self._process.wait() if self._process is not None else None
        raise StackError(f"{self.name} ended with {code}\n{self._tail()}")

    async def _answers(self) -> None:
        process = self._process
        assert process is not None  # noqa: S101  (start has just made it)
        while True:
            if process.returncode is not None:
                raise StackError(f"{self.name} ended with {process.returncode}\n{self._tail()}")
            with suppress(OSError):
                if await self.ready():
                    return
            await asyncio.sleep(LOOK_SECONDS)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(number)
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.directory / f"{self.name}.pid"

    def _tail(self) -> str:
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """Run a server while the context is open."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run_once(command: Sequence[str], account: str | None = None, cwd: Path | None = None) -> None:
    """Run a program that ends by itself. Raises StackError with what it said where it fails."""
    done = subprocess.run(  # noqa: S603  (a program of the stack)
        _as(account, command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=cwd,
    )
    if done.returncode != 0:
        raise StackError(f"{command[0]} ended with {done.returncode}\n{done.stdout.decode(errors='replace')}")


def _as(account: str | None, command: Sequence[str]) -> list[str]:
    """Return the command that runs another as an account: were it Python that changes it, it would have to fork.

    A fork runs what gRPC has hung there, which crashes while calls are on their way.
    """
    who = [] if account is None else ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "--"]
    return [*who, *command]


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now, all different. Raises StackError where there are not so many.

    They are below those that the system gives to outgoing connections, where one may be gone before it is listened at.
    """
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(PORT_TRIES):
            if len(ports) == count:
                return ports
            port = PORTS.start + secrets.randbelow(len(PORTS))
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    raise StackError(f"no {count} ports of 127.0.0.1 are free")


async def accepts(port: int) -> bool:
    """Tell whether somebody listens at a port of 127.0.0.1; raises OSError where nobody does."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True
