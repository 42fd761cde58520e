"""A clock that is set while the platform runs: back, forth, and what the market makes of it."""

from __future__ import annotations

import time

import pytest

from algotrade.platform.clock import SECOND_NS, SteadyClock, SystemClock, steady


class Setting:
    """The machine's clock, to be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_ns = 0
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + self.by_ns)


@pytest.mark.parametrize("seconds", [-86_400, -3600, 3600, 86_400])
async def test_a_steady_clock_goes_on_when_the_machines_is_set(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    machine = Setting(monkeypatch)
    clock, plain = SteadyClock(), SystemClock()
    assert abs(clock.now_ns() - plain.now_ns()) < SECOND_NS
    before, begun = clock.now_ns(), time.monotonic_ns()
    machine.by_ns = seconds * SECOND_NS
    after, passed = clock.now_ns(), time.monotonic_ns() - begun
    assert before <= after <= before + passed + SECOND_NS // 100
    assert abs(plain.now_ns() - after - machine.by_ns) < SECOND_NS
    await clock.sleep_until(after + SECOND_NS // 50)  # returns: it waits for no day that was taken back
    assert clock.now_ns() >= after + SECOND_NS // 50


def test_only_the_machines_clock_is_made_steady() -> None:
    other = SteadyClock()
    assert steady(other) is other
    assert isinstance(steady(SystemClock()), SteadyClock)
