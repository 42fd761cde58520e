"""The API as its stubs describe it: services, methods, and the descriptor set that REST is translated with."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2

from algotrade import v1
from algotrade.platform.policy import Access, Tier, is_read_only, rules

PACKAGE: Final = "algotrade.v1"


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the gateway sees it. What only reads may be tried again."""

    path: str  # /package.Service/Method
    service: str  # package.Service
    streaming: bool
    read_only: bool
    public: bool
    tier: Tier  # how often one caller may call it


def services() -> tuple[ServiceDescriptor, ...]:
    """Return every service of the API, by name."""
    found = [service for file in _files() for service in file.services_by_name.values()]
    return tuple(sorted(found, key=lambda service: service.full_name))


def methods() -> tuple[Method, ...]:
    """Return every method that clients may call, by path: not those that are for services alone."""
    declared = rules(services())
    return tuple(
        Method(
            path=path,
            service=service.full_name,
            streaming=method.server_streaming,
            read_only=is_read_only(method),
            public=declared[path][0] is Access.PUBLIC,
            tier=declared[path][1],
        )
        for service in services()
        for method in service.methods
        if declared[path := f"/{service.full_name}/{method.name}"][0] is not Access.SERVICE
    )


def descriptor_set() -> bytes:
    """Return a serialized FileDescriptorSet of the API, all it imports, and the details that errors carry."""
    files: dict[str, FileDescriptor] = {}
    _collect([*_files(), error_details_pb2.DESCRIPTOR], files)
    protos = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(protos.file.add())
    return protos.SerializeToString(deterministic=True)


def _files() -> list[FileDescriptor]:
    names = sorted(module.name for module in pkgutil.iter_modules(v1.__path__) if module.name.endswith("_service_pb2"))
    return [importlib.import_module(f"{v1.__name__}.{name}").DESCRIPTOR for name in names]


def _collect(files: Iterable[FileDescriptor], into: dict[str, FileDescriptor]) -> None:
    """Put what a file imports before the file, as protoc does."""
    for file in files:
        if file.name not in into:
            _collect(file.dependencies, into)
            into[file.name] = file
