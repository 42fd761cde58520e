"""Where the services are: all in one process, or each in a process of its own, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from algotrade.platform.channel import open_channel
from algotrade.platform.settings import Settings

# The process each service lives in where each has one of its own; `<process>_address` is the setting that says where.
PROCESSES: Final[Mapping[str, str]] = {
    "algotrade.v1.BacktestService": "backtest",
    "algotrade.v1.ForwardTestService": "forward_test",
    "algotrade.v1.HealthService": "identity",  # every process has it; this one is asked about all of them
    "algotrade.v1.IdentityService": "identity",
    "algotrade.v1.MarketDataService": "market_data",
    "algotrade.v1.NotificationService": "notification",
    "algotrade.v1.RealtimeService": "notification",
    "algotrade.v1.StrategyService": "strategy",
}


def elsewhere(settings: Settings, service: str) -> str | None:
    """Return where the settings say that a service is, by its full name; None where they leave it to this process."""
    address: str | None = getattr(settings, f"{PROCESSES[service]}_address")
    return address


class Channels:
    """Channels to other services, one an address."""

    def __init__(self, settings: Settings, instead: grpc.aio.Channel | None = None) -> None:
        """Take where the services are; `instead` is used for all of them, and stays open."""
        self._settings = settings
        self._instead = instead
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service, by its full name."""
        if self._instead is not None:
            return self._instead
        address = elsewhere(self._settings, service) or self._settings.grpc_address
        if address not in self._open:
            self._open[address] = open_channel(address)
        return self._open[address]

    async def close(self) -> None:
        """Close what was opened here."""
        for channel in self._open.values():
            await channel.close()
        self._open.clear()
