"""Embedded-atom models: the elements of Zhou, Johnson and Wadley (2004), setfl files, the stand-in.

The stand-in replaces DFT in the quickstart.
"""

from __future__ import annotations

from mgflows.eam.model import EmbeddedAtomModel
from mgflows.eam.setfl import Tabulation, write_setfl
from mgflows.eam.stand_in import (
    stand_in_calculator,
    stand_in_fingerprint,
    stand_in_model,
    stand_in_setfl,
)
from mgflows.eam.zhou2004 import zhou_model

__all__ = [
    "EmbeddedAtomModel",
    "Tabulation",
    "stand_in_calculator",
    "stand_in_fingerprint",
    "stand_in_model",
    "stand_in_setfl",
    "write_setfl",
    "zhou_model",
]
