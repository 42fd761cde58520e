"""`algotrade up`: the whole platform in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from algotrade.cli.failure import CommandError, failures_told
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.platform.settings import Settings

T = TypeVar("T")


VENUES: Final = ("coinbase", "finnhub", "alpaca")
OWN: Final = ("synthetic", "replay")
CCXT: Final = "ccxt"


def _known(names: list[str] | None) -> list[str] | None:
    """Refuse a name that is no provider's. Which exchanges there are ccxt itself says, when it is asked for one."""
    for name in names or []:
        if name not in (*OWN, *VENUES) and not re.fullmatch(rf"{CCXT}\.[a-z0-9]{{1,40}}", name):
            raise typer.BadParameter(f"{name!r} is none of {', '.join((*OWN, *VENUES))}, {CCXT}.EXCHANGE")
    return names


def up(
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Symbols of the feed. [default: BTC-USD,ETH-USD and AAPL]", show_default=False
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            callback=_known,
            help="The feed: synthetic, replay, coinbase, finnhub, alpaca or ccxt.EXCHANGE; repeatable."
            " [default: synthetic and replay]",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop by itself so long after it is up.", show_default=False)
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Trade template strategies on paper and show it.")] = False,
    json: JsonOption = False,
) -> None:
    """Start the whole platform: services, database, feeds and gateway. Ctrl-C stops it."""
    # Read by gRPC's core when it is loaded: Envoy and PostgreSQL are other programs, no forks that go on calling.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    with failures_told(as_json=json):
        settings = settings_from(symbols, provider or [], demo=demo)
        if not asyncio.run(_run(settings, seconds, demo=demo, as_json=json)):
            raise typer.Exit(1)


def settings_from(symbols: str | None, providers: Sequence[str], *, demo: bool) -> Settings:
    """Read the settings, with what the command line says in their place. Raises CommandError."""
    from pydantic import ValidationError

    from algotrade.platform.settings import Settings

    given: dict[str, Any] = {}
    if providers:
        given["market_providers"] = tuple(dict.fromkeys(providers))
    if symbols is not None:
        given |= _symbols(symbols, providers)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise CommandError("bad_settings", "; ".join(_sentence(dict(one)) for one in error.errors())) from None
    if demo and "replay_speed" not in settings.model_fields_set:
        from algotrade.cli.demo import REPLAY_SPEED

        settings = settings.model_copy(update={"replay_speed": REPLAY_SPEED})
    return settings


def _symbols(text: str, providers: Sequence[str]) -> dict[str, Any]:
    """One feed takes the names. A venue has many markets, the synthetic feed makes up any; a replay is one file's."""
    names = tuple(name.strip().upper() for name in text.split(",") if name.strip())
    if not names:
        raise CommandError("bad_symbols", "--symbols: no symbol is named")
    exchanges = {name.partition(".")[0] for name in providers}
    for venue in (*VENUES, CCXT):
        if venue in exchanges:
            return {f"{venue}_symbols": names}
    if list(providers) != ["replay"]:
        return {"synthetic_symbols": names}
    if len(names) > 1:
        raise CommandError("bad_symbols", "--symbols: a replay is of one file, so of one symbol")
    return {"replay_symbol": names[0]}


def _sentence(error: Mapping[str, Any]) -> str:
    setting = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"ALGOTRADE_{setting.upper()}: {message}" if setting else message


async def _run(settings: Settings, seconds: float | None, *, demo: bool, as_json: bool) -> bool:
    """Serve until a signal, until time is up, or until something fails; tell whether all went well."""
    gc.disable()  # until it runs: to look through what is being loaded for garbage is a fifth of the start
    from algotrade.cli.announce import Announcer
    from algotrade.cli.serve import everything, fixed_addresses, sole_use
    from algotrade.cli.show import log_to, show_demo
    from algotrade.platform.process import keep_what_is_loaded, stop_signal

    announce = Announcer(as_json=as_json)
    stop = stop_signal()
    well = True
    with sole_use(settings.data_dir):
        settings = fixed_addresses(settings)
        log_file = settings.data_dir / "algotrade.log" if demo else None
        announce.starting(settings, log_file)
        with log_to(settings, log_file) as errors:
            async with everything(settings) as gateway:
                keep_what_is_loaded()
                announce.ready(settings)
                if demo:
                    well = await _beside(gateway.ended(), show_demo(settings, stop, seconds, announce, errors))
                else:
                    await _beside(gateway.ended(), _until(stop, seconds))
    announce.stopped()
    return well


async def _until(stop: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def _beside(guard: Coroutine[Any, Any, None], work: Coroutine[Any, Any, T]) -> T:
    """Work until it is done, or until the guard raises."""
    from algotrade.platform.background import end

    guarding, working = asyncio.create_task(guard), asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait((guarding, working), return_when=asyncio.FIRST_COMPLETED)
        if guarding in done:
            guarding.result()
        return working.result()
    finally:
        await end(guarding, working)
