"""What the commands read: a drawing, a bar file, run settings, parameter values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algotrade.cli.failure import CommandError, RefusedError

if TYPE_CHECKING:
    from algotrade.engine.compile import Artefact, Compilation
    from algotrade.engine.graph import Parameter
    from algotrade.engine.settings import RunSettings, SettingsError
    from algotrade.platform.bars_file import BarFile

# The option that sets what the engine calls by this name.
OPTIONS: Final[Mapping[str, str]] = {
    "interval": "--interval",
    "initial_cash": "--cash",
    "fee_bps": "--fee-bps",
    "slippage_bps": "--slippage-bps",
    "fill": "--fill",
    "lot_step": "--lot-step",
    "price_step": "--price-step",
    "min_notional": "--min-notional",
    "max_position_percent": "--max-position-percent",
    "allow_short": "--allow-short",
    "path": "--path",
    "day_timezone": "--day-timezone",
    "at": "--at",
}
_BAD_ROWS_LISTED: Final = 1000


def compile_graph(path: Path) -> tuple[Compilation, Artefact]:
    """Read and compile a drawing. Raises CommandError, or RefusedError with every finding."""
    from algotrade.engine.compile import compile_strategy

    compilation = compile_strategy(read_graph(path))
    if compilation.artefact is None:
        raise RefusedError(str(path), compilation.diagnostics)
    return compilation, compilation.artefact


def read_graph(path: Path) -> bytes:
    """The bytes of a drawing; the compiler judges what is in them."""
    from algotrade.engine.limits import MAX_DOCUMENT_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise CommandError("not_found", f"{path}: there is no such file", path=str(path)) from None
    except OSError as error:
        raise CommandError("unreadable", f"{path}: the file cannot be read: {error.strerror}", path=str(path)) from None


def read_bar_file(path: Path, *, skip_bad: bool) -> BarFile:
    """Read bars. Raises CommandError with the code of BarFileError, and the bad rows where there are any."""
    from algotrade.platform.bars_file import BarFileError, read_bars

    try:
        return read_bars(path, skip_bad=skip_bad)
    except BarFileError as error:
        facts: dict[str, object] = {"path": str(path)}
        if error.bad_rows:
            listed = error.bad_rows[:_BAD_ROWS_LISTED]
            facts["bad_rows_total"] = len(error.bad_rows)
            facts["bad_rows"] = [{"line": row.line, "reason": row.reason} for row in listed]
        raise CommandError(error.code, str(error), **facts) from None


def run_settings(given: Mapping[str, str | bool | None]) -> RunSettings:
    """Settings from the options that were given. Raises CommandError naming the option."""
    from algotrade.engine.settings import RunSettings, SettingsError

    try:
        return RunSettings.parse({name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        raise setting_failure(error) from None


def setting_failure(error: SettingsError) -> CommandError:
    """A failure that names the option as the user wrote it."""
    option = OPTIONS.get(error.field, error.field)
    return CommandError("invalid_setting", f"{option}: {error.message}", field=error.field)


def parameter_values(assignments: Sequence[str], parameters: tuple[Parameter, ...]) -> dict[str, int | float]:
    """Every parameter's value from `name=value` and the defaults. Raises CommandError naming the parameter."""
    from algotrade.engine.runtime import bind
    from algotrade.engine.settings import SettingsError

    known = [parameter.name for parameter in parameters]
    given: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise CommandError("invalid_parameter", f"--set {assignment}: write name=value", parameter=assignment)
        if name not in known:
            message = f"--set {name}: the strategy has no such parameter; it has {', '.join(known) or 'none'}"
            raise CommandError("unknown_parameter", message, parameter=name)
        if name in given:
            raise CommandError("invalid_parameter", f"--set {name}: given twice", parameter=name)
        given[name] = text
    try:
        return bind(parameters, given)
    except SettingsError as error:
        raise CommandError(
            "invalid_parameter", f"--set {error.field}: {error.message}", parameter=error.field
        ) from None


def time_argument(text: str, option: str) -> int:
    """A time on the command line, spelled as in a bar file -> ns. Raises CommandError."""
    from algotrade.platform.text_columns import time_ns

    try:
        return time_ns(text.strip())
    except ValueError as error:
        raise CommandError("invalid_time", f"{option}: {error}", option=option) from None


def time_text(ns: int) -> str:
    """ISO 8601 in UTC with Z; no fraction where it is zero."""
    from datetime import UTC, datetime

    seconds, fraction = divmod(int(ns), 1_000_000_000)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + tail + "Z"
