"""Who may call what: one table, complete by construction. A server with an RPC that is not in it does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor


class Access(Enum):
    """What a call needs."""

    PUBLIC = "public"  # no token; one that comes is not looked at
    USER = "user"  # a good access token; the handler sees the caller's own objects only
    LOGIN = "login"  # … that came from a login: an API key may not change the account


POLICY: Final[Mapping[str, Mapping[str, Access]]] = {
    "algotrade.v1.HealthService": {
        "GetDetailedHealth": Access.PUBLIC,
    },
    "algotrade.v1.IdentityService": {
        "Register": Access.PUBLIC,
        "Login": Access.PUBLIC,
        "RefreshToken": Access.PUBLIC,
        "ExchangeApiKey": Access.PUBLIC,
        "Logout": Access.LOGIN,
        "GetMe": Access.USER,
        "UpdateMe": Access.LOGIN,
        "ChangePassword": Access.LOGIN,
        "CreateApiKey": Access.LOGIN,
        "ListApiKeys": Access.USER,
        "DeleteApiKey": Access.LOGIN,
    },
    "algotrade.v1.MarketDataService": {
        "ListSymbols": Access.USER,
        "GetWindow": Access.USER,
        "StreamTicks": Access.USER,
        "ListBars": Access.USER,
        "StreamBars": Access.USER,
        "ConfigureWindow": Access.USER,
        "Subscribe": Access.USER,
        "Unsubscribe": Access.USER,
        "ListSubscriptions": Access.USER,
    },
    "algotrade.v1.StrategyService": {
        "CreateStrategy": Access.USER,
        "GetStrategy": Access.USER,
        "ListStrategies": Access.USER,
        "ListStrategyVersions": Access.USER,
        "UpdateStrategy": Access.USER,
        "DeleteStrategy": Access.USER,
        "ListTemplates": Access.USER,
        "TestRunStrategy": Access.USER,
        "ValidateStrategy": Access.USER,
        "CompileStrategy": Access.USER,
        "ListNodeTypes": Access.USER,
        "GetArtefact": Access.USER,
    },
    "algotrade.v1.BacktestService": {
        "StartBacktest": Access.USER,
        "RerunBacktest": Access.USER,
        "WatchBacktest": Access.USER,
        "CancelBacktest": Access.USER,
        "GetBacktest": Access.USER,
        "ListBacktests": Access.USER,
        "ListBacktestTrades": Access.USER,
        "GetBacktestEquity": Access.USER,
        "DeleteBacktest": Access.USER,
    },
    "algotrade.v1.ForwardTestService": {
        "CreateSession": Access.USER,
        "StartSession": Access.USER,
        "StopSession": Access.USER,
        "PauseSession": Access.USER,
        "ResumeSession": Access.USER,
        "FlattenSession": Access.USER,
        "DeleteSession": Access.USER,
        "GetSession": Access.USER,
        "ListSessions": Access.USER,
        "StreamSession": Access.USER,
        "ListTrades": Access.USER,
        "ListPositions": Access.USER,
        "GetMetrics": Access.USER,
    },
}


class PolicyError(Exception):
    """The table and the services do not match."""


def accesses(services: Iterable[ServiceDescriptor]) -> dict[str, Access]:
    """Return {"/package.Service/Method": access} for services; PolicyError for an RPC without an entry."""
    found = {}
    for service in services:
        declared = POLICY.get(service.full_name, {})
        names = {method.name for method in service.methods}
        if missing := names - declared.keys():
            raise PolicyError(f"{service.full_name}: no access declared for {', '.join(sorted(missing))}")
        if stale := declared.keys() - names:
            raise PolicyError(f"{service.full_name}: access declared for unknown {', '.join(sorted(stale))}")
        for name, access in declared.items():
            found[f"/{service.full_name}/{name}"] = access
    return found
