"""The tree of errors and the table of codes fit each other and the API."""

from __future__ import annotations

import ast
import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

import algotrade
from algotrade.platform.database import is_away
from algotrade.platform.errors import (
    CODES,
    InvalidArgument,
    OutOfRange,
    ResourceExhausted,
    ServiceError,
    code,
    status,
)
from algotrade.platform.limits import MIB
from algotrade.platform.quotas import check_room
from algotrade.v1.error_reason_pb2 import ErrorReason


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = set(ServiceError.__subclasses__()) | set(InvalidArgument.__subclasses__())
    assert kinds == CODES.keys()
    assert len(set(CODES.values())) == len(CODES)


def test_the_nearest_class_decides() -> None:
    class Narrower(OutOfRange):
        """An error of a service's own."""

    assert code(Narrower("CURSOR_EXPIRED", "gone")) is grpc.StatusCode.OUT_OF_RANGE
    assert code(InvalidArgument("FIELD_INVALID", "no")) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["é" * 5_000, "\x00" * 5_000, "a" * 5_000])
def test_an_error_fits_into_the_headers_that_every_client_takes(text: str) -> None:
    """Beyond 8 KiB gRPC refuses headers now and then, and the caller sees no reason at all."""
    told = status(InvalidArgument("FIELD_INVALID", text, violations=[(text, text)] * 500, fact=text), "c" * 128)
    [(_, details)] = told.trailing_metadata
    headers = len(quote(told.details)) + len(base64.b64encode(details)) + len("grpc-message grpc-status-details-bin")
    assert headers < 7 * 1024


def test_a_limit_that_is_reached_is_named_and_whether_waiting_helps() -> None:
    def details(retry_seconds: float) -> list[Any]:
        with pytest.raises(ResourceExhausted) as caught:
            check_room("backtest_bytes", MIB + 1, MIB, retry_seconds=retry_seconds)
        [(_, written)] = status(caught.value).trailing_metadata
        return list(status_pb2.Status.FromString(written).details)

    check_room("backtest_bytes", MIB, MIB)
    _, packed = details(0)
    full = error_details_pb2.QuotaFailure()
    assert packed.Unpack(full)
    sentence = "an account keeps at most 1 MiB of backtest data"
    assert [(one.subject, one.description) for one in full.violations] == [("backtest_bytes", sentence)]
    packed = details(2.5)
    retry = error_details_pb2.RetryInfo()
    assert packed[1].Unpack(retry)
    assert retry.retry_delay.seconds == 3


def test_every_reason_in_the_code_is_one_of_the_api() -> None:
    known = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}
    kinds = {kind.__name__ for kind in CODES}
    used = set()
    for path in Path(algotrade.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in kinds:
                    used.add(node.args[0].value)
    assert len(used) >= 10
    assert used <= known, used - known


class DriverError(Exception):
    """What the driver raises, with its SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (OperationalError("", {}, Exception()), True),
        (InterfaceError("", {}, Exception()), True),
        (ConnectionRefusedError(), True),
        (OSError(113, "no route"), True),
        (DBAPIError("", {}, DriverError("57P01")), True),
        (DBAPIError("", {}, DriverError("55P03")), True),
        (DBAPIError("", {}, DriverError("40P01")), True),
        (DBAPIError("", {}, Exception(), connection_invalidated=True), True),
        (DBAPIError("", {}, DriverError("42601")), False),
        (IntegrityError("", {}, DriverError("23505")), False),
        (FileNotFoundError(), False),
        (ValueError(), False),
    ],
)
def test_only_what_may_heal_counts_as_away(error: Exception, away: bool) -> None:
    assert is_away(error) == away
