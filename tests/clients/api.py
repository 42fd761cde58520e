"""The API as its descriptors tell it: every RPC with its messages and its way over REST."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from algotrade.platform.gateway.api import services
from algotrade.platform.policy import Access, Scope, rule_of, scope_of

_VARIABLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Rpc:
    """A method of the API."""

    method: MethodDescriptor

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def service(self) -> str:
        return self.method.containing_service.name

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.name}"

    @property
    def streaming(self) -> bool:
        return bool(self.method.server_streaming)

    @property
    def access(self) -> Access:
        return rule_of(self.method)[0]

    @property
    def scope(self) -> Scope:
        return scope_of(self.method)

    @cached_property
    def request(self) -> type[Message]:
        return message_factory.GetMessageClass(self.method.input_type)

    @cached_property
    def reply(self) -> type[Message]:
        return message_factory.GetMessageClass(self.method.output_type)

    @property
    def http(self) -> tuple[str, str]:
        """The verb and the path's template."""
        rule = self.method.GetOptions().Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern")
        return verb.upper(), getattr(rule, verb)

    @cached_property
    def path_fields(self) -> list[str]:
        """The fields that are in the path."""
        return _VARIABLE.findall(self.http[1])

    def rest(self, request: Message) -> tuple[str, str, Any, list[tuple[str, str]]]:
        """Write a request as verb, path, body and query parameters."""
        verb, template = self.http
        rule = self.method.GetOptions().Extensions[annotations_pb2.http]
        fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
        path = _VARIABLE.sub(lambda found: quote(str(fields.pop(found[1], "")), safe=""), template)
        if rule.body == "*":
            return verb, path, fields, []
        return verb, path, None, list(_parameters(fields))

    def matches(self, verb: str, path: str) -> bool:
        """Tell whether a REST call is one of this method."""
        own_verb, template = self.http
        pattern = _VARIABLE.sub("[^/:]+", re.sub(r"[.*+?]", r"\\\g<0>", template))
        return verb == own_verb and re.fullmatch(pattern, path) is not None

    def has(self, field: str) -> bool:
        return field in self.method.input_type.fields_by_name


def _parameters(fields: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in fields.items():
        if isinstance(value, dict):
            found += _parameters(value, f"{prefix}{name}.")
        else:
            values = value if isinstance(value, list) else [value]
            found += [(prefix + name, str(one).lower() if isinstance(one, bool) else str(one)) for one in values]
    return found


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


EVERY = [Rpc(method) for service in services() for method in service.methods]
INTERNAL = [rpc for rpc in EVERY if rpc.access is Access.SERVICE]  # which the gateway has no way to
RPCS = [rpc for rpc in EVERY if rpc not in INTERNAL]
BY_NAME = {str(rpc): rpc for rpc in RPCS}
LISTS = [rpc for rpc in RPCS if rpc.has("page_token")]
STREAMS = [rpc for rpc in RPCS if rpc.streaming]
ONCE = [rpc for rpc in RPCS if rpc.has("request_id")]
