"""What the demo makes of a session's stream, and when it says that something is wrong."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from rich.console import Console

from algotrade.cli import board
from algotrade.cli.demo import DemoSession
from algotrade.cli.show import ErrorCount, judge
from algotrade.cli.watch import Watched, follow
from algotrade.platform import errors
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2

ENTRY, EXIT = pb.SESSION_EVENT_KIND_ENTRY, pb.SESSION_EVENT_KIND_EXIT


def session(session_id: str = "s", **fields: object) -> pb.Session:
    known = {
        "session_id": session_id,
        "symbol": "BTC-USD",
        "settings": types_pb2.RunSettings(interval="1s", initial_cash="10000"),
        "status": pb.SESSION_STATUS_RUNNING,
        "cash": "10000",
        "quantity": "0",
        "last_price": "0",
        "equity": "10000",
    }
    return pb.Session(**{**known, **fields})


def watching(feed: str = "synthetic", **fields: object) -> Watched:
    return Watched(DemoSession("Bollinger reversion", feed, feed != "replay", session(**fields)))


def event(sequence: int, kind: int, quantity: str = "2", side: str = "long") -> pb.StreamSessionResponse:
    happened = pb.SessionEvent(
        sequence=sequence,
        kind=kind,
        quantity=quantity,
        side=side,
        price="64000.125",
        pnl="-1.5" if kind == EXIT else "",
    )
    return pb.StreamSessionResponse(sequence=sequence, event=happened)


def test_fills_move_the_position_and_marks_the_money():
    watched = watching()
    assert watched.take(pb.StreamSessionResponse(snapshot=session())) is None
    bought = watched.take(event(1, ENTRY))
    assert bought is not None
    assert bought.buys
    assert (watched.quantity, watched.trades, watched.fills) == (200_000_000, 0, 1)
    mark = pb.SessionMark(last_price="70000", equity="10100.5", bars=7)
    watched.take(pb.StreamSessionResponse(sequence=1, mark=mark))
    assert (watched.pnl, watched.last_price, watched.bars) == (100_50000000, 70000_00000000, 7)
    sold = watched.take(event(2, EXIT))
    assert sold is not None
    assert not sold.buys
    assert (watched.quantity, watched.trades, watched.fills, watched.cursor) == (0, 1, 2, 2)


def test_a_short_sells_first():
    watched = watching()
    sold = watched.take(event(1, ENTRY, side="short"))
    assert sold is not None
    assert not sold.buys
    assert watched.quantity == -200_000_000


def test_what_the_snapshot_knows_is_not_counted_again():
    watched = watching()
    watched.take(pb.StreamSessionResponse(snapshot=session(last_sequence=2, total_trades=1, quantity="0")))
    watched.take(event(1, ENTRY))
    watched.take(event(2, EXIT))
    assert (watched.quantity, watched.trades, watched.fills) == (0, 1, 2)


def test_rejections_and_a_halt_are_no_fills():
    watched = watching()
    assert watched.take(event(1, pb.SESSION_EVENT_KIND_REJECTION)) is None
    halt = pb.SessionEvent(sequence=2, kind=pb.SESSION_EVENT_KIND_HALT, reason="amount_overflow")
    assert watched.take(pb.StreamSessionResponse(sequence=2, event=halt)) is None
    assert (watched.fills, watched.rejections) == (0, 1)
    assert board.state(watched) == "halted: amount_overflow"


def test_the_table_fits_a_narrow_terminal():
    long = watching(quantity="123.45678", equity="123456.78", last_price="64000.12")
    long.session.settings.interval = "native"
    written = io.StringIO()
    Console(width=80, file=written).print(board.table([long, watching("replay")]))
    text = written.getvalue()
    assert "…" not in text
    assert "+113456.78" in text
    assert "123.4567" in text


def test_a_fill_in_a_line():
    fill = watching().take(event(1, EXIT))
    assert fill is not None
    assert board.fill_line(fill).endswith("  sell 2 at 64000.12  P&L -1.50")


class EndsEachTime:
    """Streams that give one event each and end with an error, as a server ends them."""

    def __init__(self, *ends: errors.ServiceError) -> None:
        self._ends = list(ends)
        self.cursors: list[int] = []

    async def StreamSession(self, request: pb.StreamSessionRequest) -> AsyncIterator[pb.StreamSessionResponse]:
        self.cursors.append(request.after_sequence)
        yield event(request.after_sequence + 1, ENTRY)
        status: Any = errors.status(self._ends.pop(0))
        trailing = grpc.aio.Metadata(*status.trailing_metadata)
        raise grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details)


async def test_a_stream_is_gone_on_with_from_the_cursor_when_its_token_expired(monkeypatch):
    monkeypatch.setattr("algotrade.cli.watch.RECONNECT_SECONDS", 0)
    stub = EndsEachTime(
        errors.Unauthenticated("TOKEN_EXPIRED", "the token has expired"),
        errors.Unavailable("SHUTTING_DOWN", "the server is stopping"),
        errors.Unauthenticated("TOKEN_REVOKED", "the token was revoked"),
    )
    watched = watching()
    await follow(watched, stub, lambda fill: None)
    assert stub.cursors == [0, 1, 2]
    assert watched.fills == 3
    assert watched.failure == "its stream ended: UNAUTHENTICATED: the token was revoked"


class Answers:
    """Stands for the gateway when the demo is judged."""

    def __init__(self, now: pb.Session, ill: Sequence[str] = ()) -> None:
        self._now, self._ill = now, list(ill)

    async def session(self, session_id: str) -> pb.Session:
        return self._now

    async def ill(self) -> list[str]:
        return self._ill


def traded(feed: str = "synthetic") -> Watched:
    watched = watching(feed)
    watched.take(event(1, ENTRY))
    return watched


@pytest.mark.parametrize(
    ("watched", "now", "ill", "errors", "failure"),
    [
        (watching(), {"last_tick_sequence": 9}, [], 0, "no order was filled on the synthetic feed"),
        (traded(), {"last_tick_sequence": 0}, [], 0, "no tick has reached it"),
        (
            traded(),
            {"status": pb.SESSION_STATUS_HALTED, "halt_reason": "amount_overflow"},
            [],
            0,
            "SESSION_STATUS_HALTED amount_overflow",
        ),
        (traded(), {"last_tick_sequence": 9}, ["x: database: gone"], 0, "x: database: gone"),
        (traded(), {"last_tick_sequence": 9}, [], 2, "2 error(s) in the log"),
    ],
)
async def test_what_is_wrong_is_said(watched, now, ill, errors, failure):
    counted = ErrorCount()
    for _ in range(errors):
        counted.handle(logging.LogRecord("x", logging.ERROR, "", 0, "broken", None, None))
    verdict = await judge(Answers(session(**now), ill), [watched], counted, must_trade=True)  # type: ignore[arg-type]
    assert len(verdict.failures) == 1
    assert verdict.failures[0].endswith(failure)
    assert not verdict.as_json()["ok"]


async def test_each_feed_must_have_traded_and_a_replay_may_have_ended():
    watched = [traded(), traded("replay")]
    answers = Answers(session(last_tick_sequence=9))
    assert (await judge(answers, watched, ErrorCount(), must_trade=True)).as_json()["ok"]  # type: ignore[arg-type]
    watched = [traded(), watching("replay")]
    verdict = await judge(answers, watched, ErrorCount(), must_trade=True)  # type: ignore[arg-type]
    assert verdict.failures == ["no order was filled on the replay feed"]


async def test_a_session_that_somebody_stopped_is_no_failure():
    watched = traded()
    answers = Answers(session(status=pb.SESSION_STATUS_STOPPED))
    assert not (await judge(answers, [watched], ErrorCount(), must_trade=True)).failures  # type: ignore[arg-type]
    assert board.state(watched) == "stopped"


async def test_who_stops_it_by_hand_need_not_wait_for_an_order():
    answers = Answers(session())
    verdict = await judge(answers, [watching()], ErrorCount(), must_trade=False)  # type: ignore[arg-type]
    assert not verdict.failures


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0.00"), (-400_000, "0.00"), (400_000, "0.00"), (-1_500_000, "-0.01"), (1_23456789, "+1.23")],
)
def test_money_is_cut_not_rounded(units, text):
    assert board.signed(units) == text
