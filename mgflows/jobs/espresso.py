"""Label jobs with Quantum ESPRESSO: the ASE Makers with :class:`~mgflows.methods.espresso.EspressoMethod`.

Relaxation and molecular dynamics are ASE's; pw.x starts anew for every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.methods.espresso import EspressoMethod

if TYPE_CHECKING:
    from mgflows.methods.base import LabelMethod

__all__ = ["EspressoHeatingMaker", "EspressoLabelMaker", "EspressoRelaxMaker"]


@dataclass
class EspressoLabelMaker(AseLabelMaker):
    """Label structures with pw.x; parameters as in :class:`~mgflows.jobs.labels.AseLabelMaker`."""

    method: LabelMethod = field(default_factory=EspressoMethod)


@dataclass
class EspressoRelaxMaker(AseRelaxMaker):
    """Relax structures with pw.x; parameters as in :class:`~mgflows.jobs.labels.AseRelaxMaker`."""

    method: LabelMethod = field(default_factory=EspressoMethod)


@dataclass
class EspressoHeatingMaker(AseHeatingMaker):
    """Heat structures with pw.x; parameters as in :class:`~mgflows.jobs.heating.AseHeatingMaker`."""

    method: LabelMethod = field(default_factory=EspressoMethod)
