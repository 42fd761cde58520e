"""What breaks the field rules of a request, made from the rules themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from clients.api import Rpc, is_map

Break = Callable[[Any], None]  # changes the message that has the field
_UNPRINTABLE: Final = "a\x00b"


@dataclass(frozen=True)
class Violation:
    """A way to break a request, and the path of the field that has to be named."""

    rpc: Rpc
    rule: str
    path: str
    apply: Break

    def __str__(self) -> str:
        return f"{self.rpc}-{self.path}-{self.rule}"


def violations(rpc: Rpc) -> Iterator[Violation]:
    """Return every violation of a request that can be made of its rules. Raises KeyError for a rule not known here."""
    for rule, path, apply in _of_message(rpc.method.input_type, "", lambda request: request):
        yield Violation(rpc, rule, path, apply)


Found = tuple[str, str, Break]


def _of_message(message: Descriptor, prefix: str, reach: Callable[[Any], Any]) -> Iterator[Found]:
    for rule in message.GetOptions().Extensions[validate_pb2.message].cel:
        yield rule.id, prefix.rstrip("."), lambda request, fields=MESSAGE_CEL[rule.id]: _replace(reach(request), fields)
    for oneof in message.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield "required", prefix + oneof.name, _clearing(reach, oneof.name, [one.name for one in oneof.fields])
    for field in message.fields:
        rules: Any = field.GetOptions().Extensions[validate_pb2.field]
        path = prefix + field.name
        yield from ((rule, path, _setting(reach, field, value)) for rule, value in _values(rules))
        if rules.required:
            yield "required", path, _clearing(reach, field.name, [field.name])
        if is_map(field):
            yield from _of_map(rules.map, path, reach, field)
        elif field.is_repeated:
            yield from _of_repeated(rules.repeated, path, reach, field)
        elif field.message_type and field.message_type.file.package == message.file.package:
            yield from _of_message(field.message_type, f"{path}.", lambda owner, f=field: getattr(reach(owner), f.name))


def _values(rules: Any) -> Iterator[tuple[str, Any]]:
    """Return a bad value for each rule of a single field."""
    for kind, _ in rules.ListFields():
        if kind.name == "cel":
            for rule in rules.cel:
                yield rule.id, CEL[rule.id]
        elif kind.name in SINGLE:
            constraints = getattr(rules, kind.name)
            for rule, bound in constraints.ListFields():
                if rule.name in SINGLE[kind.name]:
                    yield rule.name, SINGLE[kind.name][rule.name](bound)
                else:
                    raise KeyError(f"{kind.name}.{rule.name}")
        elif kind.name not in {"ignore", "required", "map", "repeated"}:
            raise KeyError(kind.name)


def _of_map(rules: Any, path: str, reach: Callable[[Any], Any], field: FieldDescriptor) -> Iterator[Found]:
    good = ("name", "1")
    if rules.max_pairs:
        too_many = {f"{good[0]}{number}": good[1] for number in range(rules.max_pairs + 1)}
        yield "max_pairs", path, _filling(reach, field, too_many)
    for rule, bad in _values(rules.keys):
        yield f"keys.{rule}", f"{path}[{bad}]", _filling(reach, field, {bad: good[1]})
    for rule, bad in _values(rules.values):
        yield f"values.{rule}", f"{path}[{good[0]}]", _filling(reach, field, {good[0]: bad})


def _of_repeated(rules: Any, path: str, reach: Callable[[Any], Any], field: FieldDescriptor) -> Iterator[Found]:
    if rules.min_items:
        yield "min_items", path, _listing(reach, field, rules.min_items - 1)
    item = "a" if field.type == FieldDescriptor.TYPE_STRING else 1
    if rules.max_items:
        yield "max_items", path, _listing(reach, field, rules.max_items + 1, item)
    if rules.unique:
        yield "unique", path, _listing(reach, field, 2, item)
    for rule, bad in _values(rules.items):
        yield f"items.{rule}", f"{path}[0]", _listing(reach, field, 1, bad)


def _replace(message: Any, fields: Mapping[str, Any]) -> None:
    """Leave of a message the fields that are named, with these values, and its ids."""
    kept = {field.name: value for field, value in message.ListFields() if field.name.endswith("_id")}
    message.Clear()
    message.MergeFrom(type(message)(**kept | fields))


def _setting(reach: Callable[[Any], Any], field: FieldDescriptor, value: Any) -> Break:
    def apply(request: Any) -> None:
        owner = reach(request)
        if isinstance(value, Message):
            getattr(owner, field.name).CopyFrom(value)
        elif isinstance(value, dict):
            owner.MergeFrom(type(owner)(**{field.name: value}))
        else:
            setattr(owner, field.name, value)

    return apply


def _filling(reach: Callable[[Any], Any], field: FieldDescriptor, value: Mapping[Any, Any]) -> Break:
    return lambda request: getattr(reach(request), field.name).update(value)


def _listing(reach: Callable[[Any], Any], field: FieldDescriptor, count: int, item: Any = 1) -> Break:
    def apply(request: Any) -> None:
        items = getattr(reach(request), field.name)
        del items[:]
        items.extend([item] * count)
        reach(request).SetInParent()

    return apply


def _clearing(reach: Callable[[Any], Any], _name: str, fields: list[str]) -> Break:
    def apply(request: Any) -> None:
        for name in fields:
            reach(request).ClearField(name)

    return apply


_NUMBER: Final[Mapping[str, Callable[[Any], Any]]] = {
    "gte": lambda bound: bound - 1,
    "lte": lambda bound: bound + 1,
    "gt": lambda bound: bound,
    "lt": lambda bound: bound,
}
SINGLE: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    "string": {
        "uuid": lambda _: "no-uuid",
        "email": lambda _: "nobody",
        "pattern": lambda _: _UNPRINTABLE,
        "in": lambda choices: f"not {choices[0]}",
        "min_len": lambda least: "a" * (least - 1),
        "max_len": lambda most: "a" * (most + 1),
        "max_bytes": lambda most: "a" * (most + 1),
    },
    "int32": _NUMBER,
    "int64": _NUMBER,
    "enum": {"defined_only": lambda _: 99, "not_in": lambda values: values[0]},
    "timestamp": {"gt_now": lambda _: {"seconds": 1}},
    "field_mask": {"in": lambda _: {"paths": ["nothing"]}},
}
# Rules in words of their own need values in ours.
MESSAGE_CEL: Final[Mapping[str, Mapping[str, Any]]] = {
    "mark_read.something": {},
    "rule_choice.one_pace": {"throttle_seconds": 60, "digest_seconds": 60},
    "stream_updates.something": {},
    "channel.not_empty": {"update_mask": {"paths": ["name"]}},
    "rule.channel": {"update_mask": {"paths": ["channel_id"]}, "channel_id": ""},
}
CEL: Final[Mapping[str, Any]] = {"update_mask.paths": {"paths": ["strategy_id"]}}
