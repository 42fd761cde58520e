from __future__ import annotations

from algotrade.cli.app import main

main()
