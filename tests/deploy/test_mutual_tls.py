"""The component that has services know each other by certificates, over production."""

from __future__ import annotations

import jsonschema
import kubernetes_validate
import pytest
from deploy.manifests import Resource, built, containers, named, of_kind, pods
from deploy.test_schemas import custom_schemas

from algotrade.platform.mesh import GATEWAY, PROCESSES
from algotrade.platform.settings import Settings

OVERLAY = "prod-mtls"
PODS = {name.partition("/")[2]: pod for name, pod in pods(OVERLAY)}
SERVICES = sorted(process.replace("_", "-") for process in set(PROCESSES.values()))


def environment(container: Resource) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container.get("env", [])}


@pytest.mark.parametrize("name", [*SERVICES, GATEWAY])
def test_each_has_a_certificate_of_its_own(name: str) -> None:
    pod = PODS[name]
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "tls"]
    assert volume["secret"] == {"secretName": f"algotrade-tls-{name}", "defaultMode": 0o440}
    for container in containers(pod):
        assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container["volumeMounts"]
        if container["name"] != "envoy":
            assert environment(container)["ALGOTRADE_TLS_DIR"] == "/tls"
            assert "tls_dir" in Settings.model_fields
            url = environment(container).get("ALGOTRADE_JWKS_URL", "https://")
            assert url.startswith("https://")
            assert (url == "https://") == (name == "identity")


@pytest.mark.parametrize("name", SERVICES)
def test_probes_speak_tls(name: str) -> None:
    (container,) = PODS[name]["spec"]["containers"]
    for kind in ("startup", "readiness", "liveness"):
        probe = container[f"{kind}Probe"]
        assert probe["exec"]["command"] == ["python", "-m", "algotrade.platform.healthcheck"]
        assert "grpc" not in probe
        assert probe["timeoutSeconds"] >= 5  # a Python begins


def test_nothing_else_is_changed() -> None:
    assert [named(one) for one in built(OVERLAY)] == [named(one) for one in built("prod")]
    changed = [named(one) for one, before in zip(built(OVERLAY), built("prod"), strict=True) if one != before]
    assert sorted(changed) == sorted(["PodMonitor/algotrade", *(f"Deployment/{name}" for name in [*SERVICES, GATEWAY])])
    (monitor,) = of_kind(OVERLAY, "PodMonitor")
    jsonschema.validate(monitor, custom_schemas()[monitor["apiVersion"], "PodMonitor"])
    for one in of_kind(OVERLAY, "Deployment"):
        kubernetes_validate.validate(one, "1.37", strict=True)
