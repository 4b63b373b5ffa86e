"""Velocity Verlet at constant energy, or with a thermostat that hardly affects the dynamics.

The thermostat is stochastic velocity rescaling (Bussi, Donadio and Parrinello, J. Chem. Phys. 126,
014101 (2007), doi:10.1063/1.2408420, Eq. A7): all velocities are multiplied by one factor, so that
diffusion and viscosity are those of the constant-energy dynamics. A Langevin thermostat would damp
them. Unlike ASE's ``Bussi`` the complete state can be saved, and a resumed run is bitwise equal
to an uninterrupted one; the cell can be deformed at a constant rate.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ase.units
import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.geometry import check_geometry
from mgflows.md.forces import Evaluation, force_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["VelocityVerlet"]


class VelocityVerlet:
    """A periodic structure in a given cell.

    Parameters
    ----------
    atoms
        Structure with a calculator that gives energy, forces and stress; changed in place. Its
        velocities are the initial ones, less that of the centre of mass.
    timestep
        fs.
    thermostat_time
        Relaxation time of the thermostat in fs; None for constant energy.
    strain_rate
        (3, 3) rate in 1/fs of the deformation gradient, ``F(t) = 1 + rate t``: the cell is
        ``h(0) F^T`` and positions follow affinely. None for a fixed cell.
    seed
        Seed of the noise: anything :func:`numpy.random.default_rng` takes, or a generator.
    state
        :meth:`state` of an earlier run that began with the same atoms; this run resumes there,
        without a call of the calculator.

    Attributes
    ----------
    evaluation
        Energy, forces and stress of the current positions, without the kinetic part.

    Raises
    ------
    InputError
        For times that are not positive, or a structure that is not finite or not periodic.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        thermostat_time: float | None = None,
        strain_rate: NDArray[np.float64] | None = None,
        seed: int | np.random.SeedSequence | np.random.Generator,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        for name, value in (("timestep", timestep), ("thermostat time", thermostat_time)):
            if value is not None and not (np.isfinite(value) and value > 0.0):
                raise InputError(
                    f"the {name} is {value:g} fs but must be positive",
                    hint="usual values: timestep 1 or 2 fs, thermostat time 100 to 500 fs",
                )
        check_geometry(atoms, periodic=True)
        self.atoms = atoms
        self._dt = timestep * ase.units.fs
        self._keep = None if thermostat_time is None else float(np.exp(-timestep / thermostat_time))
        self._rate = None if strain_rate is None else np.asarray(strain_rate, float) * timestep
        self._rng = np.random.default_rng(seed)
        self._masses = atoms.get_masses()[:, None]
        self._n_momenta = max(3 * len(atoms) - 3, 3)
        self._cell = atoms.cell.array.copy()
        self._n_strained = 0
        self._evaluate = force_field(atoms)
        if state is None:
            velocities = atoms.get_velocities()
            drift = np.sum(self._masses * velocities, axis=0) / self._masses.sum()
            self._velocities = velocities - drift
            self._update_velocities()
            self.evaluation = self._evaluate(atoms)
        else:
            self._resume(state)

    def step(self, temperature: float) -> None:
        """Advance by one timestep, with the thermostat (if any) at ``temperature`` in K.

        The calculator is called once.
        """
        self._kick()
        self.atoms.arrays["positions"] += self._dt * self._velocities
        if self._rate is not None:
            self._deform()
        self.evaluation = self._evaluate(self.atoms)
        self._kick()
        if self._keep is not None:
            self._rescale(temperature)
        self._update_velocities()

    def rearrange(self, order: NDArray[np.int64]) -> None:
        """Move atom i to the position of atom ``order[i]``; velocities stay with the atoms.

        The calculator is called once.
        """
        self.atoms.arrays["positions"][:] = self.atoms.positions[order]
        self.evaluation = self._evaluate(self.atoms)

    def state(self) -> dict[str, NDArray[Any]]:
        """The state that determines further steps, random generator included, as arrays."""
        return {
            "positions": self.atoms.positions.copy(),
            "cell": self.atoms.cell.array.copy(),
            "initial_cell": self._cell.copy(),
            "n_strained": np.array(self._n_strained),
            "velocities": self._velocities.copy(),
            "energy": np.array(self.evaluation.energy),
            "forces": self.evaluation.forces.copy(),
            "stress": self.evaluation.stress.copy(),
            "generator": np.array(json.dumps(self._rng.bit_generator.state)),
        }

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy, in eV per cell."""
        return 0.5 * float(np.sum(self._masses * self._velocities**2))

    @property
    def temperature(self) -> float:
        """Kinetic temperature in K of the 3 N - 3 momenta about the resting centre of mass."""
        return 2.0 * self.kinetic_energy / (self._n_momenta * units.BOLTZMANN)

    @property
    def stress(self) -> NDArray[np.float64]:
        """(3, 3) stress in eV/A^3 with ASE's sign, the kinetic part included."""
        kinetic = (self._masses * self._velocities).T @ self._velocities
        return self.evaluation.stress - kinetic / self.atoms.get_volume()

    def _resume(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.atoms.cell[:] = state["cell"]
        self.atoms.arrays["positions"][:] = state["positions"]
        self._cell, self._n_strained = state["initial_cell"], int(state["n_strained"])
        self._velocities = state["velocities"]
        self.evaluation = Evaluation(float(state["energy"]), state["forces"], state["stress"])
        self._rng.bit_generator.state = json.loads(str(state["generator"]))
        self._update_velocities()

    def _kick(self) -> None:
        self._velocities += 0.5 * self._dt * self.evaluation.forces / self._masses

    def _deform(self) -> None:
        assert self._rate is not None
        before = self.atoms.cell.array
        self._n_strained += 1
        after = self._cell @ (np.eye(3) + self._n_strained * self._rate).T
        self.atoms.arrays["positions"][:] = self.atoms.positions @ np.linalg.solve(before, after)
        self.atoms.cell[:] = after

    def _rescale(self, temperature: float) -> None:
        assert self._keep is not None
        kinetic = self.kinetic_energy
        target = 0.5 * units.BOLTZMANN * temperature / kinetic if kinetic > 0.0 else 0.0
        first = self._rng.normal()
        others = 2.0 * self._rng.standard_gamma(0.5 * (self._n_momenta - 1))
        new = target * (1.0 - self._keep)
        squared = self._keep + new * (first**2 + others) + 2.0 * first * np.sqrt(self._keep * new)
        sign = -1.0 if first + np.sqrt(self._keep / new if new > 0.0 else np.inf) < 0.0 else 1.0
        self._velocities *= sign * np.sqrt(max(squared, 0.0))

    def _update_velocities(self) -> None:
        if "momenta" in self.atoms.arrays:
            np.multiply(self._velocities, self._masses, out=self.atoms.arrays["momenta"])
        else:
            self.atoms.set_velocities(self._velocities)
