"""`algotrade stack`: the mesh on real Kafka, Redis and PostgreSQL, every service a process of its own."""

from __future__ import annotations

import asyncio
import json as json_module
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import psutil
import typer

from algotrade.cli.failure import CommandError, failures_told
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.cli.announce import Announcer
    from algotrade.platform.settings import Settings
    from algotrade.stack.workers import Workers

MOST_WORKERS: Final = 4  # as many as there are shards; a test holds it to them
UP_SECONDS: Final = 180.0
DOWN_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 0.1
TRUST_DOMAIN: Final = "algotrade.local"
CERTIFICATE_LIFE: Final = timedelta(days=30)  # of those that a start of the mesh writes

SecondsOption = Annotated[
    float | None, typer.Option(min=0, help="Stop by itself so long after it is up.", show_default=False)
]

stack = typer.Typer(
    name="stack",
    help="The mesh on real Kafka, Redis and PostgreSQL, every service a process of its own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@stack.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is up, and leave it running.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=MOST_WORKERS, help="Processes that step sessions, which they share out.")
    ] = 1,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Have services know each other by certificates.")] = False,
    json: JsonOption = False,
) -> None:
    """Start the mesh; Ctrl-C stops it, or `algotrade stack down`. What ends by itself is started again."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    with failures_told(as_json=json):
        if detach:
            _detach(workers, tls=tls)
        else:
            asyncio.run(_up(workers, as_json=json, tls=tls))


@stack.command()
def scale(
    workers: Annotated[int, typer.Argument(min=1, max=MOST_WORKERS, help="So many are to step sessions.")],
    json: JsonOption = False,
) -> None:
    """Add workers to the mesh that is up, or end some, while sessions run."""
    with failures_told(as_json=json):
        _scale(_directory(), workers)


@stack.command()
def down(json: JsonOption = False) -> None:
    """Stop the mesh, and nothing else."""
    with failures_told(as_json=json):
        ended = _down(_directory())
        typer.echo(f"Stopped: {', '.join(ended)}." if ended else "Nothing of it runs.")


@stack.command()
def demo(seconds: SecondsOption = None, json: JsonOption = False) -> None:
    """Trade template strategies on paper and show it: on the mesh that is up, or on one for as long as this takes."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    with failures_told(as_json=json):
        if not asyncio.run(_demo(seconds, as_json=json)):
            raise typer.Exit(1)


def _settings() -> Settings:
    from algotrade.platform.settings import Settings

    return Settings()


def _directory() -> Path:
    return _settings().data_dir.absolute() / "stack"


# ---------------------------------------------------------------------- running it


@asynccontextmanager
async def _running(
    settings: Settings, as_json: bool, workers: int = 1, *, tls: bool = False
) -> AsyncIterator[Settings]:
    """Run the mesh, and say so in a file beside it; yield the settings of who joins it. Raises CommandError."""
    from algotrade.cli.announce import Announcer
    from algotrade.cli.demo import REPLAY_SPEED
    from algotrade.cli.serve import sole_use
    from algotrade.platform.background import background
    from algotrade.platform.gateway import GatewayError
    from algotrade.stack.authority import write_development
    from algotrade.stack.mesh import kept_running, mesh
    from algotrade.stack.process import StackError

    announce, directory = Announcer(as_json=as_json), settings.data_dir.absolute() / "stack"
    announce.line(f"Starting the mesh in {directory}", "dim")
    speed = settings.replay_speed if "replay_speed" in settings.model_fields_set else REPLAY_SPEED
    try:
        with sole_use(directory):
            certificates = directory / "certs" if tls else None
            if certificates is not None:
                write_development(certificates, TRUST_DOMAIN, CERTIFICATE_LIFE)
            told = {"ALGOTRADE_REPLAY_SPEED": str(speed)}
            async with mesh(directory, settings, told, workers, certificates=certificates) as running:
                with _told(directory, running.settings, workers):
                    announce.event("ready", gateway=f"http://{running.settings.gateway_address}")
                    announce.line(f"The mesh is up: http://{running.settings.gateway_address}", "bold green")
                    for name, part in running.parts.items():
                        announce.line(f"  {name:13} pid {part.pid:<8} log {part.log_path}")
                    scaling = _follow_wish(directory, running.workers, announce)
                    async with kept_running(running), background(scaling, "scaling"):
                        yield running.settings
    except* (StackError, GatewayError) as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise CommandError("stack_failed", str(first)) from None
    announce.event("stopped")
    announce.line("The mesh has stopped.", "dim")


@contextmanager
def _told(directory: Path, settings: Settings, workers: int) -> Iterator[None]:
    """Say in a file which process holds the mesh, where its gateway is, and how many workers it has."""
    file = _file(directory)
    me = psutil.Process()
    facts = {"pid": me.pid, "began": me.create_time(), "gateway": settings.gateway_address, "workers": workers}
    _wish(directory).unlink(missing_ok=True)
    file.write_text(json_module.dumps(facts))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


async def _follow_wish(directory: Path, workers: Workers, announce: Announcer) -> None:
    """Have as many workers as `algotrade stack scale` has asked for, and say so; it sends SIGHUP to be looked at."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)
    while True:
        await told.wait()
        told.clear()
        await workers.scale(int(_wish(directory).read_text()))
        file = _file(directory)
        file.write_text(json_module.dumps({**_facts(directory), "workers": len(workers.running)}))
        announce.event("scaled", workers=len(workers.running))
        for part in workers.running:
            announce.line(f"  {part.name:13} pid {part.pid:<8} log {part.log_path}")


def _scale(directory: Path, workers: int) -> None:
    """Tell the process that holds the mesh how many are wanted; return when it has them."""
    holder = _holder(directory)
    if holder is None:
        raise CommandError("stack_is_down", "the mesh is not up; `algotrade stack up` starts it")
    _wish(directory).write_text(str(workers))
    holder.send_signal(signal.SIGHUP)
    end = time.monotonic() + UP_SECONDS
    while _facts(directory).get("workers") != workers:
        if _holder(directory) is None or time.monotonic() > end:
            raise CommandError("stack_failed", f"it did not come to {workers} workers; see {directory / 'stack.log'}")
        time.sleep(LOOK_SECONDS)
    typer.echo(f"Workers: {workers}.")


async def _up(workers: int, *, as_json: bool, tls: bool) -> None:
    from algotrade.platform import log
    from algotrade.platform.process import stop_signal

    settings = _settings()
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    stop = stop_signal()
    async with _running(settings, as_json, workers, tls=tls):
        await stop.wait()


def _detach(workers: int, *, tls: bool) -> None:
    directory = _directory()
    options = ["--workers", str(workers), "--tls" if tls else "--no-tls"]
    if _holder(directory) is not None:
        raise CommandError("stack_is_up", "the mesh is up; `algotrade stack down` stops it")
    directory.mkdir(parents=True, exist_ok=True)
    output = directory / "stack.log"
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603  (this program)
            [sys.executable, "-m", "algotrade.cli", "stack", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    end = time.monotonic() + UP_SECONDS
    while _holder(directory) is None:
        if process.poll() is not None or time.monotonic() > end:
            process.terminate()
            raise CommandError("stack_failed", f"the mesh did not come up\n{output.read_text()}")
        time.sleep(LOOK_SECONDS)
    typer.echo(output.read_text().rstrip())


# ---------------------------------------------------------------------- ending it


def _down(directory: Path) -> list[str]:
    """End the process that holds the mesh, which ends the rest; or what one that was killed has left behind."""
    holder = _holder(directory)
    if holder is not None:
        holder.terminate()
        holder.wait(DOWN_SECONDS)
        _file(directory).unlink(missing_ok=True)
        return ["the mesh"]
    ended = []
    for file in sorted(directory.glob("*/*.pid")):
        process = _of(directory, file)
        if process is not None:
            process.terminate()
            try:
                process.wait(DOWN_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
            ended.append(file.stem)
        file.unlink(missing_ok=True)
    return ended


def _file(directory: Path) -> Path:
    return directory / "up.json"


def _wish(directory: Path) -> Path:
    return directory / "workers"


def _facts(directory: Path) -> Mapping[str, Any]:
    try:
        facts: Mapping[str, Any] = json_module.loads(_file(directory).read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _holder(directory: Path) -> psutil.Process | None:
    """Return the process that holds the mesh, if it lives."""
    facts = _facts(directory)
    try:
        process = psutil.Process(facts["pid"])
        return process if process.create_time() == facts["began"] else None
    except (KeyError, psutil.Error):
        return None


def _of(directory: Path, file: Path) -> psutil.Process | None:
    """Return the process that a file names if it works in the mesh's directory, as each of them does."""
    try:
        process = psutil.Process(int(file.read_text()))
        return process if Path(process.cwd()).is_relative_to(directory) else None
    except (OSError, ValueError, psutil.Error):
        return None


# ---------------------------------------------------------------------- showing it


class _LoggedErrors:
    """Counts the errors that services log from now on. A worker that nobody has asked for has no log."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._begun = {file: file.stat().st_size if file.exists() else 0 for file in files}

    @property
    def count(self) -> int:
        found = 0
        for file, begin in self._begun.items():
            with suppress(FileNotFoundError), file.open("rb") as lines:
                lines.seek(begin)
                found += sum(b'"level":"error"' in line.replace(b" ", b"") for line in lines)
        return found


async def _demo(seconds: float | None, *, as_json: bool) -> bool:
    from algotrade.platform import log

    settings = _settings()
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    directory = settings.data_dir.absolute() / "stack"
    if _holder(directory) is not None:
        joined = settings.model_copy(update={"gateway_address": _facts(directory)["gateway"], "data_dir": directory})
        return await _show(joined, seconds, as_json=as_json)
    async with _running(settings, as_json=as_json) as joined:
        return await _show(joined, seconds, as_json=as_json)


async def _show(settings: Settings, seconds: float | None, *, as_json: bool) -> bool:
    from algotrade.cli.announce import Announcer
    from algotrade.cli.show import show_demo
    from algotrade.platform.process import stop_signal
    from algotrade.stack.mesh import SERVICES, WORKERS

    errors = _LoggedErrors([settings.data_dir / name / f"{name}.log" for name in (*SERVICES, *WORKERS[1:])])
    return await show_demo(settings, stop_signal(), seconds, Announcer(as_json=as_json), errors)
