"""A module can hurt nobody but itself: strange modules are refused; those that misbehave are stopped and outlived."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import wasmtime
from agreement import compiled
from graphs import sma_cross

from algotrade.engine import native, wasm
from algotrade.engine.compile import Artefact
from algotrade.engine.limits import MAX_MEMORY_BYTES
from algotrade.engine.native import TrapError
from algotrade.engine.records import TICK
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

FUEL = 1_000_000
HOSTILE = """
(module
  (memory (export "memory") 1)
  (table (export "table") 1 funcref)
  (type $nothing (func (result i32)))
  (func (export "spin") (result i32) (loop $on (br $on)) unreachable)
  (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1)))
  (func (export "outside") (result i32) (i32.load (i32.const 0x7fffff00)))
  (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
  (func (export "nowhere") (result i32) (call_indirect (type $nothing) (i32.const 0)))
  (func (export "greedy") (result i32) (memory.grow (i32.const 65535)))
  (func (export "fine") (result i32) (i32.const 7))
)
"""
TRAPS = {
    "spin": "all fuel consumed",
    "deep": "call stack exhausted|all fuel consumed",
    "outside": "out of bounds memory",
    "divide": "divide by zero",
    "nowhere": "uninitialized element",
}


def hostile() -> native.Instance:
    return native.Instance(native.MODULES.load(HOSTILE, HOSTILE))


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_an_error_and_the_instance_goes_on(name: str) -> None:
    instance = hostile()
    for _ in range(3):
        with pytest.raises(TrapError, match=TRAPS[name]):
            instance.call(name, fuel=FUEL)
        assert instance.call("fine", fuel=FUEL) == 7


def test_a_stack_is_bounded_however_much_fuel_there_is() -> None:
    with pytest.raises(TrapError, match="call stack exhausted"):
        hostile().call("deep", fuel=10**12)


def test_memory_is_bounded() -> None:
    instance = hostile()
    assert instance.call("greedy", fuel=FUEL) == -1  # refused inside …
    with pytest.raises(MemoryError):
        instance.grow(MAX_MEMORY_BYTES + 1)  # … and outside
    assert instance.call("fine", fuel=FUEL) == 7


def artefact() -> Artefact:
    found = compiled(sma_cross()).artefact
    assert found is not None
    return found


def with_sections(*extra: bytes) -> bytes:
    """Our artefact with more sections in front."""
    raw = artefact().wasm
    return raw[:8] + b"".join(extra) + raw[8:]


@pytest.mark.parametrize(
    "section",
    [
        b"\x02\x01\x00",  # imports, even none
        b"\x08\x01\x00",  # a function that runs when the module is loaded
    ],
)
def test_modules_that_do_more_than_ours_are_refused(section: bytes) -> None:
    with pytest.raises(ValueError, match="imports something or runs"):
        Artefact.from_wasm(with_sections(section))


@pytest.mark.parametrize("text", ["(module)", HOSTILE])
def test_modules_of_others_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no section"):
        Artefact.from_wasm(bytes(wasmtime.wat2wasm(text)))


def test_bytes_that_are_no_module_are_refused() -> None:
    rng = np.random.default_rng(5)
    raw = artefact().wasm
    for _ in range(300):
        broken = bytearray(raw[: int(rng.integers(len(raw)))])
        for place in rng.integers(max(len(broken), 1), size=3):
            if len(broken):
                broken[int(place)] ^= int(rng.integers(1, 256))
        try:
            found = Artefact.from_wasm(bytes(broken))
        except ValueError:
            continue
        assert found.hash != artefact().hash  # another module by name: whoever asked for ours learns it at once


def test_an_artefact_has_the_sections_it_needs_and_no_more() -> None:
    numbers = [number for number, _ in wasm.sections(artefact().wasm)]
    assert set(numbers) <= {0, 1, 3, 5, 7, 10, 11}


def test_a_thousand_traps_end_no_process() -> None:
    """With faulthandler on, as pytest and servers have it; a trap of the processor would end the process."""
    program = textwrap.dedent("""
        import faulthandler, sys
        faulthandler.enable()
        from algotrade.engine import native
        instance = native.Instance(native.MODULES.load("hostile", sys.stdin.read()))
        count = 0
        for _ in range(200):
            for name in ("spin", "deep", "outside", "divide", "nowhere"):
                try:
                    instance.call(name, fuel=100_000)
                except native.TrapError:
                    count += 1
        print(count, instance.call("fine", fuel=1000))
    """)
    done = subprocess.run([sys.executable, "-c", program], input=HOSTILE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["1000", "7"]), done.stderr


def test_too_little_fuel_leaves_the_neighbours_as_they_were() -> None:
    """A call that runs out is half done: from snapshots each session goes on as if it had not been made."""
    sessions, plain = Sessions(artefact()), Sessions(artefact())
    ticks = np.zeros(500, TICK)
    ticks["ts"], ticks["seq"] = np.arange(500) * 60_000_000_000, np.arange(1, 501)
    ticks["price"] = (100 + np.sin(np.arange(500) / 9) * 10) * 1e8
    slots = [sessions.add(RunSettings.parse({"interval": "1m"})) for _ in range(4)]
    for _ in slots:
        plain.add(RunSettings.parse({"interval": "1m"}))
    before = [sessions.snapshot(slot) for slot in slots]
    call = sessions._instance.call
    sessions._instance.call = lambda name, *args, fuel: call(name, *args, fuel=2_000)  # type: ignore[method-assign]
    with pytest.raises(TrapError):
        sessions.step(ticks)
    sessions._instance.call = call  # type: ignore[method-assign]
    for slot, row in zip(slots, before, strict=True):
        sessions.restore(slot, row)
    sessions.step(ticks)
    plain.step(ticks)
    assert [sessions.snapshot(slot) for slot in slots] == [plain.snapshot(slot) for slot in slots]
