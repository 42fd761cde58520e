"""Failpoints: off unless a setting names one that exists; every one in the code is known, and so is tried."""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

import algotrade
from algotrade.platform import failpoints
from algotrade.platform.database import is_away
from algotrade.platform.failpoints import Action, Failpoint, FailpointError
from algotrade.platform.settings import Settings


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def used() -> set[str]:
    """Return the names in ``failpoints.reached("…")`` all over the package."""
    found = set()
    for path in Path(algotrade.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.reached":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: a name is written out"
                found.add(name.value)
    return found


def test_the_points_of_the_code_are_those_that_are_listed() -> None:
    """The kill suite goes through the list, so that none is left out."""
    assert used() == set(failpoints.POINTS)


def test_nothing_happens_unless_a_setting_says_so() -> None:
    assert Settings().failpoint == ""
    for name in failpoints.POINTS:
        failpoints.reached(name)


def test_a_point_acts_once_when_it_is_reached_for_the_nth_time() -> None:
    failpoints.arm("ledger.fenced:3:raise")
    failpoints.reached("ledger.fenced")
    failpoints.reached("worker.stepped")
    failpoints.reached("ledger.fenced")
    with pytest.raises(FailpointError) as caught:
        failpoints.reached("ledger.fenced")
    assert is_away(caught.value)
    failpoints.reached("ledger.fenced")


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("freeze", signal.SIGSTOP)])
def test_a_point_kills_or_freezes_its_own_process(
    monkeypatch: pytest.MonkeyPatch, action: str, number: signal.Signals
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sig: sent.append((pid, sig)))
    failpoints.arm(f"worker.stepped:{action}")
    failpoints.reached("worker.stepped")
    assert sent == [(os.getpid(), number)]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("outbox.sent", Failpoint("outbox.sent", 1, Action.KILL)),
        ("outbox.sent:2", Failpoint("outbox.sent", 2, Action.KILL)),
        ("outbox.sent:freeze", Failpoint("outbox.sent", 1, Action.FREEZE)),
        ("outbox.sent:7:raise", Failpoint("outbox.sent", 7, Action.RAISE)),
    ],
)
def test_what_a_setting_may_say(text: str, parsed: Failpoint) -> None:
    assert Failpoint.parse(text) == parsed


@pytest.mark.parametrize("text", ["nowhere", "outbox.sent:0", "outbox.sent:maybe", "outbox.sent:1:kill:2", ":1"])
def test_a_setting_that_names_no_point_fails_at_the_start(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(failpoint=text)
