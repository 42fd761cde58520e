"""What every pod of every overlay keeps to: rights, probes, sizes, images, an orderly end, and who may reach whom."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from deploy.manifests import OVERLAYS, ROOT, Resource, built, containers, of_kind, pods, selected

from algotrade.forward_test.shards import SHARDS
from algotrade.platform.mesh import PROCESSES
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

EVERY_POD = [(overlay, name, pod) for overlay in OVERLAYS for name, pod in pods(overlay)]
every_pod = pytest.mark.parametrize(
    ("overlay", "name", "pod"), EVERY_POD, ids=lambda one: one if isinstance(one, str) else ""
)
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
MESH = sorted(process.replace("_", "-") for process in set(PROCESSES.values()))


def lasts(name: str) -> bool:
    return not name.startswith("Job/")


def memory(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_there_is_something_to_look_at() -> None:
    assert len(EVERY_POD) >= 30
    assert {name.partition("/")[2] for _, name, _ in EVERY_POD} >= {*MESH, "gateway", "migrate-0-1-0"}


@every_pod
def test_it_has_no_rights(overlay: str, name: str, pod: Resource) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] not in ("", "default")
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    for container in containers(pod):
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@every_pod
def test_it_says_what_it_needs_and_may_take(overlay: str, name: str, pod: Resource) -> None:
    for container in containers(pod):
        resources = container["resources"]
        assert resources["requests"]["cpu"]
        assert memory(resources["requests"]["memory"]) <= memory(resources["limits"]["memory"])
        if overlay == "prod":
            assert resources["requests"]["memory"] == resources["limits"]["memory"]  # none is killed for another's sake
    for volume in pod["spec"].get("volumes", []):
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@every_pod
def test_it_says_how_it_is_and_ends_in_order(overlay: str, name: str, pod: Resource) -> None:
    if not lasts(name):
        assert pod["spec"]["restartPolicy"] == "OnFailure"
        return
    for container in pod["spec"]["containers"]:
        probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
        if container["image"].startswith("algotrade:"):
            assert all(probe["grpc"]["port"] == 50051 for probe in probes.values())
            # What it is given in all is more than the wait, and twice its own: for calls, and for what works beside.
            wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            own = int(configuration(overlay)["ALGOTRADE_SHUTDOWN_GRACE_SECONDS"])
            assert pod["spec"]["terminationGracePeriodSeconds"] > wait + 2 * own
        assert probes["startup"]["failureThreshold"] * probes["startup"]["periodSeconds"] >= 60


@every_pod
def test_images_have_a_version(overlay: str, name: str, pod: Resource) -> None:
    for container in containers(pod):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        assert re.match(r"v?\d+\.\d+|[0-9a-f]{8}$", tag), container["image"]


def configuration(overlay: str) -> dict[str, str]:
    found = [one for one in of_kind(overlay, "ConfigMap") if one["metadata"]["name"].startswith("algotrade-")]
    assert len(found) == 1
    return dict(found[0]["data"])


@every_overlay
def test_a_change_of_configuration_rolls_the_pods(overlay: str) -> None:
    """The name ends in a hash of the content, and every pod of ours names it."""
    for name, pod in pods(overlay):
        for container in containers(pod):
            if container["image"].startswith("algotrade:"):
                source = container["envFrom"][0]["configMapRef"]["name"]
                assert re.fullmatch(r"algotrade-[a-z0-9]{10}", source), name


@every_pod
def test_variables_are_settings_and_good_ones(
    overlay: str, name: str, pod: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = dict(re.findall(r"(ALGOTRADE_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    for container in containers(pod):
        if not container["image"].startswith("algotrade:"):
            continue
        own = {one["name"]: one.get("value") for one in container.get("env", [])}
        own |= {"ALGOTRADE_DATABASE_DSN": "postgresql://a:b@c/d"} if "ALGOTRADE_DATABASE_DSN" in own else {}
        for variable, value in (image | configuration(overlay) | own).items():
            assert variable.removeprefix("ALGOTRADE_").lower() in Settings.model_fields, variable
            if value is not None:
                monkeypatch.setenv(variable, value)
        settings = Settings()
        assert (settings.jwks_url is None) == (name in ("Deployment/identity", "Job/migrate-0-1-0"))


@every_overlay
def test_secrets_are_named_and_never_here(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for _, pod in pods(overlay):
        for container in containers(pod):
            for one in container.get("env", []):
                secret = re.search(r"PASSWORD|SECRET|TOKEN|_DSN|_AUTH|REDIS_URL", one["name"])
                assert not secret or "secretKeyRef" in one["valueFrom"], one


def test_the_secrets_of_development_are_those_that_are_named() -> None:
    text = subprocess.run(
        [ROOT / "deploy/k8s/secrets.sh", "algotrade"], capture_output=True, text=True, check=True
    ).stdout
    made = {one["metadata"]["name"]: set(one["data"]) for one in yaml.safe_load_all(text)}
    wanted: dict[str, set[str]] = {}
    for _, pod in pods("dev"):
        for container in containers(pod):
            for one in container.get("env", []):
                reference = one.get("valueFrom", {}).get("secretKeyRef")
                if reference and not reference.get("optional"):
                    wanted.setdefault(reference["name"], set()).add(reference["key"])
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                wanted.setdefault(volume["secret"]["secretName"], set())
    assert wanted
    for name, keys in wanted.items():
        assert keys <= made[name], name


@every_overlay
def test_each_service_has_all_its_parts(overlay: str) -> None:
    names = {kind: {one["metadata"]["name"] for one in of_kind(overlay, kind)} for kind in KINDS}
    for process in [*MESH, "gateway"]:
        for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
            assert process in names[kind], (kind, process)
        if overlay != "dev":
            scaler = "ScaledObject" if process == "forward-test" else "HorizontalPodAutoscaler"
            assert process in names[scaler], process
    for one in of_kind(overlay, "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert selected(one["spec"]["selector"], labels)
        spread = one["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert all(constraint["labelSelector"]["matchLabels"] for constraint in spread)
        assert ("replicas" in one["spec"]) == (overlay == "dev")  # elsewhere the autoscaler has that number
        for budget in of_kind(overlay, "PodDisruptionBudget"):
            if budget["metadata"]["name"] == one["metadata"]["name"]:
                assert selected(budget["spec"]["selector"], labels)


KINDS = (
    *("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"),
    *("ScaledObject", "HorizontalPodAutoscaler"),
)


@every_overlay
def test_addresses_lead_to_services(overlay: str) -> None:
    ports = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]} for one in of_kind(overlay, "Service")
    }
    data = configuration(overlay)
    addresses = [data[f"ALGOTRADE_{process.upper()}_ADDRESS"] for process in set(PROCESSES.values())]
    for address in [*addresses, *([data["ALGOTRADE_RATE_SERVICE"]] if overlay != "dev" else [])]:
        host, _, port = address.partition(":")
        assert int(port) in ports[host]
    for one in of_kind(overlay, "Service"):
        if one["metadata"]["name"] in MESH:
            assert one["spec"]["clusterIP"] == "None"  # or calls would not be balanced


def test_workers_scale_on_what_they_export_and_never_beyond_the_shards() -> None:
    (scaled,) = of_kind("prod", "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "forward-test"
    assert scaled["spec"]["maxReplicaCount"] == len(SHARDS)
    exported = {metric.name for metric in Metrics().registry.collect()}
    for trigger in scaled["spec"]["triggers"]:
        names = re.findall(r"algotrade_\w+", trigger["metadata"]["query"])
        assert names
        assert set(names) <= exported


def test_the_migration_is_made_anew_with_each_release() -> None:
    (job,) = of_kind("prod", "Job")
    tag = job["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    assert job["metadata"]["name"] == f"migrate-{tag.replace('.', '-')}"
    ours = [one["image"] for _, pod in pods("prod") for one in containers(pod) if one["image"].startswith("algotrade")]
    assert set(ours) == {f"algotrade:{tag}"}  # the release of one is that of all


class Network:
    """Who may reach whom, as the policies of an overlay say."""

    def __init__(self, overlay: str) -> None:
        self.policies = [one["spec"] for one in of_kind(overlay, "NetworkPolicy")]
        self.labels = {name.partition("/")[2]: pod["metadata"]["labels"] for name, pod in pods(overlay)}

    def allows(self, source: str, target: str, port: int) -> bool:
        return self._side("Egress", source, target, port) and self._side("Ingress", target, source, port)

    def _side(self, kind: str, here: str, there: str, port: int) -> bool:
        rules: list[Any] = []
        for policy in self.policies:
            if kind in policy["policyTypes"] and selected(policy["podSelector"], self.labels[here]):
                rules += policy.get(kind.lower(), [])
        peers = "to" if kind == "Egress" else "from"
        return any(
            (not rule.get("ports") or port in [one["port"] for one in rule["ports"]])
            and (
                peers not in rule
                or any("podSelector" in one and selected(one["podSelector"], self.labels[there]) for one in rule[peers])
            )
            for rule in rules
        )


CALLS = {
    "gateway": set(MESH),
    "identity": set(MESH) - {"identity"},  # GetDetailedHealth
    "backtest": {"strategy", "market-data"},
    "forward-test": {"strategy", "market-data"},
    "notification": {"forward-test", "market-data"},
    "market-data": set(),
    "strategy": set(),
}


@every_overlay
def test_nobody_reaches_what_he_does_not_need(overlay: str) -> None:
    network = Network(overlay)
    for source, whom in CALLS.items():
        allowed = {target for target in MESH if target != source and network.allows(source, target, 50051)}
        assert allowed == whom, source
        assert network.allows(source, "identity", 9464) or source == "identity"  # its public keys
        if overlay != "prod":
            database = {
                target for target in ("postgres", "redis", "kafka") if network.allows(source, target, PORTS[target])
            }
            assert database == (set() if source == "gateway" else set(PORTS)), source
    if overlay != "dev":
        assert network.allows("gateway", "rates", 8081)
        assert not any(network.allows("rates", target, 50051) for target in MESH)
        assert overlay == "prod" or network.allows("rates", "redis", 6379)
    assert overlay == "prod" or network.allows("migrate-0-1-0", "postgres", 5432)
    assert overlay == "prod" or not network.allows("postgres", "identity", 50051)


PORTS = {"postgres": 5432, "redis": 6379, "kafka": 9092}


@every_overlay
def test_everything_is_denied_first(overlay: str) -> None:
    (deny,) = [one for one in of_kind(overlay, "NetworkPolicy") if one["metadata"]["name"] == "default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (space,) = of_kind(overlay, "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"]["namespace"] for one in built(overlay) if one["kind"] != "Namespace"} == {
        space["metadata"]["name"]
    }


def test_the_operators_keep_three_copies_and_speak_tls() -> None:
    (database,) = [one for one in built("prod") if one["apiVersion"].startswith("postgresql.cnpg.io/")]
    assert database["spec"]["instances"] == 3
    pool = next(one for one in built("prod") if one["kind"] == "KafkaNodePool")
    kafka = next(one for one in built("prod") if one["kind"] == "Kafka")
    assert pool["metadata"]["labels"]["strimzi.io/cluster"] == kafka["metadata"]["name"]
    assert pool["spec"]["replicas"] == kafka["spec"]["kafka"]["config"]["default.replication.factor"] == 3
    assert all(
        one["tls"] and one["authentication"]["type"] == "scram-sha-512" for one in kafka["spec"]["kafka"]["listeners"]
    )
