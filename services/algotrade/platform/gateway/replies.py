"""What Envoy answers by itself, without a service, said in the words of each protocol.

Left alone, Envoy answers gRPC-Web with an HTTP status that browsers read wrongly, REST with plain text, and native gRPC
with codes that mislead (413 becomes UNKNOWN, 504 becomes UNAVAILABLE).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from algotrade.platform.errors import DOMAIN


@dataclass(frozen=True, slots=True)
class _Cause:
    http_status: int  # as Envoy would say it
    code: grpc.StatusCode
    reason: str  # a name of ErrorReason
    message: str
    details_contain: str = ""  # tells apart causes of one HTTP status; the empty one comes last
    rest_status: int = 0  # what REST is told, where it is not http_status


CAUSES: Final = (
    _Cause(400, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "the request is malformed"),
    _Cause(401, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "this call needs a bearer token", "Jwt_is_missing"),
    _Cause(401, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "the token has expired", "Jwt_is_expired"),
    # Its keys are not here: nothing is known of the token, and a client must not give it up.
    _Cause(
        401,
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "no service answers; try again",
        "Jwks_remote_fetch_is_failed",
        rest_status=503,
    ),
    _Cause(401, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not valid"),
    # 403 is a token for another audience.
    _Cause(403, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not valid", rest_status=401),
    _Cause(404, grpc.StatusCode.UNIMPLEMENTED, "PATH_UNKNOWN", "nothing answers under this path"),
    _Cause(408, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the request took too long to arrive"),
    _Cause(413, grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "the message is too large"),
    _Cause(
        429, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many calls; retry-after says when to try again"
    ),
    _Cause(431, grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "the headers are too large"),
    _Cause(500, grpc.StatusCode.INTERNAL, "INTERNAL", "a fault of the gateway"),
    _Cause(
        502, grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "no service answers; try again", rest_status=503
    ),
    _Cause(503, grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "no service answers; try again"),
    _Cause(504, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the call took too long"),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One mapper of Envoy's local_reply_config: when it fits, and what is said then."""

    http_status: int
    details_contain: str
    protocol: str  # web, json or grpc
    header: str  # the request header that tells the protocol
    match: str  # how
    code: int  # canonical code
    reason: str
    message: str
    answer_status: int  # HTTP status of a JSON answer
    details: str  # grpc-status-details-bin


# In this order: what began as gRPC-Web or REST looks like gRPC once it has been translated.
_PROTOCOLS: Final = (
    ("web", "x-grpc-web", "present_match: true"),
    ("json", "x-envoy-original-path", "present_match: true"),
    ("grpc", "content-type", "string_match: { prefix: application/grpc }"),
    ("json", ":path", "present_match: true"),
)


def replies() -> Iterator[Reply]:
    """Yield the mappers in the order in which Envoy must try them."""
    for protocol, header, match in _PROTOCOLS:
        for cause in CAUSES:
            number: int = cause.code.value[0]
            if protocol == "json" and cause.http_status == 404:
                number = grpc.StatusCode.NOT_FOUND.value[0]
            yield Reply(
                http_status=cause.http_status,
                details_contain=cause.details_contain,
                protocol=protocol,
                header=header,
                match=match,
                code=number,
                reason=cause.reason,
                # REST's 400 is the translator's, which says what is wrong with the request.
                message="%LOCAL_REPLY_BODY%" if protocol == "json" and cause.http_status == 400 else cause.message,
                answer_status=cause.rest_status or cause.http_status,
                details=_details(number, cause.reason, cause.message),
            )


# What Envoy knows only when it answers: a RetryInfo is put behind the other details of a status, which in protobuf is
# to append it.
_RETRY_INFO: Final = """
local function field(number, bytes)
  return string.char(number * 8 + 2, #bytes) .. bytes
end
local function varint(value)
  local bytes = ""
  while value >= 128 do
    bytes = bytes .. string.char(value % 128 + 128)
    value = math.floor(value / 128)
  end
  return bytes .. string.char(value)
end
function envoy_on_response(handle)
  local headers = handle:headers()
  local seconds = headers:get("retry-after")
  if seconds == nil and headers:get("x-envoy-ratelimited") ~= nil then  -- other limits have words of their own
    seconds = headers:get("x-ratelimit-reset")  -- of a count of all gateways
    if seconds ~= nil then
      headers:add("retry-after", seconds)
    end
  end
  if seconds == nil or headers:get("grpc-status") ~= "8" then
    return
  end
  seconds = tonumber(seconds)
  local info = field(1, "\\8" .. varint(seconds))
  local any = field(1, "type.googleapis.com/google.rpc.RetryInfo") .. field(2, info)
  headers:replace("grpc-status-details-bin", handle:base64Escape("STATUS" .. field(3, any)))
end
"""


def retry_info() -> str:
    """Return the program in Lua by which an answer to too many calls says when to come back."""
    limited = next(reply for reply in replies() if reply.http_status == 429 and reply.protocol == "grpc")
    status = base64.b64decode(limited.details + "=" * (-len(limited.details) % 4))
    return _RETRY_INFO.replace("STATUS", "".join(f"\\{byte:03d}" for byte in status))


def _details(code: int, reason: str, message: str) -> str:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    status = status_pb2.Status(code=code, message=message, details=[packed])
    return base64.b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")
