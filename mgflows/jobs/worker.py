"""What a running job takes from the settings of its worker.

Programs and devices belong to the machine on which a job runs, so that Makers do not hold them; no
other module of the package reads settings. Jobs record the values in their provenance.
"""

from __future__ import annotations

from typing import Literal

from mgflows.settings import Settings

__all__ = ["nep_command", "nep_device"]


def nep_device() -> Literal["cpu", "cuda"]:
    """Return the device on which this worker evaluates potentials."""
    return Settings.current().nep_device


def nep_command() -> str:
    """Return how this worker starts GPUMD's ``nep``."""
    return Settings.current().nep_command
