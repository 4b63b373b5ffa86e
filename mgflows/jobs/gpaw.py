"""Label jobs with GPAW: the open default for labels by density-functional theory."""

from __future__ import annotations

from dataclasses import dataclass, field

from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.methods.gpaw import GpawMethod

__all__ = ["GPAWHeatingMaker", "GPAWLabelMaker", "GPAWRelaxMaker", "GpawMethod"]


@dataclass
class GPAWLabelMaker(AseLabelMaker):
    """Label structures with GPAW: one self-consistent calculation each.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        Settings of GPAW.

    Examples
    --------
    >>> maker = GPAWLabelMaker(method=GpawMethod(n_ranks=16))
    >>> maker.method.description
    'PBE, GPAW, plane waves to 600 eV, k-spacing 0.162/A, Fermi-Dirac 0.1 eV'
    """

    name: str = "GPAW label"
    method: GpawMethod = field(default_factory=GpawMethod)


@dataclass
class GPAWRelaxMaker(AseRelaxMaker):
    """Relax a structure with GPAW and label what comes out.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        Settings of GPAW. The cutoff stays the same while the cell changes, and so does the k-mesh of the first cell.
    relax_cell, force_tolerance, stress_tolerance
        As in :class:`~mgflows.jobs.labels.AseRelaxMaker`.
    max_steps
        Steps after which a relaxation counts as failed.
    """

    name: str = "GPAW relax"
    method: GpawMethod = field(default_factory=GpawMethod)
    max_steps: int = 300


@dataclass
class GPAWHeatingMaker(AseHeatingMaker):
    """Ab initio molecular dynamics with GPAW: heat a structure at zero pressure and keep every step as a frame.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        Settings of GPAW.
    temperature_end, n_steps, timestep
        As in :class:`~mgflows.jobs.heating.AseHeatingMaker`.
    """

    name: str = "GPAW heat"
    method: GpawMethod = field(default_factory=GpawMethod)
