"""A real control plane of Kubernetes on this machine: etcd, kube-apiserver, controllers, scheduler; nodes by kwok.

Whatever is applied is judged, stored, scheduled and rolled out as anywhere. Only the nodes are made up: their kubelets
say that pods run, and nothing runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from algotrade.stack.process import Server, free_ports, run_once, running

PROGRAMS = Path(sys.prefix) / "cluster"
KUSTOMIZE = Path(sys.executable).with_name("kustomize")
CRDS = Path(sys.prefix) / "crds"
TOKEN = "not-a-secret"
NODES = 3
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")  # of kwok: a pod is ready, or a job's done, at once


@dataclass(frozen=True)
class Cluster:
    """Where it is, and how to tell it something."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of somebody whose kubectl is set up."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"KUBECONFIG": str(self.folder / "kubeconfig"), "PATH": path}

    def kubectl(self, *arguments: str, told: str | None = None, fails: bool = False) -> str:
        """Run kubectl; return what it says, which is what it complains of where it is to fail."""
        done = subprocess.run(
            ["kubectl", *arguments], env=self.environment, input=told, capture_output=True, text=True, check=False
        )
        assert (done.returncode != 0) is fails, f"kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def apply(self, *resources: Any) -> None:
        """Apply resources, unknown fields refused."""
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", told=yaml.safe_dump_all(resources))


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[Cluster]:
    """Run a control plane in an empty folder, with nodes, disks and the custom resources that overlays use."""
    cluster = Cluster(folder)
    etcd, peer, api, controllers, scheduler, kwok = free_ports(6)
    _write_credentials(folder, api)
    ready = f"--kubeconfig={folder / 'kubeconfig'}"

    async def answers() -> bool:
        command = [PROGRAMS / "kubectl", ready, "get", "--raw", "/readyz"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: ASYNC221

    async def at_once() -> bool:
        return True

    def server(name: str, *arguments: str, waits: Any = at_once, program: str = "") -> Server:
        return Server(name, [program or str(PROGRAMS / name), *arguments], folder, waits)

    async with AsyncExitStack() as stack:
        for one in (
            server("etcd", *_etcd(folder, etcd, peer), program="etcd"),
            server("kube-apiserver", *_api(folder, etcd, api), waits=answers),
            server("kube-controller-manager", *_controllers(folder, controllers)),
            server(
                "kube-scheduler",
                ready,
                "--bind-address=127.0.0.1",
                f"--secure-port={scheduler}",
                "--leader-elect=false",
            ),
            server(
                "kwok",
                ready,
                f"--config={_stages(folder)}",
                "--manage-all-nodes=true",
                "--node-lease-duration-seconds=40",  # or nodes are taken to be away after that,
                f"--server-address=127.0.0.1:{kwok}",
            ),
        ):
            await stack.enter_async_context(running(one))
        cluster.apply(*map(_node, range(NODES)), *map(_disk, range(NODES)))
        for path in sorted(CRDS.glob("*.yaml")):
            cluster.kubectl("apply", "--server-side", "-f", str(path))
        async with asyncio.timeout(60):
            while not _established(cluster):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        yield cluster


def _established(cluster: Cluster) -> bool:
    """Whether custom resources can be made. (`kubectl wait` fails on one that has no conditions yet.)"""
    found = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    return all(
        any(
            one["type"] == "Established" and one["status"] == "True"
            for one in crd.get("status", {}).get("conditions") or []
        )
        for crd in found
    )


def _write_credentials(folder: Path, port: int) -> None:
    key = folder / "accounts.key"
    run_once(["openssl", "genrsa", "-out", str(key), "2048"])
    run_once(["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(folder / "accounts.pub")])
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    place = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": place}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "current-context": "here",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))


def _etcd(folder: Path, port: int, peer: int) -> list[str]:
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    return [
        *("--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", clients, "--advertise-client-urls", clients),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"),
    ]


def _api(folder: Path, etcd: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        *("--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder / 'certificates'}"),
        *("--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none"),
        *("--authorization-mode=RBAC", f"--token-auth-file={folder / 'tokens.csv'}"),
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.pub'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
    ]


def _controllers(folder: Path, port: int) -> list[str]:
    return [
        f"--kubeconfig={folder / 'kubeconfig'}",
        f"--service-account-private-key-file={folder / 'accounts.key'}",
        *("--use-service-account-credentials=true", "--leader-elect=false"),
        *("--bind-address=127.0.0.1", f"--secure-port={port}"),
    ]


def _stages(folder: Path) -> Path:
    """Write what made-up nodes and pods go through, as kwok's own module has it."""
    module = (PROGRAMS / "kwok-stages").read_text().strip()
    path = folder / "stages.yaml"
    texts = [
        subprocess.run(
            [KUSTOMIZE, "build", f"{module}/kustomize/stage/{stage}"], capture_output=True, text=True, check=True
        )
        for stage in STAGES
    ]
    path.write_text("\n---\n".join(text.stdout for text in texts))
    return path


def _node(number: int) -> dict[str, Any]:
    name = f"node-{number}"
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": f"zone-{number}",
        "kubernetes.io/os": "linux",
    }
    size = {"cpu": "16", "memory": "64Gi", "pods": "110"}
    status = {"allocatable": size, "capacity": size}
    about = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": about, "status": status}


def _disk(number: int) -> dict[str, Any]:
    spec = {
        "capacity": {"storage": "100Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/disks/{number}"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"disk-{number}"}, "spec": spec}
