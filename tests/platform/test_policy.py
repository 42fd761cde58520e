"""Every RPC declares its access and its tier, or neither the generator nor a server takes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import algotrade.v1
from algotrade.platform.policy import Access, PolicyError, Tier, needs, rules
from algotrade.v1 import access_pb2


def services() -> list[ServiceDescriptor]:
    found: list[ServiceDescriptor] = []
    for path in Path(algotrade.v1.__path__[0]).glob("*_service_pb2.py"):
        module: Any = import_module(f"algotrade.v1.{path.stem}")
        found.extend(module.DESCRIPTOR.services_by_name.values())
    return found


def test_only_these_are_public() -> None:
    public = {method for method, need in needs(services()).items() if need.access is Access.PUBLIC}
    assert public == {
        "/algotrade.v1.IdentityService/Register",
        "/algotrade.v1.IdentityService/Login",
        "/algotrade.v1.IdentityService/RefreshToken",
        "/algotrade.v1.IdentityService/ExchangeApiKey",
        "/algotrade.v1.HealthService/GetDetailedHealth",
    }


def method(name: str, **declared: int) -> MethodDescriptor:
    """Make a service of one method with these options."""
    proto = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    proto.message_type.add(name="Nothing")
    nothing = f".{name}.Nothing"
    made = proto.service.add(name="Service").method.add(name="Call", input_type=nothing, output_type=nothing)
    made.server_streaming = name.startswith("stream")
    for option, value in declared.items():
        made.options.Extensions[getattr(access_pb2, option)] = value
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(descriptor_pb2.DESCRIPTOR.serialized_pb))
    pool.AddSerializedFile(access_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(proto)
    found: MethodDescriptor = pool.FindServiceByName(f"{name}.Service").methods[0]
    return found


@pytest.mark.parametrize(
    ("name", "declared", "what"),
    [
        ("nothing", {}, "no access declared; write .*option .access.*PUBLIC.*PASSWORD"),
        ("untiered", {"access": access_pb2.ACCESS_USER}, "no tier declared"),
        ("unset", {"access": access_pb2.ACCESS_UNSPECIFIED, "tier": access_pb2.TIER_READ}, "no access declared"),
        ("uncounted", {"access": access_pb2.ACCESS_PUBLIC, "tier": access_pb2.TIER_READ}, "no token to count by"),
        ("unary", {"access": access_pb2.ACCESS_USER, "tier": access_pb2.TIER_STREAM}, "a stream has the tier STREAM"),
        ("streaming", {"access": access_pb2.ACCESS_USER, "tier": access_pb2.TIER_READ}, "a stream has the tier STREAM"),
    ],
)
def test_a_method_without_a_whole_and_fitting_policy_stops_the_start(
    name: str, declared: dict[str, int], what: str
) -> None:
    with pytest.raises(PolicyError, match=what):
        needs([method(name, **declared).containing_service])


def test_each_kind_stands_for_one_of_the_protos() -> None:
    for kind, enum in ((Access, access_pb2.Access), (Tier, access_pb2.Tier)):
        assert {name.partition("_")[2] for name in dict(enum.items())} - {"UNSPECIFIED"} == set(kind.__members__)


def test_the_generator_refuses_an_rpc_that_declares_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.copytree(root / "protos", tmp_path / "protos")
    proto = tmp_path / "protos/algotrade/v1/health_service.proto"
    proto.write_text(proto.read_text().replace("option (access) = ACCESS_PUBLIC;", ""))
    command = [sys.executable, tmp_path / "protos/generate.py", "--check"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode != 0
    assert "algotrade.v1.HealthService.GetDetailedHealth" in found.stderr


def test_what_takes_a_password_is_counted_as_such() -> None:
    for service in services():
        for method in service.methods:
            takes = any("password" in field.name for field in method.input_type.fields)
            _, tier = rules([service])[f"/{service.full_name}/{method.name}"]
            assert takes == (tier is Tier.PASSWORD), method.full_name
