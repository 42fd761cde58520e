"""`algotrade doctor`: looks at a platform from outside, as its clients and operators see it, and says what is wrong."""

from __future__ import annotations

import json as json_module
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Annotated, Any, Final

import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption

SECONDS: Final = 5.0
MAX_BYTES: Final = 4 * 1024 * 1024
SKEW_SECONDS: Final = 5.0  # as much as tokens are forgiven


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look saw: nothing wrong, or what is, and what to do about it."""

    check: str
    wrong: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address answered: a status of 0 where nobody did."""

    status: int
    body: bytes = b""
    date: str = ""
    error: str = ""


Get = Callable[[str], Answer]


def doctor(
    gateway: Annotated[
        str, typer.Option(help="The gateway, as http://host:port; the settings' own when left out.")
    ] = "",
    http: Annotated[
        str, typer.Option(help="A process's HTTP address, with keys and metrics, as host:port; the settings' own.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Look at a running platform and say what is wrong with it, and what to do. Exits with 1 where anything is."""
    from algotrade.platform.settings import Settings

    with failures_told(as_json=json):
        settings = Settings()
        edge = (gateway or f"http://{settings.gateway_address}").rstrip("/")
        inner = f"http://{http or settings.http_address}"
        findings = [*at_the_gateway(edge, get), *at_a_process(inner, get)]
        wrong = [finding for finding in findings if finding.wrong]
        if not json:
            for finding in findings:
                typer.echo(
                    f"{'✗' if finding.wrong else '✓'} {finding.check}{': ' if finding.wrong else ''}{finding.wrong}"
                )
                if finding.wrong:
                    typer.echo(f"    {finding.advice}")
        if wrong:
            raise CommandError("unwell", f"{len(wrong)} of {len(findings)} checks failed", findings=told(findings))
        if json:
            print_json({"well": True, "findings": told(findings)})


def told(findings: list[Finding]) -> list[dict[str, str]]:
    """Return findings as plain objects."""
    return [{"check": one.check, "wrong": one.wrong, "advice": one.advice} for one in findings]


def at_the_gateway(edge: str, ask: Get) -> Iterator[Finding]:
    """Look from where clients are: does it answer, are its services well, does it let nobody in without a token?"""
    alive = ask(f"{edge}/healthz")
    if alive.status == 0:
        yield Finding(
            "gateway answers", f"{edge}: {alive.error}", "Is it started, and is that its address (--gateway)?"
        )
        return
    drains = "" if alive.status == 200 else f"/healthz says {alive.status}"
    yield Finding(
        "gateway takes calls", drains, "It drains: it is about to stop, or POST /healthcheck/ok at its admin port."
    )
    yield from _services(ask(f"{edge}/health/detailed"))
    open_door = ask(f"{edge}/v1/strategies").status
    yield Finding(
        "nothing opens without a token",
        "" if open_door in (401, 403) else f"GET /v1/strategies without a token is answered with {open_door}",
        "401 is right; 503 means that the gateway has no keys: is identity reachable from it (ALGOTRADE_JWKS_URL)?",
    )
    if alive.date:
        skew = abs(parsedate_to_datetime(alive.date).timestamp() - time())
        late = f"clocks differ by {skew:.0f} s" if skew > SKEW_SECONDS + 1 else ""
        yield Finding("clocks agree", late, "Tokens are refused where clocks differ: set them by NTP.")


def _services(answer: Answer) -> Iterator[Finding]:
    if answer.status != 200:
        wrong = f"GET /health/detailed says {answer.status}"
        yield Finding(
            "services answer", wrong, "Is identity up? The gateway's access log has the reason (details, flags)."
        )
        return
    for service in json_module.loads(answer.body)["services"]:
        name = service["service"].rpartition(".")[2]
        away = [
            f"{one['name']} ({one.get('detail') or one['status']})"
            for one in service.get("dependencies", [])
            if one["status"] != "HEALTH_STATUS_HEALTHY"
        ]
        advice = "See docs/operations.md#dependencydown; `process` means that the service itself does not answer."
        yield Finding(f"{name} has what it needs", ", ".join(away), advice)


def at_a_process(inner: str, ask: Get) -> Iterator[Finding]:
    """Look at the HTTP port of a process: are there keys, and metrics to scrape?"""
    keys = ask(f"{inner}/.well-known/jwks.json")
    try:
        found: list[Any] = json_module.loads(keys.body)["keys"] if keys.status == 200 else []
    except (ValueError, KeyError, TypeError):
        found = []
    private = [key for key in found if "d" in key]
    wrong = (
        f"{inner}: {keys.error or 'no public key'}" if not found else "a private key is published" if private else ""
    )
    yield Finding(
        "public keys are served", wrong, "Ask identity's process (--http); without keys no token is good anywhere."
    )
    metrics = ask(f"{inner}/metrics")
    missing = (
        "" if b"grpc_server_handled_total" in metrics.body else f"{inner}/metrics: {metrics.error or metrics.status}"
    )
    yield Finding("metrics are served", missing, "Prometheus reads ALGOTRADE_HTTP_ADDRESS of each process.")


def get(url: str) -> Answer:
    """Ask an address; what goes wrong is part of the answer."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310  (the operator names it)
            return Answer(answer.status, answer.read(MAX_BYTES), answer.headers.get("date", ""))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(MAX_BYTES), error.headers.get("date", ""))
    except (OSError, ValueError) as error:
        return Answer(0, error=str(getattr(error, "reason", error)))
