"""Every bound of the engine, named once."""

from __future__ import annotations

from typing import Final

MAX_DOCUMENT_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 500
MAX_EDGES: Final = 2_000
MAX_PARAMETERS: Final = 100
MAX_PERIOD: Final = 5_000
MAX_NAME_LENGTH: Final = 200

# A price or amount stays far enough below 2**63 that two of them can be added.
MAX_AMOUNT: Final = 2**62

# One call into a module handles at most this many bars or ticks: they stay in the processor's cache, and progress and
# cancellation are prompt.
BARS_PER_CALL: Final = 32_768
HELD_BARS_PER_CALL: Final = 1_000_000  # bars that are in the memory already; about 10 ms
TICKS_PER_CALL: Final = 65_536

# The event log of one module instance. A call stops early when the rest might not hold one more bar's events.
EVENTS_PER_LOG: Final = 65_536
MAX_MEMORY_BYTES: Final = 4 * 1024**3 - 65_536
MAX_SESSIONS_PER_PROGRAM: Final = 100_000

# A fleet: how many artefacts one call steps, and over how many ticks.
MAX_ARTEFACTS_PER_FLEET: Final = 12_288  # each takes 4 GiB of the address space, which has room for some 32,000
FLEET_TICKS_PER_CALL: Final = 256
