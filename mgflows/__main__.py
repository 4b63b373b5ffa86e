"""``python -m mgflows``: the command line, also where the script is not on PATH."""

from __future__ import annotations

from mgflows.cli.main import main

main()
