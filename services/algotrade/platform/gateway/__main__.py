"""`python -m algotrade.platform.gateway --validate`: is the configuration that the settings give a good one?"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from algotrade.platform.gateway.envoy import GatewayError, validate
from algotrade.platform.settings import Settings


def main() -> int:
    """Return 0 when Envoy takes the configuration."""
    if sys.argv[1:] != ["--validate"]:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(validate(Settings(), Path(folder)))
        except GatewayError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
