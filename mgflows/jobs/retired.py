"""Makers of version 0.1 that only set another default: use the ASE Makers with ``method=`` instead.

Fireworks and campaigns of version 0.1 name these classes; the old modules ``mgflows.jobs.gpaw``,
``cp2k`` and ``espresso`` redirect to this one (:mod:`mgflows.moved`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.methods.cp2k import Cp2kMethod
from mgflows.methods.espresso import EspressoMethod
from mgflows.methods.gpaw import GpawMethod

if TYPE_CHECKING:
    from mgflows.methods.base import LabelMethod

__all__ = [
    "Cp2kHeatingMaker",
    "Cp2kLabelMaker",
    "Cp2kRelaxMaker",
    "EspressoHeatingMaker",
    "EspressoLabelMaker",
    "EspressoRelaxMaker",
    "GPAWHeatingMaker",
    "GPAWLabelMaker",
    "GPAWRelaxMaker",
    "GpawMethod",
]


@dataclass
class GPAWLabelMaker(AseLabelMaker):
    """Now ``AseLabelMaker(method=GpawMethod())``."""

    name: str = "GPAW label"
    method: LabelMethod = field(default_factory=GpawMethod)


@dataclass
class GPAWRelaxMaker(AseRelaxMaker):
    """Now ``AseRelaxMaker(method=GpawMethod())``."""

    name: str = "GPAW relax"
    method: LabelMethod = field(default_factory=GpawMethod)
    max_steps: int = 300


@dataclass
class GPAWHeatingMaker(AseHeatingMaker):
    """Now ``AseHeatingMaker(method=GpawMethod())``."""

    name: str = "GPAW heat"
    method: LabelMethod = field(default_factory=GpawMethod)


@dataclass
class Cp2kLabelMaker(AseLabelMaker):
    """Now ``AseLabelMaker(method=Cp2kMethod())``."""

    method: LabelMethod = field(default_factory=Cp2kMethod)


@dataclass
class Cp2kRelaxMaker(AseRelaxMaker):
    """Now ``AseRelaxMaker(method=Cp2kMethod())``."""

    method: LabelMethod = field(default_factory=Cp2kMethod)


@dataclass
class Cp2kHeatingMaker(AseHeatingMaker):
    """Now ``AseHeatingMaker(method=Cp2kMethod())``."""

    method: LabelMethod = field(default_factory=Cp2kMethod)


@dataclass
class EspressoLabelMaker(AseLabelMaker):
    """Now ``AseLabelMaker(method=EspressoMethod())``."""

    method: LabelMethod = field(default_factory=EspressoMethod)


@dataclass
class EspressoRelaxMaker(AseRelaxMaker):
    """Now ``AseRelaxMaker(method=EspressoMethod())``."""

    method: LabelMethod = field(default_factory=EspressoMethod)


@dataclass
class EspressoHeatingMaker(AseHeatingMaker):
    """Now ``AseHeatingMaker(method=EspressoMethod())``."""

    method: LabelMethod = field(default_factory=EspressoMethod)
