"""Molecular dynamics at constant temperature and pressure with stochastic atoms *and* a stochastic cell, under any ASE calculator.

Langevin-Hoover dynamics: every atom and the cell feel friction and noise (Quigley and Probert, J. Chem. Phys. 120, 11432 (2004),
doi:10.1063/1.1755657), integrated by BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013),
doi:10.1063/1.4802990). It is the ensemble of VASP's Langevin thermostat with ISIF = 3, which the paper heats with (Methods, "DFT Calculations").

Why not a thermostat of ASE: Nose-Hoover chains ring under the paper's ramps (2000 K in 120 fs) and at T = 0 they have no state to start from;
Berendsen's barostat samples no ensemble; the stochastic barostat of recent ASE versions is missing in the oldest one that mgflows
supports. Here the noise comes from one seeded generator, so that a run can be repeated bit by bit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ase.units
import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["LangevinNPT"]

_TYPICAL_BULK_MODULUS = 100.0
"""GPa; turns the period of the cell into its mass. Averages do not depend on it, only how fast the cell answers."""
_LARGEST_VOLUME_CHANGE = 3.0
"""A condensed metal that grows or shrinks by this factor has left the range of any potential."""


class LangevinNPT:
    """A periodic structure with Langevin atoms and a Langevin cell.

    With strain rate ``e`` (symmetric, 3 x 3), cell mass ``W``, ``3 N`` momenta and ``P_int`` the internal pressure tensor::

        dr/dt = v + e r,                                   dh/dt = e h
        m dv/dt = F - gamma m v - m (e + tr(e)/3N) v + noise
        W de/dt = V (P_int - P) + sum(m v^2)/3N - gamma_cell W e + noise

    Parameters
    ----------
    atoms
        Structure with a calculator that gives energy, forces and stress; changed in place. Its velocities are the initial ones.
    timestep
        In fs.
    friction, lattice_friction
        Of the atoms and of the cell, in 1/ps (VASP's LANGEVIN_GAMMA and LANGEVIN_GAMMA_L).
    lattice_period
        Period in fs with which the volume of a metal (bulk modulus 100 GPa) oscillates; sets ``W``. VASP's default PMASS = 1000 gives
        400 fs for 150 atoms of Cu-Zr-Al.
    pressure
        External pressure in GPa.
    isotropic
        Keep the shape of the cell: for liquids, whose shape has no restoring force.
    seed
        Seed of the noise: anything :func:`numpy.random.default_rng` takes, or a generator.
    state
        :meth:`state` of an earlier run that began with the same atoms: this one goes on from there. The calculator is not called for it.

    Raises
    ------
    InputError
        For a timestep, friction or period that is not positive, or a cell that is not periodic in three directions.
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        timestep: float,
        friction: float,
        lattice_friction: float,
        lattice_period: float = 400.0,
        pressure: float = 0.0,
        isotropic: bool = False,
        seed: int | np.random.SeedSequence | np.random.Generator,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        for name, value, unit in (
            ("timestep", timestep, "fs"),
            ("friction", friction, "1/ps"),
            ("lattice friction", lattice_friction, "1/ps"),
            ("lattice period", lattice_period, "fs"),
        ):
            if not (np.isfinite(value) and value > 0.0):
                raise InputError(
                    f"the {name} is {value:g} {unit} but must be positive; try timestep 1 or 2 fs, friction 5 to 20 1/ps, period 400 fs"
                )
        if not atoms.pbc.all():
            raise InputError(
                "the structure is not periodic in all three directions, so it has no pressure; set atoms.pbc = True"
            )
        self.atoms = atoms
        self.isotropic = isotropic
        self._dt = timestep * ase.units.fs
        self._pressure = units.gpa_to_ev_per_a3(pressure) * np.eye(3)
        self._decay = float(np.exp(-friction * timestep * 1e-3))
        self._lattice_decay = float(np.exp(-lattice_friction * timestep * 1e-3))
        self._rng = np.random.default_rng(seed)
        self._masses = atoms.get_masses()[:, None]
        self._n_momenta = 3 * len(atoms)
        self._initial_volume = atoms.get_volume()
        bulk_modulus = units.gpa_to_ev_per_a3(_TYPICAL_BULK_MODULUS)
        self._lattice_mass = (
            3.0
            * self._initial_volume
            * bulk_modulus
            * (lattice_period * ase.units.fs / (2.0 * np.pi)) ** 2
        )
        if state is None:
            self._velocities = atoms.get_velocities()
            self._strain_rate = np.zeros((3, 3))
            self._update_forces()
        else:
            self._go_on_from(state)

    def step(self, temperature: float) -> None:
        """Advance by one timestep with the thermostat at ``temperature`` in K; the calculator is called once."""
        self._kick_lattice()
        self._kick_atoms()
        self._strain_lattice()
        self._drift()
        self._drag()
        self._thermalise(temperature)
        self._drag()
        self._drift()
        self._strain_lattice()
        self._update_forces()
        self._kick_atoms()
        self._kick_lattice()
        self.atoms.set_velocities(self._velocities)

    def state(self) -> dict[str, NDArray[Any]]:
        """What decides all further steps, generator of the noise included; as arrays, for a file."""
        return {
            "positions": self.atoms.positions.copy(),
            "cell": self.atoms.cell.array.copy(),
            "velocities": self._velocities.copy(),
            "strain_rate": self._strain_rate.copy(),
            "forces": self._forces.copy(),
            "stress": self._stress.copy(),
            "generator": np.array(json.dumps(self._rng.bit_generator.state)),
        }

    def _go_on_from(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.atoms.set_cell(state["cell"])
        self.atoms.positions = state["positions"]
        self._velocities, self._strain_rate = state["velocities"], state["strain_rate"]
        self._forces, self._stress = state["forces"], state["stress"]
        self._rng.bit_generator.state = json.loads(str(state["generator"]))
        self.atoms.set_velocities(self._velocities)

    @property
    def temperature(self) -> float:
        """Kinetic temperature in K, ``2 E_kin / (3 N k_B)``; the noise drives the centre of mass too, so that all 3 N momenta count."""
        return float(
            np.sum(self._masses * self._velocities**2) / (self._n_momenta * units.BOLTZMANN)
        )

    @property
    def pressure(self) -> float:
        """Internal pressure in GPa, the kinetic part included."""
        return float(units.ev_per_a3_to_gpa(np.trace(self._internal_pressure()) / 3.0))

    def _internal_pressure(self) -> NDArray[np.float64]:
        kinetic = (self._masses * self._velocities).T @ self._velocities
        return kinetic / self.atoms.get_volume() - self._stress

    def _kick_lattice(self) -> None:
        force = self.atoms.get_volume() * (self._internal_pressure() - self._pressure)
        force += np.sum(self._masses * self._velocities**2) / self._n_momenta * np.eye(3)
        self._strain_rate += 0.5 * self._dt / self._lattice_mass * self._allowed(force)

    def _kick_atoms(self) -> None:
        self._velocities += 0.5 * self._dt * self._forces / self._masses

    def _drift(self) -> None:
        self.atoms.positions += 0.5 * self._dt * self._velocities

    def _strain_lattice(self) -> None:
        stretch = _exponential(0.5 * self._dt * self._strain_rate)
        self.atoms.set_cell(self.atoms.cell.array @ stretch.T, scale_atoms=True)

    def _drag(self) -> None:
        rate = self._strain_rate + np.trace(self._strain_rate) / self._n_momenta * np.eye(3)
        self._velocities = self._velocities @ _exponential(-0.5 * self._dt * rate).T

    def _thermalise(self, temperature: float) -> None:
        thermal = units.BOLTZMANN * temperature
        noise = self._rng.normal(size=self._velocities.shape)
        self._velocities = (
            self._decay * self._velocities
            + np.sqrt((1.0 - self._decay**2) * thermal / self._masses) * noise
        )
        lattice_noise = self._rng.normal(size=(3, 3))
        self._strain_rate = self._lattice_decay * self._strain_rate + np.sqrt(
            (1.0 - self._lattice_decay**2) * thermal / self._lattice_mass
        ) * self._allowed(lattice_noise)

    def _allowed(self, tensor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project on the motions the cell may make: no rotation, and no change of shape if isotropic."""
        return np.trace(tensor) / 3.0 * np.eye(3) if self.isotropic else 0.5 * (tensor + tensor.T)

    def _update_forces(self) -> None:
        growth = self.atoms.get_volume() / self._initial_volume
        if not 1.0 / _LARGEST_VOLUME_CHANGE < growth < _LARGEST_VOLUME_CHANGE:
            raise PotentialFailureError(
                f"the volume has changed by a factor {growth:.3g} at {self.temperature:.0f} K; the potential does not hold the structure together"
            )
        self._forces = self.atoms.get_forces()
        self._stress = self.atoms.get_stress(voigt=False, include_ideal_gas=False)
        if not (np.isfinite(self._forces).all() and np.isfinite(self._stress).all()):
            raise PotentialFailureError(
                "forces or stress are not finite; the potential fails for this structure, or two atoms are on top of each other"
            )


def _exponential(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix exponential of a symmetric (3, 3) matrix; ten times faster than the general one, which four calls a step would notice."""
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.exp(values)) @ vectors.T
