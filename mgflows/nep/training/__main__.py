"""Train in the current directory: ``python -m mgflows.nep.training``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import MgflowsError
from mgflows.nep.training.files import train_in_directory

if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    """Read the command line and train, logging to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wall-time", type=float, help="seconds after which to save and stop")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    signals: list[int] = []

    def request_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, request_stop)
    try:
        train_in_directory(
            Path.cwd(),
            n_threads=options.threads,
            wall_time=options.wall_time,
            stop_requested=lambda: bool(signals),
        )
    except MgflowsError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
