"""Who may call what, and how often: one table, complete by construction.

A server with an RPC that is not in it, or that has no tier there, does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor


class Access(Enum):
    """What a call needs."""

    PUBLIC = "public"  # no token; one that comes is not looked at
    USER = "user"  # a good access token; the handler sees the caller's own objects only
    LOGIN = "login"  # … that came from a login: an API key may not change the account


class Tier(Enum):
    """What a call costs, and so how often one caller may make it.

    The settings ``rate_<tier>`` have the figures; the gateway counts each method of each caller for itself. Who calls
    is the subject of the verified token, or where there is none the client's address.
    """

    PASSWORD = "password"  # noqa: S105  (takes a password: may be a guess, and costs a hash)
    CREDENTIAL = "credential"  # takes a secret that nobody guesses
    OPEN = "open"  # needs no token and gives away nothing
    COMPUTE = "compute"  # compiles, runs or replays a strategy, or makes something that does
    WRITE = "write"  # changes rows, or costs about as much
    READ = "read"
    STREAM = "stream"  # opens a stream

    @property
    def by_address(self) -> bool:
        """Whether callers are told apart by their address, for want of a token or because it may be a guess."""
        return self in (Tier.PASSWORD, Tier.CREDENTIAL, Tier.OPEN)


Rule = tuple[Access, Tier]

POLICY: Final[Mapping[str, Mapping[str, Rule]]] = {
    "algotrade.v1.HealthService": {
        "GetDetailedHealth": (Access.PUBLIC, Tier.OPEN),
    },
    "algotrade.v1.IdentityService": {
        "Register": (Access.PUBLIC, Tier.PASSWORD),
        "Login": (Access.PUBLIC, Tier.PASSWORD),
        "RefreshToken": (Access.PUBLIC, Tier.CREDENTIAL),
        "ExchangeApiKey": (Access.PUBLIC, Tier.CREDENTIAL),
        "Logout": (Access.LOGIN, Tier.WRITE),
        "GetMe": (Access.USER, Tier.READ),
        "UpdateMe": (Access.LOGIN, Tier.WRITE),
        "ChangePassword": (Access.LOGIN, Tier.PASSWORD),
        "CreateApiKey": (Access.LOGIN, Tier.WRITE),
        "ListApiKeys": (Access.USER, Tier.READ),
        "DeleteApiKey": (Access.LOGIN, Tier.WRITE),
    },
    "algotrade.v1.MarketDataService": {
        "ListSymbols": (Access.USER, Tier.READ),
        "GetWindow": (Access.USER, Tier.READ),
        "StreamTicks": (Access.USER, Tier.STREAM),
        "ListBars": (Access.USER, Tier.READ),
        "StreamBars": (Access.USER, Tier.STREAM),
        "ConfigureWindow": (Access.USER, Tier.WRITE),
        "Subscribe": (Access.USER, Tier.WRITE),
        "Unsubscribe": (Access.USER, Tier.WRITE),
        "ListSubscriptions": (Access.USER, Tier.READ),
    },
    "algotrade.v1.StrategyService": {
        "CreateStrategy": (Access.USER, Tier.WRITE),
        "GetStrategy": (Access.USER, Tier.READ),
        "ListStrategies": (Access.USER, Tier.READ),
        "ListStrategyVersions": (Access.USER, Tier.READ),
        "UpdateStrategy": (Access.USER, Tier.WRITE),
        "DeleteStrategy": (Access.USER, Tier.WRITE),
        "ListTemplates": (Access.USER, Tier.READ),
        "TestRunStrategy": (Access.USER, Tier.COMPUTE),
        "ValidateStrategy": (Access.USER, Tier.WRITE),
        "CompileStrategy": (Access.USER, Tier.COMPUTE),
        "ListNodeTypes": (Access.USER, Tier.READ),
        "GetArtefact": (Access.USER, Tier.READ),
    },
    "algotrade.v1.BacktestService": {
        "StartBacktest": (Access.USER, Tier.COMPUTE),
        "RerunBacktest": (Access.USER, Tier.COMPUTE),
        "WatchBacktest": (Access.USER, Tier.STREAM),
        "CancelBacktest": (Access.USER, Tier.WRITE),
        "GetBacktest": (Access.USER, Tier.READ),
        "ListBacktests": (Access.USER, Tier.READ),
        "ListBacktestTrades": (Access.USER, Tier.READ),
        "GetBacktestEquity": (Access.USER, Tier.READ),
        "GetBars": (Access.USER, Tier.READ),
        "ExplainBar": (Access.USER, Tier.COMPUTE),
        "DeleteBacktest": (Access.USER, Tier.WRITE),
        "StartOptimization": (Access.USER, Tier.COMPUTE),
        "WatchOptimization": (Access.USER, Tier.STREAM),
        "CancelOptimization": (Access.USER, Tier.WRITE),
        "GetOptimization": (Access.USER, Tier.READ),
        "ListOptimizations": (Access.USER, Tier.READ),
        "ListOptimizationTrials": (Access.USER, Tier.READ),
        "DeleteOptimization": (Access.USER, Tier.WRITE),
    },
    "algotrade.v1.ForwardTestService": {
        "CreateSession": (Access.USER, Tier.COMPUTE),
        "StartSession": (Access.USER, Tier.WRITE),
        "StopSession": (Access.USER, Tier.WRITE),
        "PauseSession": (Access.USER, Tier.WRITE),
        "ResumeSession": (Access.USER, Tier.WRITE),
        "FlattenSession": (Access.USER, Tier.WRITE),
        "DeleteSession": (Access.USER, Tier.WRITE),
        "GetSession": (Access.USER, Tier.READ),
        "ListSessions": (Access.USER, Tier.READ),
        "StreamSession": (Access.USER, Tier.STREAM),
        "ListTrades": (Access.USER, Tier.READ),
        "ListPositions": (Access.USER, Tier.READ),
        "GetMetrics": (Access.USER, Tier.READ),
        "ListChartPoints": (Access.USER, Tier.READ),
        "VerifyParity": (Access.USER, Tier.COMPUTE),
    },
    "algotrade.v1.NotificationService": {
        "StreamNotifications": (Access.USER, Tier.STREAM),
        "ListNotifications": (Access.USER, Tier.READ),
        "MarkRead": (Access.USER, Tier.WRITE),
        "CreateChannel": (Access.USER, Tier.WRITE),
        "GetChannel": (Access.USER, Tier.READ),
        "ListChannels": (Access.USER, Tier.READ),
        "UpdateChannel": (Access.USER, Tier.WRITE),
        "DeleteChannel": (Access.USER, Tier.WRITE),
        "TestChannel": (Access.USER, Tier.COMPUTE),
        "CreateRule": (Access.USER, Tier.WRITE),
        "GetRule": (Access.USER, Tier.READ),
        "ListRules": (Access.USER, Tier.READ),
        "UpdateRule": (Access.USER, Tier.WRITE),
        "DeleteRule": (Access.USER, Tier.WRITE),
        "ListDeliveries": (Access.USER, Tier.READ),
    },
    "algotrade.v1.RealtimeService": {
        "StreamUpdates": (Access.USER, Tier.STREAM),
    },
}


class PolicyError(Exception):
    """The table and the services do not match."""


def rules(services: Iterable[ServiceDescriptor]) -> dict[str, Rule]:
    """Return {"/package.Service/Method": rule} for services; PolicyError for an RPC without a whole and fitting one."""
    found = {}
    for service in services:
        declared = POLICY.get(service.full_name, {})
        names = {method.name for method in service.methods}
        if missing := names - declared.keys():
            raise PolicyError(f"{service.full_name}: no access declared for {', '.join(sorted(missing))}; {_HOW}")
        if stale := declared.keys() - names:
            raise PolicyError(f"{service.full_name}: access declared for unknown {', '.join(sorted(stale))}")
        for method in service.methods:
            found[f"/{service.full_name}/{method.name}"] = _checked(method, declared[method.name])
    return found


def accesses(services: Iterable[ServiceDescriptor]) -> dict[str, Access]:
    """Return {"/package.Service/Method": access} for services; PolicyError as `rules`."""
    return {path: access for path, (access, _) in rules(services).items()}


_HOW: Final = (
    'add `"<Method>": (Access.…, Tier.…)` to POLICY in platform/policy.py: '
    f"the access is one of {', '.join(access.name for access in Access)}, "
    f"the tier, which bounds how often a caller may call, one of {', '.join(tier.name for tier in Tier)}"
)


def _checked(method: MethodDescriptor, rule: object) -> Rule:
    match rule:
        case (Access() as access, Tier() as tier):
            pass
        case _:
            raise PolicyError(f"{method.full_name}: no tier declared; {_HOW}")
    if method.server_streaming != (tier is Tier.STREAM):
        raise PolicyError(f"{method.full_name}: a stream has the tier STREAM, and nothing else has; {_HOW}")
    if access is Access.PUBLIC and not tier.by_address:
        raise PolicyError(f"{method.full_name}: callers of a public method have no token to count by; {_HOW}")
    return access, tier
