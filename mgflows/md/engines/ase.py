"""Molecular dynamics in Python, under any ASE calculator.

Langevin dynamics at constant pressure (:mod:`mgflows.md.langevin`), velocity Verlet otherwise
(:mod:`mgflows.md.verlet`). A resumed run is bitwise equal to an uninterrupted one, if the results
of the calculator do not depend on its history.

With :class:`~mgflows.md.exchanges.ExchangeSettings`, Monte Carlo exchanges of unlike atoms take
place between the steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError, PotentialFailureError
from mgflows.md.condensed import check_volume
from mgflows.md.engines.base import Chunk, Engine, Session
from mgflows.md.exchanges import exchanges_for
from mgflows.md.forces import Evaluation, force_field
from mgflows.md.langevin import LangevinNPT
from mgflows.md.verlet import VelocityVerlet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.exchanges import ExchangeSettings
    from mgflows.md.langevin import NPTSettings
    from mgflows.md.potentials import Potential
    from mgflows.md.protocols import Stage

__all__ = ["AseEngine"]

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_LARGEST_DISAGREEMENT = 1e-5
"""Largest difference in eV per atom between the energy changes of exchanges and those of the
calculator; rounding errors in single precision are below 1e-7."""


@dataclass(frozen=True)
class AseEngine(Engine):
    """The integrators of mgflows under an ASE calculator.

    Parameters
    ----------
    potential
        Any potential.
    thermostat_time
        Relaxation time in fs of the thermostat at constant volume.
    exchanges
        Exchanges of unlike atoms, at the temperature of the thermostat; None: only dynamics.

    Examples
    --------
    >>> from mgflows.md.potentials import NepPotential
    >>> from mgflows.md.protocols import quench
    >>> engine = AseEngine(NepPotential("nep.txt"))  # doctest: +SKIP
    >>> run = engine.run(atoms, quench(cooling_rate=10.0), seed=1)  # doctest: +SKIP
    """

    thermostat_time: float = 500.0
    exchanges: ExchangeSettings | None = None

    @property
    def name(self) -> str:
        """``ase``, and the exchanges."""
        return "ase" if self.exchanges is None else f"ase with {self.exchanges}"

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress of one structure, without the kinetic part."""
        resting = self._at_rest(atoms)
        resting.calc = self.potential.calculator()
        return force_field(resting)(resting)

    def check(self, atoms: Atoms, stages: Sequence[Stage], npt: NPTSettings) -> None:  # noqa: ARG002
        """Refuse exchanges without a thermostat, or of elements that are missing."""
        if self.exchanges is None:
            return
        self.exchanges.pairs_of(atoms.get_chemical_symbols())
        if any(stage.ensemble == "nve" for stage in stages):
            raise InputError(
                "exchanges need a temperature and are not possible at constant energy",
                hint="run NVE stages without exchanges",
            )

    def _start(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> Session:
        moving = atoms.copy()
        moving.calc = self.potential.calculator()
        return _AseSession(moving, npt, seed, self, state)


class _AseSession(Session):
    def __init__(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,
        engine: AseEngine,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        self._atoms = atoms
        self._npt = npt
        self._thermostat_time = engine.thermostat_time
        self._blocks: _ExchangeBlocks | None = None
        if engine.exchanges is not None:
            self._blocks = _ExchangeBlocks(engine.potential, engine.exchanges, atoms, npt.timestep)
        _, noise_seed = np.random.SeedSequence(seed).spawn(2)
        self._rng = np.random.default_rng(noise_seed)
        self._dynamics: LangevinNPT | VelocityVerlet | None = None
        self._saved = state

    def advance(self, stage: Stage, done: int, n: int, total: int) -> Chunk:
        if done == 0 or self._dynamics is None:
            saved, self._saved = self._saved, None
            if saved is not None:
                self._restore(saved)
            self._dynamics = self._integrator(stage, saved if done else None)
        dynamics, chunk = self._dynamics, Chunk()
        counts = np.zeros((0, 2), dtype=np.int64)
        if self._blocks:
            counts = chunk.exchanges = self._blocks.no_counts()
        for step in range(done + 1, done + n + 1):
            temperature = stage.temperature_at(step / total)
            dynamics.step(temperature)
            if self._blocks and step % self._blocks.interval == 0:
                self._blocks.run(dynamics, temperature, self._rng, counts)
            if step % stage.sample_every == 0 or step == total:
                chunk.rows.append(self._row(step, temperature))
                if stage.ensemble == "npt":
                    # At once: an evaporating structure soon fails for another reason.
                    check_volume(self._atoms, chunk.rows[-1][6], dynamics.temperature)
        return chunk

    def state(self) -> dict[str, NDArray[Any]]:
        assert self._dynamics is not None
        return self._dynamics.state()

    def configuration(self) -> dict[str, NDArray[np.float64]]:
        return {
            "positions": self._atoms.positions.copy(),
            "cell": self._atoms.cell.array.copy(),
            "momenta": self._atoms.get_momenta().copy(),
        }

    def close(self) -> None:
        """Nothing to release."""

    def _restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        self._atoms.set_cell(saved["cell"])
        self._atoms.positions = saved["positions"]
        self._atoms.set_velocities(saved["velocities"])
        self._rng.bit_generator.state = json.loads(str(saved["generator"]))

    def _integrator(
        self, stage: Stage, state: Mapping[str, NDArray[Any]] | None
    ) -> LangevinNPT | VelocityVerlet:
        atoms, npt = self._atoms, self._npt
        if stage.ensemble == "npt":
            return LangevinNPT(
                atoms,
                npt,
                isotropic=stage.shape == "isotropic",
                seed=self._rng,
                state=state,
            )
        rate = None
        if stage.strain_rate is not None:
            rate = np.zeros((3, 3))
            for (row, column), value in zip(_VOIGT, stage.strain_rate, strict=True):
                rate[row, column] = value * 1e-3
        return VelocityVerlet(
            atoms,
            npt.timestep,
            thermostat_time=self._thermostat_time if stage.ensemble == "nvt" else None,
            strain_rate=rate,
            seed=self._rng,
            state=state,
        )

    def _row(self, step: int, temperature: float) -> list[float]:
        dynamics = self._dynamics
        assert dynamics is not None
        stress = dynamics.stress
        return [
            0.0,
            float(step),
            temperature,
            dynamics.temperature,
            dynamics.evaluation.energy,
            dynamics.kinetic_energy,
            abs(float(self._atoms.cell.volume)),
            *(float(stress[row, column]) for row, column in _VOIGT),
        ]


class _ExchangeBlocks:
    """Blocks of exchanges between the steps of an integrator."""

    def __init__(
        self, potential: Potential, settings: ExchangeSettings, atoms: Atoms, timestep: float
    ) -> None:
        self._exchanges = exchanges_for(potential, atoms)
        self._pairs = settings.pairs_of(atoms.get_chemical_symbols())
        self._n_trials = settings.n_trials(len(atoms))
        self.interval = settings.steps(timestep)

    def no_counts(self) -> NDArray[np.int64]:
        return np.zeros((len(self._pairs), 2), dtype=np.int64)

    def run(
        self,
        dynamics: LangevinNPT | VelocityVerlet,
        temperature: float,
        generator: np.random.Generator,
        counts: NDArray[np.int64],
    ) -> None:
        atoms, before = dynamics.atoms, dynamics.evaluation.energy
        order, change = self._exchanges.run(
            atoms.positions,
            atoms.cell.array,
            generator.random((self._n_trials, 4)),
            temperature=temperature,
            pairs=self._pairs,
            counts=counts,
        )
        if np.array_equal(order, np.arange(len(atoms))):
            return
        dynamics.rearrange(order)
        disagreement = abs(dynamics.evaluation.energy - before - change) / len(atoms)
        if not disagreement < _LARGEST_DISAGREEMENT:
            raise PotentialFailureError(
                f"the energy of the exchanges differs from that of the calculator by "
                f"{disagreement:.2g} eV per atom",
                hint="report the potential to the developers of mgflows; run without exchanges",
            )
