"""Envoy's configuration from the settings: is it a good one, and write it for an Envoy that runs elsewhere.

``python -m algotrade.platform.gateway --validate`` or ``--render FOLDER``
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from algotrade.platform.gateway.envoy import GatewayError, validate
from algotrade.platform.gateway.render import write_for_container
from algotrade.platform.settings import Settings


def main() -> int:
    """Return 0 when it is written, or when Envoy takes it."""
    match sys.argv[1:]:
        case ["--validate"]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    asyncio.run(validate(Settings(), Path(folder)))
                except GatewayError as error:
                    sys.stderr.write(f"{error}\n")
                    return 1
        case ["--render", folder]:
            write_for_container(Settings(), Path(folder))
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
