"""Label jobs with CP2K: the ASE Makers with :class:`~mgflows.methods.cp2k.Cp2kMethod`.

Relaxation and molecular dynamics are ASE's; CP2K starts anew for every step, from the density of the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.methods.cp2k import Cp2kMethod

if TYPE_CHECKING:
    from mgflows.methods.base import LabelMethod

__all__ = ["Cp2kHeatingMaker", "Cp2kLabelMaker", "Cp2kRelaxMaker"]


@dataclass
class Cp2kLabelMaker(AseLabelMaker):
    """Label structures with CP2K; parameters as in :class:`~mgflows.jobs.labels.AseLabelMaker`."""

    method: LabelMethod = field(default_factory=Cp2kMethod)


@dataclass
class Cp2kRelaxMaker(AseRelaxMaker):
    """Relax structures with CP2K; parameters as in :class:`~mgflows.jobs.labels.AseRelaxMaker`."""

    method: LabelMethod = field(default_factory=Cp2kMethod)


@dataclass
class Cp2kHeatingMaker(AseHeatingMaker):
    """Heat structures with CP2K; parameters as in :class:`~mgflows.jobs.heating.AseHeatingMaker`."""

    method: LabelMethod = field(default_factory=Cp2kMethod)
