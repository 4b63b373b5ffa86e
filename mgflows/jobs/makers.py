"""The Makers that label, relax and heat structures with a given method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.jobs.vasp import VaspHeatingMaker, VaspLabelMaker, VaspRelaxMaker
from mgflows.methods.vasp.method import VaspMethod

if TYPE_CHECKING:
    from jobflow import Maker

    from mgflows.methods.base import LabelMethod

__all__ = ["LabelMakers", "makers_for"]


@dataclass(frozen=True)
class LabelMakers:
    """Makers of one method.

    Parameters
    ----------
    label, relax, heating
        ``label.make(structure)``, ``relax.make(structure)`` and ``heating.make(structure, seed)``
        give the documents of :mod:`mgflows.schemas.labels`.
    """

    label: Maker
    relax: Maker
    heating: Maker


@singledispatch
def makers_for(method: LabelMethod) -> LabelMakers:
    """The Makers of a method, with the paper's tolerances and steps.

    ASE moves the atoms. A code that moves them itself, such as VASP, has its own Makers; register
    those of another method with ``makers_for.register``.

    Examples
    --------
    >>> from mgflows.methods.gpaw import GpawMethod
    >>> type(makers_for(GpawMethod()).relax).__name__
    'AseRelaxMaker'
    >>> type(makers_for(VaspMethod()).relax).__name__
    'VaspRelaxMaker'
    """
    return LabelMakers(
        label=AseLabelMaker(method=method),
        relax=AseRelaxMaker(method=method),
        heating=AseHeatingMaker(method=method),
    )


@makers_for.register
def _(method: VaspMethod) -> LabelMakers:
    return LabelMakers(
        label=VaspLabelMaker(method=method),
        relax=VaspRelaxMaker(method=method),
        heating=VaspHeatingMaker(method=method),
    )
