"""Every service in one process, behind one gateway, over a data directory that nobody else uses meanwhile."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from algotrade.backtest.build import build as build_backtest
from algotrade.cli.failure import CommandError
from algotrade.forward_test.build import build as build_forward_test
from algotrade.identity.__main__ import build as build_identity
from algotrade.identity.build_admin import build_admin
from algotrade.market_data.build import build as build_market_data
from algotrade.notification.build import build as build_notification
from algotrade.notification.build_realtime import build_realtime
from algotrade.platform.bars_file import BarFileError
from algotrade.platform.gateway import Gateway, GatewayError
from algotrade.platform.gateway.render import Address
from algotrade.platform.process import Builder, open_platform, serving
from algotrade.platform.redis import RedisUnusable
from algotrade.platform.settings import Settings
from algotrade.strategy.__main__ import build as build_strategy

SERVICES: Final[tuple[Builder, ...]] = (
    build_identity,
    build_admin,
    build_market_data,
    build_strategy,
    build_backtest,
    build_forward_test,
    build_notification,
    build_realtime,
)
OWN_ADDRESSES: Final = ("grpc_address", "http_address")
ENVOY_ADDRESSES: Final = ("gateway_address", "envoy_admin_address")


@asynccontextmanager
async def everything(settings: Settings) -> AsyncIterator[Gateway]:
    """Serve until the context closes: clients are sent away first, then streams end, then calls, gateway and services.

    The settings' addresses must be fixed ones, see `fixed_addresses`. Raises CommandError for what the user can mend.
    """
    try:
        async with open_platform(settings) as platform, AsyncExitStack() as stack:
            gateway = Gateway(settings)
            stack.push_async_callback(gateway.stop)
            await stack.enter_async_context(serving(platform, SERVICES))
            await _start(gateway, settings)
            stack.push_async_callback(gateway.drain)
            yield gateway
    except BarFileError as error:
        raise CommandError("bad_replay_file", f"{error} (ALGOTRADE_REPLAY_PATH)") from None
    except RedisUnusable as error:
        raise CommandError("redis_unusable", str(error)) from None
    except GatewayError as error:
        log_path = Gateway(settings).log_path
        raise CommandError("gateway_failed", f"{str(error).splitlines()[0]}; {log_path} says why") from None


async def _start(gateway: Gateway, settings: Settings) -> None:
    try:
        await gateway.start()
    except GatewayError:
        for name in ENVOY_ADDRESSES:
            _listen(settings, name).close()  # raises where the address is the reason
        raise


@contextmanager
def sole_use(directory: Path) -> Iterator[None]:
    """Hold a directory's lock. Two platforms on one directory would take each other's feeds and gateway away."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        message = f"{directory}: {error.strerror}; ALGOTRADE_DATA_DIR names another directory"
        raise CommandError("data_dir_unusable", message, path=str(directory)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"another AlgoTrade runs on {directory}; ALGOTRADE_DATA_DIR names another directory"
            raise CommandError("data_dir_in_use", message, path=str(directory)) from None
        yield


def fixed_addresses(settings: Settings) -> Settings:
    """Choose a free port wherever the settings say 0, and see that the services' own addresses are free.

    Raises CommandError naming the address and its setting. Envoy's addresses are left to Envoy, since one that a
    killed platform has left behind may hold them and is ended first.
    """
    chosen = {}
    with ExitStack() as held:  # all at once: no two may be the same
        for name in (*OWN_ADDRESSES, *ENVOY_ADDRESSES):
            free = getattr(settings, name).endswith(":0")
            if free or name in OWN_ADDRESSES:
                listener = held.enter_context(_listen(settings, name))
                host = getattr(settings, name).rpartition(":")[0]
                chosen[name] = f"{host}:{listener.getsockname()[1]}"
    return settings.model_copy(update=chosen)


def _listen(settings: Settings, name: str) -> socket.socket:
    address = Address.parse(getattr(settings, name))
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just closed is no obstacle
        listener.bind((address.host, address.port))
        listener.listen()
        return listener
    listener.close()
    text, variable = getattr(settings, name), f"ALGOTRADE_{name.upper()}"
    message = f"{text} is in use: stop what listens there, or set {variable} to another address"
    raise CommandError("address_in_use", message, address=text, setting=variable)
