"""Named points of the code at which a process can be made to die, fail or freeze, to prove what a crash leaves behind.

A point is one line, ``reached("ledger.fenced")``, and does nothing unless the setting `failpoint` names it. The setting
is read once, when the platform opens, and is empty unless somebody sets it: ``ledger.fenced:3:kill`` kills the process
when it comes to that point for the third time. Points lie where a crash could do most harm: between what was done and
the note that it was done.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from algotrade.platform.log import logger

log = logger(__name__)

POINTS: Final = {
    "ingest.numbered": "ticks have their numbers, in memory only",
    "ingest.leased": "within its transaction the symbol's sequence has moved on, and nothing is logged",
    "ingest.before_commit": "the ticks are in the log, and the transaction that proves the lease is open",
    "ingest.committed": "the ticks are in the log, and neither readers nor the window know",
    "shards.taken": "the worker has raised its epochs, and holds no session",
    "shards.restored": "every session is back from its row, and none has been stepped",
    "shards.checkpoint": "rows of sessions are due to be stored, without events",
    "worker.before_step": "a batch of ticks is read, and no session has seen it",
    "worker.stepped": "sessions in memory are ahead of their rows",
    "ledger.fenced": "in a commit of more than one statement, the epochs are locked, and nothing is written",
    "ledger.before_commit": "in a commit of more than one statement, all is written",
    "ledger.committed": "all is stored, and the worker does not know",
    "command.told": "a command is stored, and its caller has no answer",
    "command.applied": "a command has changed a session in memory, and is not stored as applied",
    "session.created": "a session is stored, and its caller has no answer",
    "outbox.sent": "messages are on the bus and still in the outbox, and the transaction is open",
    "outbox.forgotten": "messages are deleted from the outbox, and the transaction is open",
    "backtest.claimed": "a run is claimed, and has not begun",
    "backtest.run": "a run has ended, and its result is not stored",
    "backtest.stored": "a result is stored, and nobody has been told",
}


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"  # as by kill -9: nothing is tidied up
    RAISE = "raise"  # as if a connection were lost here
    FREEZE = "freeze"  # as by kill -STOP, until somebody sends SIGCONT


class FailpointError(ConnectionError):
    """Raised at a point, in the family of errors of a dependency that is away."""


@dataclass(slots=True)
class Failpoint:
    """A point with what is to happen there, once, when it is reached for the ``nth`` time."""

    name: str
    nth: int = 1
    action: Action = Action.KILL

    @classmethod
    def parse(cls, text: str) -> Failpoint:
        """Read ``name[:nth][:action]``. Raises ValueError."""
        name, *rest = text.split(":")
        if name not in POINTS:
            raise ValueError(f"{name!r} is no failpoint; there are {', '.join(POINTS)}")
        nth = int(rest.pop(0)) if rest and rest[0].isdecimal() else 1
        action = Action(rest.pop(0)) if rest else Action.KILL
        if rest or nth < 1:
            raise ValueError(f"{text!r} is not name[:nth][:action]")
        return cls(name, nth, action)

    def reach(self) -> None:
        """Count down, and act at the end of it."""
        self.nth -= 1
        if self.nth != 0:
            return
        if self.action is Action.RAISE:
            raise FailpointError(self.name)
        os.kill(os.getpid(), signal.SIGKILL if self.action is Action.KILL else signal.SIGSTOP)


_armed: Failpoint | None = None


def arm(text: str) -> None:
    """Have the process act at a point; an empty text takes that back. Raises ValueError."""
    global _armed
    _armed = Failpoint.parse(text) if text else None
    if _armed is not None:
        log.warning("failpoint.armed", name=_armed.name, nth=_armed.nth, action=_armed.action)


def reached(name: str) -> None:
    """Say that the process has come to a point of `POINTS`."""
    if _armed is not None and _armed.name == name:
        _armed.reach()
