"""Time series of a run, the same from every engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COLUMNS", "Samples", "Trace"]

COLUMNS = (
    *("stage", "step", "set_temperature", "temperature", "potential_energy", "kinetic_energy"),
    *("volume", "xx", "yy", "zz", "yz", "xz", "xy"),
)
"""Columns of the rows that engines record."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Time series of a run; every field is (n_samples,).

    Parameters
    ----------
    time
        fs since the start.
    set_temperature, temperature
        Of the thermostat, and measured from the velocities, in K.
    pressure
        Internal pressure with its kinetic part, in GPa.
    density
        g/cm^3.
    volume
        A^3 per atom.
    potential_energy, enthalpy
        eV per atom; the enthalpy is ``E_pot + E_kin + P V`` with the *external* pressure.
    """

    time: NDArray[np.float64]
    set_temperature: NDArray[np.float64]
    temperature: NDArray[np.float64]
    pressure: NDArray[np.float64]
    density: NDArray[np.float64]
    volume: NDArray[np.float64]
    potential_energy: NDArray[np.float64]
    enthalpy: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Quantities that an engine measures at equal intervals.

    Parameters
    ----------
    stage
        (n,) index of the stage.
    step
        (n,) steps since the beginning of the run.
    set_temperature, temperature
        (n,) of the thermostat, and from the velocities, in K. Langevin dynamics moves the centre
        of mass, so that its temperature counts 3 N momenta; the others count 3 N - 3.
    potential_energy, kinetic_energy
        (n,) eV per cell.
    volume
        (n,) A^3 per cell.
    stress
        (n, 6) eV/A^3 in Voigt order with ASE's sign, *with* the kinetic part.
    """

    stage: NDArray[np.int64]
    step: NDArray[np.int64]
    set_temperature: NDArray[np.float64]
    temperature: NDArray[np.float64]
    potential_energy: NDArray[np.float64]
    kinetic_energy: NDArray[np.float64]
    volume: NDArray[np.float64]
    stress: NDArray[np.float64]

    @classmethod
    def from_rows(cls, rows: NDArray[np.float64]) -> Samples:
        """From (n, 13) rows in the order of :data:`COLUMNS`."""
        table = np.asarray(rows, dtype=float).reshape(-1, len(COLUMNS))
        return cls(
            stage=table[:, 0].astype(np.int64),
            step=table[:, 1].astype(np.int64),
            set_temperature=table[:, 2].copy(),
            temperature=table[:, 3].copy(),
            potential_energy=table[:, 4].copy(),
            kinetic_energy=table[:, 5].copy(),
            volume=table[:, 6].copy(),
            stress=table[:, 7:].copy(),
        )

    def __len__(self) -> int:
        return len(self.step)

    @property
    def pressure(self) -> NDArray[np.float64]:
        """(n,) GPa, kinetic part included."""
        return -units.ev_per_a3_to_gpa(self.stress[:, :3].mean(axis=1))

    def of_stage(self, stage: int) -> Samples:
        """The samples of one stage."""
        chosen = self.stage == stage
        return Samples(
            *(
                getattr(self, name)[chosen]
                for name in (
                    *("stage", "step", "set_temperature", "temperature", "potential_energy"),
                    *("kinetic_energy", "volume", "stress"),
                )
            )
        )

    def trace(
        self, n_atoms: int, mean_mass: float, *, timestep: float, pressure: float, start: int = 0
    ) -> Trace:
        """Quantities per atom.

        Parameters
        ----------
        n_atoms, mean_mass
            Atoms in the cell, and their mean mass in u.
        timestep
            fs.
        pressure
            External pressure in GPa, for the enthalpy.
        start
            Step at which the time is zero.
        """
        volume = self.volume / n_atoms
        energy = self.potential_energy / n_atoms
        return Trace(
            time=np.asarray((self.step - start) * timestep, dtype=np.float64),
            set_temperature=self.set_temperature,
            temperature=self.temperature,
            pressure=self.pressure,
            density=np.array([units.mass_density(1.0 / v, mean_mass) for v in volume]),
            volume=volume,
            potential_energy=energy,
            enthalpy=energy
            + self.kinetic_energy / n_atoms
            + units.gpa_to_ev_per_a3(pressure) * volume,
        )
