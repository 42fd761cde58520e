"""The overlays on a real API server with its controllers and scheduler; run by `make test-cluster`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.control_plane import CRDS, Cluster, control_plane
from deploy.manifests import OVERLAYS, ROOT, built, named

pytestmark = pytest.mark.nightly

NAMESPACE = "algotrade"
ELSEWHERE = re.compile(r"docker |port-forward")  # lines of the runbook for which there is nothing here
WITHOUT_SCHEMA = "kafka.strimzi.io/"  # no package here carries the custom resources of Strimzi


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    assert (CRDS / ".fetched").exists(), "run by `make test-cluster`"
    async with control_plane(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def runbook() -> list[str]:
    """Return the commands of docs/deployment.md for a cluster of one's own, as they stand there."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    block = page.split("A cluster of your own:", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    return [line for line in block.splitlines() if not ELSEWHERE.search(line)]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.timeout(600)
def test_every_resource_is_taken(cluster: Cluster, overlay: str) -> None:
    """Server-side, with unknown fields refused and every admission; but for its namespace nothing is stored."""
    cluster.apply(*(one for one in built(overlay) if one["kind"] == "Namespace"))
    resources = [one for one in built(overlay) if not one["apiVersion"].startswith(WITHOUT_SCHEMA)]
    assert len(resources) >= 60
    cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"),
        told=yaml.safe_dump_all(resources),
    )
    [space] = [one["metadata"]["name"] for one in resources if one["kind"] == "Namespace"]
    cluster.kubectl("delete", "namespace", space, "--timeout=2m")


@pytest.mark.timeout(900)
def test_a_newcomer_has_the_dev_overlay_running_by_the_runbook(cluster: Cluster) -> None:
    for line in runbook():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=ROOT,
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"$ {line}\n{done.stdout}")
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Warning" not in done.stderr, done.stderr  # of Pod Security, or of an API that goes
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "statefulset/postgres", "--timeout=2m")
    found = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "deployments,statefulsets", "-o", "json"))
    assert {one["metadata"]["name"] for one in found["items"]} >= {"gateway", "identity", "postgres", "kafka", "redis"}
    for one in found["items"]:
        assert one["status"].get("readyReplicas") == one["spec"]["replicas"], one["metadata"]["name"]


@pytest.mark.timeout(600)
def test_applied_again_no_pod_is_replaced(cluster: Cluster) -> None:
    def pods() -> set[str]:
        return set(cluster.kubectl("-n", NAMESPACE, "get", "pods", "-o", "name").split())

    before = pods()
    assert len(before) >= 10
    cluster.kubectl("apply", "-k", str(ROOT / "deploy" / "k8s" / "overlays" / "dev"))
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment", "--timeout=5m")
    assert pods() == before


@pytest.mark.timeout(900)
def test_a_release_rolls_without_a_pod_less(cluster: Cluster) -> None:
    cluster.kubectl("-n", NAMESPACE, "set", "image", "deployment/identity", "service=algotrade:0.1.1")
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/identity", "--timeout=5m")
    pods = json.loads(
        cluster.kubectl("-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=identity", "-o", "json")
    )["items"]
    alive = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
    assert {one["spec"]["containers"][0]["image"] for one in alive} == {"algotrade:0.1.1"}
    cluster.kubectl("-n", NAMESPACE, "rollout", "undo", "deployment/identity")
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/identity", "--timeout=5m")


def test_what_breaks_the_rules_is_refused(cluster: Cluster) -> None:
    deployment: Any = next(one for one in built("dev") if named(one) == "Deployment/identity")
    good = deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
    about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rogue", "namespace": NAMESPACE}}

    def refused(spec: Any) -> str:
        pod = yaml.safe_dump(about | {"spec": spec})
        return cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", told=pod, fails=True)

    container = good["containers"][0]
    loose = container["securityContext"] | {"allowPrivilegeEscalation": True}
    said = refused(good | {"containers": [container | {"securityContext": loose}]})
    assert 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation' in said
    assert "runAsRoot" in refused(good | {"runAsRoot": True})


def test_the_programs_are_those_of_kubernetes(cluster: Cluster) -> None:
    found = json.loads(cluster.kubectl("version", "-o", "json"))
    assert found["serverVersion"]["gitVersion"].startswith("v1.36.")
    assert Path(cluster.folder, "kube-apiserver.log").exists()
