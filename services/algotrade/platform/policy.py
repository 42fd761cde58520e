"""Who may call what, and how often: what each RPC declares in its proto (protos/algotrade/v1/access.proto).

The generator refuses an RPC that declares nothing, or what does not fit; so does a server at its start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from algotrade.v1 import access_pb2


class Access(Enum):
    """What a call needs."""

    PUBLIC = "public"  # no token; one that comes is not looked at
    USER = "user"  # a good access token; the handler sees the caller's own objects only
    LOGIN = "login"  # … that came from a login: an API key may not change the account
    ADMIN = "admin"  # … of an administrator
    SERVICE = "service"  # a service token; the gateway has no way to it


class Scope(Enum):
    """What an API key is good for; an access token of a login is good for all."""

    READ = "read"  # calls that change nothing, streams among them
    TRADE = "trade"  # all others


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
Kind = TypeVar("Kind", bound=Enum)


class PolicyError(Exception):
    """An RPC declares no whole and fitting policy."""


def rules(services: Iterable[ServiceDescriptor]) -> dict[str, Rule]:
    """Return {"/package.Service/Method": rule} for services; PolicyError for an RPC without a whole and fitting one."""
    return {
        f"/{service.full_name}/{method.name}": rule_of(method) for service in services for method in service.methods
    }


def rule_of(method: MethodDescriptor) -> Rule:
    """Return what a method declares. Raises PolicyError."""
    options = method.GetOptions().Extensions
    access = _declared(Access, access_pb2.Access.Name(options[access_pb2.access]))
    tier = _declared(Tier, access_pb2.Tier.Name(options[access_pb2.tier]))
    if access is None or tier is None:
        raise PolicyError(f"{method.full_name}: no {'tier' if access else 'access'} declared; {_HOW}")
    if method.server_streaming != (tier is Tier.STREAM):
        raise PolicyError(f"{method.full_name}: a stream has the tier STREAM, and nothing else has; {_HOW}")
    if access is Access.PUBLIC and not tier.by_address:
        raise PolicyError(f"{method.full_name}: callers of a public method have no token to count by; {_HOW}")
    return access, tier


@dataclass(frozen=True, slots=True)
class Need:
    """What a server wants of a call: whose token, and where that came from an API key, made for what."""

    access: Access
    scope: Scope


def needs(services: Iterable[ServiceDescriptor]) -> dict[str, Need]:
    """Return {"/package.Service/Method": need} for services; PolicyError as `rules`."""
    return {
        f"/{service.full_name}/{method.name}": Need(rule_of(method)[0], scope_of(method))
        for service in services
        for method in service.methods
    }


def scope_of(method: MethodDescriptor) -> Scope:
    """Return what an API key has to be made for to call a method: what changes nothing says so in its proto."""
    return Scope.READ if method.server_streaming or is_read_only(method) else Scope.TRADE


def is_read_only(method: MethodDescriptor) -> bool:
    """Tell whether a method declares that it changes nothing: then it may be tried again, whatever happened."""
    level: int = method.GetOptions().idempotency_level
    return level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


_HOW: Final = (
    "write `option (access) = ACCESS_…; option (tier) = TIER_…;` into the RPC: "
    f"the access is one of {', '.join(access.name for access in Access)}, "
    f"the tier, which bounds how often a caller may call, one of {', '.join(tier.name for tier in Tier)}"
)


def _declared(kind: type[Kind], name: str) -> Kind | None:
    """Return the member that a value of the protos' enum stands for; None for what is not declared."""
    return kind.__members__.get(name.partition("_")[2])
