"""What `algotrade up` says: lines for people, or with --json one JSON document a line, each with its `event`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

    from algotrade.platform.settings import Settings
    from algotrade.v1.forward_test_service_pb2 import Session


class Announcer:
    """Writes on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        """Take for whom."""
        self.as_json = as_json
        self.console = Console()
        if not self.console.is_terminal:
            self.console = Console(width=120)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line for people, never broken: many are to be pasted."""
        if not self.as_json:
            self.console.print(Text(text, style=style), soft_wrap=True)

    def event(self, event: str, **facts: Any) -> None:
        """Print a line for programs."""
        if self.as_json:
            sys.stdout.write(orjson.dumps({"event": event, **facts}).decode() + "\n")
            sys.stdout.flush()

    def starting(self, settings: Settings, log_file: Path | None) -> None:
        """Say what is about to take a few seconds."""
        told = f", log in {log_file}" if log_file else ""
        self.line(f"Starting AlgoTrade: data in {settings.data_dir}{told}", "dim")

    def ready(self, settings: Settings) -> None:
        """Say where everything is."""
        gateway = f"http://{settings.gateway_address}"
        self.event(
            "ready",
            gateway=gateway,
            grpc=settings.grpc_address,
            metrics=f"http://{settings.http_address}/metrics",
            envoy_admin=f"http://{settings.envoy_admin_address}",
            data_dir=str(settings.data_dir),
        )
        self.line("AlgoTrade is up.", "bold green")
        if settings.pages_dir:
            self.line(f"  pages     {gateway}/  (open it in a browser)")
        self.line(f"  gateway   {gateway}  (gRPC, gRPC-Web and REST on one port)")
        self.line(f"  health    {gateway}/health/detailed")
        self.line(f"  metrics   http://{settings.http_address}/metrics")

    def paste(self, settings: Settings, password_file: Path, email: str, session: Session) -> None:
        """Say how to ask the same by hand."""
        gateway, bearer = f"http://{settings.gateway_address}", '-H "authorization: Bearer $TOKEN"'
        body = f'{{\\"email\\":\\"{email}\\",\\"password\\":\\"$(cat {shlex.quote(str(password_file))})\\"}}'
        reading = 'python3 -c \'import json, sys; print(json.load(sys.stdin)["token"]["token"])\''
        grpcurl, service = f"grpcurl -plaintext {bearer}", "algotrade.v1"
        symbol = f'{{"symbol": "{session.symbol}"}}'
        minutes = settings.access_token_seconds // 60
        self.line()
        self.line(f"Try it from another terminal, in this directory (the token is good for {minutes} minutes):")
        for line in (
            f'TOKEN=$(curl -s {gateway}/v1/identity/login -d "{body}" | {reading})',
            f"curl -s {gateway}/health/detailed",
            f"curl -s {bearer} {gateway}/v1/sessions",
            f"curl -sN {bearer} {gateway}/v1/sessions/{session.session_id}/events",
            f"grpcurl -plaintext {settings.gateway_address} list",
            f"{grpcurl} {settings.gateway_address} {service}.ForwardTestService/ListSessions",
            f"{grpcurl} -d '{symbol}' {settings.gateway_address} {service}.MarketDataService/StreamTicks",
        ):
            self.line(f"  {line}", "cyan")
        self.line()

    def verdict(self, summary: Table, failures: Sequence[str], *, traded: bool) -> None:
        """Print how the demo went."""
        if self.as_json:
            return
        self.line()
        self.console.print(summary)
        self.line()
        for failure in failures:
            self.line(f"failed: {failure}", "red")
        if not failures:
            self.line("Orders were filled on every feed, and nothing failed." if traded else "Nothing failed.", "green")

    def stopped(self) -> None:
        """Say that all has ended."""
        self.event("stopped")
        self.line("AlgoTrade has stopped.", "dim")
