"""Langevin molecular dynamics at constant temperature and pressure, under any ASE calculator.

Langevin-Hoover dynamics: friction and noise act on every atom and on the cell (Quigley and Probert,
J. Chem. Phys. 120, 11432 (2004), doi:10.1063/1.1755657), integrated by BAOAB splitting
(Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990). It is the
ensemble of VASP's Langevin thermostat with ISIF = 3, which the paper heats with (Methods, "DFT
Calculations").

Unlike with ASE's ``LangevinBAOAB`` and barostats, the complete state, random generator included,
can be saved, and a resumed run is bitwise equal to an uninterrupted one. Nose-Hoover chains
oscillate under the paper's ramps (2000 K in 120 fs) and have no initial state at T = 0, and
Berendsen's barostat samples no ensemble.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ase.units
import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.geometry import check_geometry
from mgflows.md.forces import Evaluation, force_field, volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["LangevinNPT", "NPTSettings"]

_TYPICAL_BULK_MODULUS = 100.0
"""GPa; converts the period of the cell into its mass, which affects the response time of the cell
but not the averages."""
_UNIT = np.eye(3)
_LARGEST_VOLUME_CHANGE = 3.0
"""A condensed metal whose volume changes by this factor is outside the range of any potential."""


@dataclass(frozen=True)
class NPTSettings:
    """Settings of the dynamics that quenches, holds and heatings share.

    Parameters
    ----------
    timestep
        fs.
    pressure
        External pressure in GPa.
    friction, lattice_friction
        Frictions of the atoms and of the cell, in 1/ps (VASP's LANGEVIN_GAMMA and
        LANGEVIN_GAMMA_L). With 5/ps the atoms lag behind a ramp of 100 K/ps by about 30 K.
    lattice_period
        Period in fs with which the volume of a metal (bulk modulus 100 GPa) oscillates; sets the
        mass of the cell. VASP's default PMASS = 1000 gives 400 fs for 150 atoms of Cu-Zr-Al.

    Raises
    ------
    InputError
        If a timestep, friction or period is not positive, or the pressure is not finite.
    """

    timestep: float = 2.0
    pressure: float = 0.0
    friction: float = 5.0
    lattice_friction: float = 5.0
    lattice_period: float = 400.0

    def __post_init__(self) -> None:
        for name, value, unit in (
            ("timestep", self.timestep, "fs"),
            ("friction", self.friction, "1/ps"),
            ("lattice friction", self.lattice_friction, "1/ps"),
            ("lattice period", self.lattice_period, "fs"),
        ):
            if not (np.isfinite(value) and value > 0.0):
                raise InputError(
                    f"the {name} is {value:g} {unit} but must be positive",
                    hint="usual values: timestep 1 or 2 fs, friction 5 to 20 1/ps, period 400 fs",
                )
        if not np.isfinite(self.pressure):
            raise InputError(f"the pressure is {self.pressure:g} GPa but must be finite")


class LangevinNPT:
    """A periodic structure with Langevin atoms and a Langevin cell.

    With strain rate ``e`` (symmetric, 3 x 3), cell mass ``W``, ``3 N`` momenta and the internal
    pressure tensor ``P_int``::

        dr/dt = v + e r,                                   dh/dt = e h
        m dv/dt = F - gamma m v - m (e + tr(e)/3N) v + noise
        W de/dt = V (P_int - P) + sum(m v^2)/3N - gamma_cell W e + noise

    Parameters
    ----------
    atoms
        Structure with a calculator that gives energy, forces and stress; changed in place. Its
        velocities are the initial ones.
    settings
        Timestep, pressure and frictions.
    isotropic
        Keep the shape of the cell: for liquids, whose shape has no restoring force.
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
        For a structure that is not finite or not periodic in three directions.
    """

    def __init__(
        self,
        atoms: Atoms,
        settings: NPTSettings,
        *,
        isotropic: bool = False,
        seed: int | np.random.SeedSequence | np.random.Generator,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        check_geometry(atoms, periodic=True)
        self.atoms = atoms
        self.isotropic = isotropic
        self.settings = settings
        self._dt = settings.timestep * ase.units.fs
        self._pressure = units.gpa_to_ev_per_a3(settings.pressure) * np.eye(3)
        self._decay = float(np.exp(-settings.friction * settings.timestep * 1e-3))
        self._lattice_decay = float(np.exp(-settings.lattice_friction * settings.timestep * 1e-3))
        self._rng = np.random.default_rng(seed)
        self._masses = atoms.get_masses()[:, None]
        self._n_momenta = 3 * len(atoms)
        self._cell = atoms.cell.array.copy()
        self._initial_volume = volume(self._cell)
        self._evaluate = force_field(atoms)
        bulk_modulus = units.gpa_to_ev_per_a3(_TYPICAL_BULK_MODULUS)
        period = settings.lattice_period * ase.units.fs
        self._lattice_mass = (
            3.0 * self._initial_volume * bulk_modulus * (period / (2.0 * np.pi)) ** 2
        )
        if state is None:
            self._positions = atoms.positions.copy()
            self._velocities = atoms.get_velocities()
            self._strain_rate = np.zeros((3, 3))
            self._update_atoms()
            self._update_forces()
        else:
            self._resume(state)

    def step(self, temperature: float) -> None:
        """Advance by one timestep with the thermostat at ``temperature`` in K.

        The calculator is called once.
        """
        self._kick_lattice()
        self._kick_atoms()
        self._strain_lattice()
        self._drift()
        self._drag()
        self._thermalise(temperature)
        self._drag()
        self._drift()
        self._strain_lattice()
        self._update_atoms()
        self._update_forces()
        self._kick_atoms()
        self._kick_lattice()
        self._update_velocities()

    def rearrange(self, order: NDArray[np.int64]) -> None:
        """Move atom i to the position of atom ``order[i]``; velocities stay with the atoms.

        The calculator is called once.
        """
        self._positions = self._positions[order]
        self._update_atoms()
        self._update_forces()

    def state(self) -> dict[str, NDArray[Any]]:
        """The state that determines further steps, random generator included, as arrays."""
        return {
            "positions": self._positions.copy(),
            "cell": self._cell.copy(),
            "velocities": self._velocities.copy(),
            "strain_rate": self._strain_rate.copy(),
            "energy": np.array(self.evaluation.energy),
            "forces": self.evaluation.forces.copy(),
            "stress": self.evaluation.stress.copy(),
            "initial_volume": np.array(self._initial_volume),
            "lattice_mass": np.array(self._lattice_mass),
            "generator": np.array(json.dumps(self._rng.bit_generator.state)),
        }

    def _resume(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._positions, self._cell = state["positions"].copy(), state["cell"].copy()
        self._velocities, self._strain_rate = state["velocities"], state["strain_rate"]
        self._initial_volume = float(state["initial_volume"])
        self._lattice_mass = float(state["lattice_mass"])
        self.evaluation = Evaluation(float(state["energy"]), state["forces"], state["stress"])
        self._rng.bit_generator.state = json.loads(str(state["generator"]))
        self._update_atoms()
        self._update_velocities()

    @property
    def temperature(self) -> float:
        """Kinetic temperature in K, ``2 E_kin / (3 N k_B)``.

        The noise also acts on the centre of mass, so that all 3 N momenta count.
        """
        return 2.0 * self.kinetic_energy / (self._n_momenta * units.BOLTZMANN)

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy, in eV per cell."""
        return 0.5 * float(np.sum(self._masses * self._velocities**2))

    @property
    def pressure(self) -> float:
        """Internal pressure in GPa, the kinetic part included."""
        return float(units.ev_per_a3_to_gpa(np.trace(self._internal_pressure()) / 3.0))

    @property
    def stress(self) -> NDArray[np.float64]:
        """(3, 3) stress in eV/A^3 with ASE's sign, the kinetic part included."""
        return -self._internal_pressure()

    def _internal_pressure(self) -> NDArray[np.float64]:
        return self._kinetic_tensor() / volume(self._cell) - self.evaluation.stress

    def _kinetic_tensor(self) -> NDArray[np.float64]:
        return (self._masses * self._velocities).T @ self._velocities

    def _kick_lattice(self) -> None:
        kinetic = self._kinetic_tensor()
        force = kinetic - volume(self._cell) * (self.evaluation.stress + self._pressure)
        force += _trace(kinetic) / self._n_momenta * _UNIT
        self._strain_rate += 0.5 * self._dt / self._lattice_mass * self._allowed(force)

    def _kick_atoms(self) -> None:
        self._velocities += 0.5 * self._dt * self.evaluation.forces / self._masses

    def _drift(self) -> None:
        self._positions += 0.5 * self._dt * self._velocities

    def _strain_lattice(self) -> None:
        if self.isotropic:
            stretch = math.exp(0.5 * self._dt * self._strain_rate[0, 0])
            self._cell = self._cell * stretch
            self._positions = self._positions * stretch
        else:
            deformation = _exponential(0.5 * self._dt * self._strain_rate).T
            self._cell = self._cell @ deformation
            self._positions = self._positions @ deformation

    def _drag(self) -> None:
        trace = _trace(self._strain_rate) / self._n_momenta
        if self.isotropic:
            rate = self._strain_rate[0, 0] + trace
            self._velocities = self._velocities * math.exp(-0.5 * self._dt * rate)
        else:
            rates = self._strain_rate + trace * _UNIT
            self._velocities = self._velocities @ _exponential(-0.5 * self._dt * rates).T

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
        """Project on the allowed motions of the cell: no rotation; no shear if isotropic."""
        return _trace(tensor) / 3.0 * _UNIT if self.isotropic else 0.5 * (tensor + tensor.T)

    def _update_atoms(self) -> None:
        self.atoms.cell[:] = self._cell
        self.atoms.arrays["positions"][:] = self._positions

    def _update_velocities(self) -> None:
        if "momenta" in self.atoms.arrays:
            np.multiply(self._velocities, self._masses, out=self.atoms.arrays["momenta"])
        else:
            self.atoms.set_velocities(self._velocities)

    def _update_forces(self) -> None:
        growth = volume(self._cell) / self._initial_volume
        if not 1.0 / _LARGEST_VOLUME_CHANGE < growth < _LARGEST_VOLUME_CHANGE:
            raise PotentialFailureError(
                f"the volume has changed by a factor {growth:.3g} at {self.temperature:.0f} K; "
                "the potential does not hold the structure together",
                hint="train the potential on such structures, or lower the temperature",
            )
        self.evaluation = self._evaluate(self.atoms)


def _trace(tensor: NDArray[np.float64]) -> float:
    return float(tensor[0, 0] + tensor[1, 1] + tensor[2, 2])


def _exponential(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix exponential of a symmetric (3, 3) matrix, ten times faster than the general one."""
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.exp(values)) @ vectors.T
