"""Where the services are: all in one process, or each in a process of its own, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from algotrade.platform.certificates import Certificates, dns_name
from algotrade.platform.channel import TokenSource, open_channel, open_renewing
from algotrade.platform.settings import Settings

# The process each service lives in where each has one of its own; `<process>_address` is the setting that says where.
PROCESSES: Final[Mapping[str, str]] = {
    "algotrade.v1.AdminService": "identity",
    "algotrade.v1.BacktestService": "backtest",
    "algotrade.v1.ForwardTestService": "forward_test",
    "algotrade.v1.HealthService": "identity",  # every process has it; this one is asked about all of them
    "algotrade.v1.IdentityService": "identity",
    "algotrade.v1.MarketDataService": "market_data",
    "algotrade.v1.NotificationService": "notification",
    "algotrade.v1.RealtimeService": "notification",
    "algotrade.v1.StrategyService": "strategy",
}

GATEWAY: Final = "gateway"  # Envoy, which calls all that clients may call
_STRATEGIES: Final = ("/algotrade.v1.StrategyService/GetStrategy", "/algotrade.v1.StrategyService/GetArtefact")
# What each process calls of the others, beside grpc.health.v1: with certificates it is let do that and nothing else.
CALLS: Final[Mapping[str, frozenset[str]]] = {
    "backtest": frozenset((*_STRATEGIES, "/algotrade.v1.MarketDataService/ListHistory")),
    "forward_test": frozenset(
        (
            *_STRATEGIES,
            "/algotrade.v1.MarketDataService/ListSymbols",
            "/algotrade.v1.MarketDataService/GetWindow",
        )
    ),
    "identity": frozenset(
        (
            "/algotrade.v1.BacktestService/DeleteUserBacktests",
            "/algotrade.v1.ForwardTestService/EndUserSessions",
        )
    ),
    "market_data": frozenset(),
    "notification": frozenset(
        (
            "/algotrade.v1.ForwardTestService/GetSession",
            "/algotrade.v1.ForwardTestService/ListSessions",
            "/algotrade.v1.MarketDataService/ListSymbols",
        )
    ),
    "strategy": frozenset(),
}


def elsewhere(settings: Settings, service: str) -> str | None:
    """Return where the settings say that a service is, by its full name; None where they leave it to this process."""
    address: str | None = getattr(settings, f"{PROCESSES[service]}_address")
    return address


class Channels:
    """Channels to other services, one an address."""

    def __init__(
        self, settings: Settings, instead: grpc.aio.Channel | None = None, token: TokenSource | None = None
    ) -> None:
        """Take where the services are; `instead` is used for all of them, and stays open.

        Calls carry the token of the call that is running, unless there is a source of others.
        """
        self._settings = settings
        self._token = token
        self._certificates = Certificates(settings.tls_dir) if settings.tls_dir else None
        self._instead = instead
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service, by its full name."""
        if self._instead is not None:
            return self._instead
        other = elsewhere(self._settings, service)
        address = other or self._settings.grpc_address
        if address not in self._open:
            certificates = self._certificates
            if certificates is None:
                self._open[address] = open_channel(address, self._token)
            else:
                name = dns_name(PROCESSES[service]) if other else certificates.process
                self._open[address] = open_renewing(address, self._token, certificates, name)
        return self._open[address]

    async def close(self) -> None:
        """Close what was opened here."""
        for channel in self._open.values():
            await channel.close()
        self._open.clear()
