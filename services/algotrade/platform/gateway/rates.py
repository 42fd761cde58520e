"""How often one caller may call: what the gateway counts by itself, and what a service counts for several gateways."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from algotrade.platform.policy import Tier
from algotrade.platform.settings import Settings

RATE_DOMAIN: Final = "algotrade"
_WINDOWS: Final = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}  # that the service counts in


@dataclass(frozen=True, slots=True)
class Bucket:
    """A rate limit: ``calls`` at once, and as many again within ``seconds``."""

    key: str
    calls: int
    seconds: int
    by_address: bool

    @classmethod
    def parse(cls, key: str, rate: str, *, by_address: bool) -> Bucket:
        """Read a setting such as "20/60"."""
        calls, seconds = rate.split("/")
        return cls(key, int(calls), int(seconds), by_address)

    @property
    def window(self) -> dict[str, Any]:
        """The same in the shortest of the service's windows that is not shorter; of the longest, in proportion."""
        seconds = next((known for known in _WINDOWS if known >= self.seconds), max(_WINDOWS))
        return {"unit": _WINDOWS[seconds], "requests_per_unit": math.ceil(self.calls * seconds / self.seconds)}


def tier_buckets(settings: Settings) -> list[Bucket]:
    """Return the rate of each tier, a method and caller."""
    return [
        Bucket.parse(tier.value, getattr(settings, f"rate_{tier.value}"), by_address=tier.by_address) for tier in Tier
    ]


def quotas(settings: Settings) -> dict[str, int]:
    """Return the calls that a user has in a day, by tier; none of tiers without a bound."""
    named = {tier.value: getattr(settings, f"quota_{tier.value}", 0) for tier in Tier}
    return {tier: calls for tier, calls in named.items() if calls}


def rate_service_configuration(settings: Settings) -> str:
    """Return what envoyproxy/ratelimit reads: JSON, which is YAML. A key without a value counts each value apart."""
    rates = [
        {
            "key": bucket.key,
            "descriptors": [
                {"key": "masked_remote_address" if bucket.by_address else "user", "rate_limit": bucket.window}
            ],
        }
        for bucket in tier_buckets(settings)
    ]
    days = [
        {
            "key": "day",
            "value": tier,
            "descriptors": [{"key": "user", "rate_limit": {"unit": "day", "requests_per_unit": calls}}],
        }
        for tier, calls in quotas(settings).items()
    ]
    return json.dumps({"domain": RATE_DOMAIN, "descriptors": rates + days}, indent=2) + "\n"
