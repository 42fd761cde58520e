"""The errors a caller can meet, and what they become on the wire.

    ServiceError
    ├── InvalidArgument      the request is wrong whatever the state; names the fields
    │   └── OutOfRange       … past what exists, such as a cursor older than the log
    ├── Unauthenticated      no token, or not a good one
    ├── PermissionDenied     a good token that may not do this
    ├── NotFound             no such thing, or it is not yours
    ├── AlreadyExists        the name or request_id is taken by something else
    ├── FailedPrecondition   the state forbids it; do something else first
    ├── Aborted              lost a race; read again and retry
    ├── ResourceExhausted    a limit was reached
    ├── DeadlineExceeded     it took too long
    ├── Unavailable          a dependency is away; safe to retry
    └── Internal             a fault of ours; the details are in the log only

Every status carries a google.rpc.ErrorInfo, whose reason is a name of ErrorReason, a RequestInfo with the call's
correlation id, and a BadRequest where fields are at fault, a QuotaFailure where a limit is reached, a RetryInfo where
trying again may help. Texts help people and are never parsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from algotrade.platform import limits

DOMAIN: Final = "algotrade"
NO_RETRY: Final = ("grpc-retry-pushback-ms", "-1")  # what a server says to a channel that would call again


class ServiceError(Exception):
    """An error meant for the caller: a reason (a name of ErrorReason), a sentence, and facts about it."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Sequence[tuple[str, str]] = (),
        retry_seconds: float = 0,
        tried: bool = False,
        **metadata: object,
    ) -> None:
        """Take field violations as (path, sentence) pairs, and after how long trying again may help, where it may.

        ``tried``: it was tried again already, so that channels are not to repeat the call by themselves. Metadata goes
        into ErrorInfo as text.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_seconds = retry_seconds
        self.tried = tried
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state."""


class OutOfRange(InvalidArgument):
    """The request points past what exists."""


class Unauthenticated(ServiceError):
    """There is no token, or not a good one."""


class PermissionDenied(ServiceError):
    """The token is good and may not do this."""


class NotFound(ServiceError):
    """There is no such thing, or it belongs to someone else."""


class AlreadyExists(ServiceError):
    """The name or request_id is taken by something else."""


class FailedPrecondition(ServiceError):
    """The state forbids it."""


class Aborted(ServiceError):
    """A race was lost."""


class ResourceExhausted(ServiceError):
    """A limit was reached."""


class DeadlineExceeded(ServiceError):
    """It took too long."""


class Unavailable(ServiceError):
    """A dependency is away."""


class Internal(ServiceError):
    """A fault of ours."""


CODES: Final[Mapping[type[ServiceError], grpc.StatusCode]] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Aborted: grpc.StatusCode.ABORTED,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Internal: grpc.StatusCode.INTERNAL,
}


def code(error: ServiceError) -> grpc.StatusCode:
    """Return the canonical code of an error: that of the nearest class in the table."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def status(error: ServiceError, correlation_id: str = "") -> grpc.Status:
    """Write an error as a grpc.Status with its details, and the id under which the log has the call.

    A status travels in headers, which are bounded: what does not fit would be an error without a reason. So texts are
    cut, and of many violations the first are told.
    """
    metadata = {key: _cut(value, limits.MAX_ERROR_FACT_BYTES) for key, value in error.metadata.items()}
    packed = [_pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    if correlation_id:
        packed.append(_pack(error_details_pb2.RequestInfo(request_id=correlation_id)))
    if error.violations:
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=_fitting(error.violations))))
    if error.retry_seconds:
        delay = duration_pb2.Duration(seconds=math.ceil(error.retry_seconds))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if isinstance(error, ResourceExhausted) and "limit" in error.metadata:
        full = error_details_pb2.QuotaFailure.Violation(
            subject=metadata["limit"], description=_cut(error.message, limits.MAX_ERROR_FACT_BYTES)
        )
        packed.append(_pack(error_details_pb2.QuotaFailure(violations=[full])))
    number: int = code(error).value[0]
    message = _cut(error.message, limits.MAX_ERROR_MESSAGE_BYTES)
    written: Any = rpc_status.to_status(status_pb2.Status(code=number, message=message, details=packed))
    if error.tried:
        written = written._replace(trailing_metadata=(*written.trailing_metadata, NO_RETRY))
    status: grpc.Status = written
    return status


def _fitting(violations: Sequence[tuple[str, str]]) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """Write the first violations, as many as there is room for."""
    fitting, room = [], limits.MAX_ERROR_FACTS_BYTES
    for path, sentence in violations[: limits.MAX_VIOLATIONS]:
        written = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(path, limits.MAX_ERROR_FACT_BYTES), description=_cut(sentence, limits.MAX_ERROR_FACT_BYTES)
        )
        room -= written.ByteSize()
        if room < 0:
            break
        fitting.append(written)
    return fitting


def _cut(text: str, most: int) -> str:
    """Return a text of at most so many bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= most else encoded[: most - len("…".encode())].decode(errors="ignore") + "…"


def info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Read the ErrorInfo of a failed call; an empty one if the peer sent none."""
    found = error_details_pb2.ErrorInfo()
    _unpack(error, found)
    return found


def violations(error: grpc.RpcError) -> dict[str, str]:
    """Read the field violations of a failed call: path -> sentence."""
    found = error_details_pb2.BadRequest()
    _unpack(error, found)
    return {violation.field: violation.description for violation in found.field_violations}


def request_id(error: grpc.RpcError) -> str:
    """Read the correlation id of a failed call; "" if the peer sent none."""
    found = error_details_pb2.RequestInfo()
    _unpack(error, found)
    return str(found.request_id)


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _unpack(error: grpc.RpcError, into: Message) -> None:
    trailing: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailing or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(into.DESCRIPTOR):
                    detail.Unpack(into)
