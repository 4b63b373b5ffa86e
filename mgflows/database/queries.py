"""Filters of labelled frames by their properties."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ase.data import atomic_numbers

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mgflows.schemas.frames import FrameRecord

__all__ = ["FrameFilter", "Window"]

Window = tuple[float | None, float | None]
"""Smallest and largest value, both included; None for no bound."""

_SIZES = (
    "energy",
    "force",
    "pressure",
    "density",
    "n_atoms",
    "seconds",
    "n_sweeps",
    "cooling_rate",
)


@dataclass(frozen=True)
class FrameFilter:
    """Windows of the properties of a frame, all of which must be satisfied.

    Parameters
    ----------
    energy
        eV per atom.
    force
        Largest force on an atom, eV/A.
    pressure
        GPa, positive under compression.
    density
        g/cm^3.
    n_atoms
        Atoms in the cell.
    seconds
        Effective time of the frame's family in s, for families that have one.
    n_sweeps
        Cooling length of the sample in sweeps, for families that descend from one.
    cooling_rate
        K/ps, for glasses quenched with a potential.
    composition
        Element to the window of its atomic fraction; an element that is missing has the fraction 0.
    elements
        The elements that a frame may contain.
    formula
        Chemical formula of the cell, in Hill's order.
    name
        Name of the frame within its set, such as ``step 10``.

    Examples
    --------
    Compressed frames without aluminium:

    >>> FrameFilter(pressure=(10.0, None), composition={"Al": (None, 0.0)}).pressure
    (10.0, None)
    """

    energy: Window = (None, None)
    force: Window = (None, None)
    pressure: Window = (None, None)
    density: Window = (None, None)
    n_atoms: Window = (None, None)
    seconds: Window = (None, None)
    n_sweeps: Window = (None, None)
    cooling_rate: Window = (None, None)
    composition: Mapping[str, Window] = field(default_factory=dict)
    elements: tuple[str, ...] = ()
    formula: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        windows = {name: getattr(self, name) for name in _SIZES}
        windows |= {f"the fraction of {symbol}": each for symbol, each in self.composition.items()}
        for name, (low, high) in windows.items():
            if low is not None and high is not None and low > high:
                raise InputError(
                    f"the window of {name} begins at {low:g} and ends at {high:g}",
                    hint="give the smaller value first",
                )
        for symbol in (*self.composition, *self.elements):
            if symbol not in atomic_numbers:
                raise InputError(
                    f"there is no element {symbol!r}", hint="give a chemical symbol such as Zr"
                )

    @property
    def needs_samples(self) -> bool:
        """Whether the cooling of the sample or the quench has to be known."""
        return self.n_sweeps != (None, None) or self.cooling_rate != (None, None)

    def matches(self, record: FrameRecord, origin: Mapping[str, Any] | None = None) -> bool:
        """Whether a frame lies in all windows.

        Parameters
        ----------
        record
            The frame.
        origin
            ``n_sweeps`` and ``cooling_rate`` of its family, where they are known.
        """
        values = {
            "energy": record.energy_per_atom,
            "force": record.maximum_force,
            "pressure": record.pressure,
            "density": record.density,
            "n_atoms": float(record.n_atoms),
            "seconds": record.seconds,
            "n_sweeps": (origin or {}).get("n_sweeps"),
            "cooling_rate": (origin or {}).get("cooling_rate"),
        }
        if not all(_inside(values[name], getattr(self, name)) for name in _SIZES):
            return False
        if self.formula is not None and record.formula != self.formula:
            return False
        if self.name is not None and record.name != self.name:
            return False
        if not (self.composition or self.elements):
            return True
        counts = record.composition
        if self.elements and not set(counts) <= set(self.elements):
            return False
        return all(
            _inside(counts.get(symbol, 0) / record.n_atoms, window)
            for symbol, window in self.composition.items()
        )


def _inside(value: float | None, window: Window) -> bool:
    low, high = window
    if low is None and high is None:
        return True
    if value is None or math.isnan(value):
        return False
    return (low is None or value >= low) and (high is None or value <= high)
