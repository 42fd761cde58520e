"""AdminService on the wire: messages in, messages out."""

from __future__ import annotations

from typing import Any, Final

from grpc.aio import ServicerContext

from algotrade.identity.administer import Administrator
from algotrade.identity.servicer import timestamp, user_message
from algotrade.identity.store import Account
from algotrade.platform import paging
from algotrade.platform.audit import Entry
from algotrade.platform.caller import principal
from algotrade.v1 import admin_service_pb2 as pb
from algotrade.v1 import admin_service_pb2_grpc as pb_grpc

Context = ServicerContext[Any, Any]

LIST_USERS: Final = "ListUsers"
LIST_AUDIT_EVENTS: Final = "ListAuditEvents"
USERS_PAGE: Final = (50, 500)  # by default, at most
EVENTS_PAGE: Final = (100, 1000)


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Translates between messages and who decides."""

    def __init__(self, administrator: Administrator) -> None:
        """Take who decides."""
        self._administrator = administrator

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """Return a page of accounts."""
        size = paging.page_size(request.page_size, *USERS_PAGE)
        call = f"{LIST_USERS} {request.email_prefix}"
        keys = paging.read_token(call, request.page_token, 1)
        after = "" if keys is None else keys[0]
        if not isinstance(after, str):
            raise paging.bad_token()
        found = await self._administrator.users(principal().user_id, request.email_prefix, after, size + 1)
        token = paging.write_token(call, found[size - 1].email) if len(found) > size else ""
        return pb.ListUsersResponse(users=[_account(one) for one in found[:size]], next_page_token=token)

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """Return an account."""
        found = await self._administrator.user(principal().user_id, request.user_id)
        return pb.GetUserResponse(user=_account(found))

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        """Let nobody in as a user."""
        found = await self._administrator.disable(principal().user_id, request.user_id, request.reason)
        return pb.DisableUserResponse(user=_account(found))

    async def EnableUser(self, request: pb.EnableUserRequest, context: Context) -> pb.EnableUserResponse:
        """Let a user in again."""
        found = await self._administrator.enable(principal().user_id, request.user_id)
        return pb.EnableUserResponse(user=_account(found))

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        """Return a page of the audit log."""
        size = paging.page_size(request.page_size, *EVENTS_PAGE)
        call = f"{LIST_AUDIT_EVENTS} {request.actor}"
        keys = paging.read_token(call, request.page_token, 1)
        before = None if keys is None else keys[0]
        if before is not None and (not isinstance(before, int) or not 0 < before < 2**63):
            raise paging.bad_token()
        found = await self._administrator.audit(principal().user_id, before, request.actor, size + 1)
        token = paging.write_token(call, found[size - 1].number) if len(found) > size else ""
        return pb.ListAuditEventsResponse(events=[_event(one) for one in found[:size]], next_page_token=token)


def _account(account: Account) -> pb.UserAccount:
    return pb.UserAccount(
        user=user_message(account),
        role=pb.ROLE_ADMIN if account.is_admin else pb.ROLE_USER,
        actor=account.actor,
        disable_time=timestamp(account.disable_time) if account.disable_time else None,
        disable_reason=account.disable_reason,
    )


def _event(entry: Entry) -> pb.AuditEvent:
    return pb.AuditEvent(
        number=entry.number,
        event_time=timestamp(entry.event.time),
        actor=str(entry.event.actor or ""),
        action=entry.event.action,
        facts=dict(entry.event.facts),
        correlation_id=entry.event.correlation_id,
        hash=entry.hash,
    )
