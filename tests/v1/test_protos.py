"""The conventions of the API that buf cannot check, and the bounds that the protos share with the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

import algotrade
from algotrade.engine.limits import MAX_DOCUMENT_BYTES
from algotrade.market_data.build import SYMBOL
from algotrade.platform import errors, limits
from algotrade.platform.gateway import api
from algotrade.v1 import backtest_service_pb2, market_data_service_pb2, strategy_service_pb2, types_pb2
from algotrade.v1.error_reason_pb2 import ErrorReason
from buf.validate import validate_pb2

METHODS = [method for service in api.services() for method in service.methods]
SOURCES = Path(algotrade.__file__).parent
ERRORS = {kind.__name__ for kind in errors.CODES}
# Lists that are a page at the most: the program's own, and logins, of which a user has as many as devices.
WHOLE = {"ListNodeTypes", "ListTemplates", "ListLogins"}


def rules(message: Descriptor, field: str) -> validate_pb2.FieldRules:
    return message.fields_by_name[field].GetOptions().Extensions[validate_pb2.field]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_method_has_messages_of_its_own(method):
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"
    assert not method.client_streaming  # browsers cannot


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method.name.startswith(("Create", "Start"))], ids=lambda m: m.name
)
def test_what_creates_or_starts_can_be_repeated(method):
    rule = rules(method.input_type, "request_id")
    assert rule.string.uuid


@pytest.mark.parametrize(
    "method",
    [method for method in METHODS if method.name.startswith("List") and method.name not in WHOLE],
    ids=lambda method: method.name,
)
def test_lists_come_in_pages(method):
    assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
    assert "next_page_token" in method.output_type.fields_by_name


@pytest.mark.parametrize("method", [m for m in METHODS if m.server_streaming], ids=lambda method: method.name)
def test_streams_resume_and_are_never_silent(method):
    cursors = {"StreamBars": ("after_time", "cursor"), "StreamUpdates": ("cursor", "cursor")}
    given, told = cursors.get(method.name, ("after_sequence", "sequence"))
    assert method.input_type.fields_by_name[given].has_presence
    assert told in method.output_type.fields_by_name
    assert "heartbeat" in {field.name for field in method.output_type.oneofs_by_name["payload"].fields}


def test_no_amount_is_a_float():
    """Sizes of ticks are a venue's statistics, bounds hints for forms, ports indicators; all else is exact."""
    floats = {
        field.full_name
        for method in METHODS
        for message in _messages(method.output_type) | _messages(method.input_type)
        if message.file.package == api.PACKAGE
        for field in message.fields
        if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
    }
    assert floats == {
        "algotrade.v1.Tick.size",
        "algotrade.v1.TickBatch.sizes",
        "algotrade.v1.Bar.volume",
        "algotrade.v1.PortValue.number",
        "algotrade.v1.BarColumns.volumes",
        "algotrade.v1.BarDeltas.volumes",
        "algotrade.v1.ChartPoint.volume",
        "algotrade.v1.NodeParameter.min",
        "algotrade.v1.NodeParameter.max",
    }


def _messages(message: Descriptor) -> set[Descriptor]:
    found, waiting = set(), [message]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [field.message_type for field in one.fields if field.message_type]
    return found


def test_bounds_are_those_of_the_code():
    for request in (strategy_service_pb2.CreateStrategyRequest, strategy_service_pb2.ValidateStrategyRequest):
        assert rules(request.DESCRIPTOR, "graph").string.max_bytes == MAX_DOCUMENT_BYTES
    assert limits.MAX_REQUEST_BYTES > MAX_DOCUMENT_BYTES
    assert rules(backtest_service_pb2.StartBacktestRequest.DESCRIPTOR, "graph").string.max_bytes == MAX_DOCUMENT_BYTES
    columns = types_pb2.BarColumns.DESCRIPTOR
    for column in columns.fields:
        assert rules(columns, column.name).repeated.max_items == limits.MAX_UPLOADED_BARS
    deltas = types_pb2.BarDeltas.DESCRIPTOR
    for column in deltas.fields[3:]:
        fewer = 1 if column.name == "time_steps" else 0
        assert rules(deltas, column.name).repeated.max_items == limits.MAX_UPLOADED_DELTAS - fewer
    for request in (market_data_service_pb2.StreamTicksRequest, market_data_service_pb2.SubscribeRequest):
        assert rules(request.DESCRIPTOR, "symbol").string.pattern == f"^{SYMBOL.pattern}$"
    ticks = rules(market_data_service_pb2.ConfigureWindowRequest.DESCRIPTOR, "ticks").int32
    assert ticks.lte == limits.MAX_TICKS_A_WINDOW


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES.rglob("*.py") if "v1" not in path.parts],
    ids=lambda path: str(path.relative_to(SOURCES)),
)
def test_every_reason_in_the_code_is_in_the_api(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ERRORS:
                assert f"ERROR_REASON_{node.args[0].value}" in ErrorReason.keys(), f"line {node.lineno}"  # noqa: SIM118
