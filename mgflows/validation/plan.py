"""Plan of a validation: independent samples with a forecast of their cost.

Every sample is one glass, one glass sheared to yield, one quench, one melt at one temperature, or
the checks of soundness, under one potential. Samples run in any order and on any machine, may fail,
and can be added later; :mod:`mgflows.validation.comparison` averages those that exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.errors import InputError
from mgflows.md.potentials import EamPotential, NepPotential, StandInPotential

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mgflows.md.potentials import Potential

__all__ = [
    "PROTOCOLS",
    "Kind",
    "SampleTask",
    "SuiteProtocol",
    "forecast",
    "plan_further_melts",
    "plan_samples",
]

Kind = Literal["soundness", "glass", "quench", "melt", "yield"]

_MICROSECONDS = {"eam": 1.6, "nep": 17.0, "calculator": 60.0}
"""Processor time per atom and step in µs, from `mgflows bench md`; a guess for ASE calculators."""
_STATIC_MICROSECONDS = _MICROSECONDS | {"eam": 10.0}
"""The same for minimisations, in which an embedded-atom table is an ASE calculator."""
_GLASS_EVALUATIONS = 1300
"""Force evaluations in a relaxation and twelve strained cells of 150 atoms
(docs/concepts/validation.md)."""
_EVALUATIONS_PER_STRAIN = 25
_EVALUATIONS_PER_YIELD_STRAIN = 90
"""More than below yield: avalanches take hundreds."""


@dataclass(frozen=True)
class SuiteProtocol:
    """How much a suite measures; the defaults are the paper's (section III).

    Parameters
    ----------
    n_glasses
        Glasses strained for elastic constants and sheared.
    shear_directions, shear_strain
        Planes of the quasi-static shear, and its largest strain.
    n_yield, yield_strain, yield_step
        Glasses sheared beyond yield in the first plane, the largest strain, and its steps.
    n_quenches, quench_atoms, cooling_rate
        Glasses cooled from 2000 to 300 K, their atoms, and K/ps.
    hold_time, n_frames
        ps at 300 K, and frames averaged for the structure.
    melt_temperatures, n_melts, melt_atoms, melt_time
        K of the melts, independent runs at each, their atoms, and ps sampled.
    wavenumber
        1/A of the self-intermediate scattering function, whose decay to 1/e is tau_alpha: the
        first peak of S(q), 2.7 in melts of Cu-Zr-Al.
    equilibration_time
        ps before a melt is cooled or sampled.
    melt_error, n_melts_most
        Relative standard error of the viscosity at which it counts as converged, and the number
        of runs per temperature up to which more are added until it is reached.
    hot_time, drift_time
        ps at 2000 K, and at constant energy, of the checks of soundness.
    """

    n_glasses: int = 85
    shear_directions: tuple[str, ...] = ("xy", "xz", "yz")
    shear_strain: float = 0.006
    n_yield: int = 0
    yield_strain: float = 0.2
    yield_step: float = 1e-3
    n_quenches: int = 80
    quench_atoms: int = 1500
    cooling_rate: float = 0.1
    hold_time: float = 20.0
    n_frames: int = 100
    melt_temperatures: tuple[float, ...] = (1400.0, 1450.0, 1500.0, 1550.0, 1600.0, 1650.0)
    n_melts: int = 20
    melt_atoms: int = 4500
    melt_time: float = 1000.0
    wavenumber: float = 2.7
    equilibration_time: float = 20.0
    melt_error: float = 0.05
    n_melts_most: int = 20
    hot_time: float = 20.0
    drift_time: float = 5.0


PROTOCOLS: dict[str, SuiteProtocol] = {
    "tiny": SuiteProtocol(
        n_glasses=1,
        shear_directions=("xy",),
        n_quenches=1,
        quench_atoms=0,
        cooling_rate=4000.0,
        hold_time=0.2,
        n_frames=5,
        melt_temperatures=(),
        n_melts=0,
        melt_atoms=0,
        melt_time=0.0,
        equilibration_time=0.2,
        hot_time=3.0,
        drift_time=0.1,
    ),
    "quick": SuiteProtocol(
        n_glasses=2,
        shear_directions=("xy",),
        n_yield=1,
        n_quenches=2,
        quench_atoms=0,
        cooling_rate=400.0,
        hold_time=2.0,
        n_frames=20,
        melt_temperatures=(1600.0,),
        n_melts=1,
        melt_atoms=0,
        melt_time=10.0,
        equilibration_time=1.0,
        n_melts_most=1,
        hot_time=3.0,
        drift_time=1.0,
    ),
    "standard": SuiteProtocol(
        n_glasses=8,
        n_yield=4,
        n_quenches=4,
        quench_atoms=400,
        cooling_rate=50.0,
        hold_time=5.0,
        n_frames=50,
        melt_temperatures=(1400.0, 1500.0, 1650.0),
        n_melts=2,
        melt_atoms=400,
        melt_time=40.0,
        equilibration_time=4.0,
        n_melts_most=6,
        hot_time=5.0,
        drift_time=2.0,
    ),
    "paper": SuiteProtocol(),
}
"""``tiny`` is for tests; ``quick`` takes minutes on a laptop, ``standard`` about an hour with a
NEP; ``paper`` has the paper's numbers and needs a cluster. Where the number of atoms is 0, that of
the given glasses is taken."""


@dataclass(frozen=True)
class SampleTask:
    """One sample of one potential.

    Parameters
    ----------
    potential
        Specification, see :func:`mgflows.md.potentials.parse_potential`.
    kind
        ``soundness``, ``glass`` (elastic constants and shear), ``yield`` (shear beyond yield),
        ``quench`` (structure, thermodynamics) or ``melt`` (viscosity, diffusion, relaxation).
    index
        Number among the samples of the same kind and temperature; for a glass its position in the
        given list.
    temperature
        K of a melt.
    seed
        Seed of its random numbers, the same for every potential.
    n_atoms
        Number of atoms; 0 for that of the glass.
    seconds
        Forecast of the processor time on one core.
    """

    potential: str
    kind: Kind
    index: int
    temperature: float | None
    seed: int
    n_atoms: int
    seconds: float

    @property
    def key(self) -> str:
        """Identifies the sample within the validation of a potential."""
        at = "" if self.temperature is None else f" {self.temperature:g} K"
        return f"{self.kind}{at} {self.index + 1}"


def plan_samples(
    suite: str | SuiteProtocol,
    potentials: Sequence[Potential],
    *,
    n_glasses: int,
    glass_atoms: int,
    seed: int = 0,
    first: int = 0,
    name_of: Callable[[Potential], str] = attrgetter("specification"),
) -> list[SampleTask]:
    """List the samples of a validation, each with its forecast cost.

    Parameters
    ----------
    suite
        A name in :data:`PROTOCOLS`, or a protocol.
    potentials
        Each gets the same samples with the same random numbers.
    n_glasses, glass_atoms
        Glasses given, and atoms in each.
    seed
        Seed of all samples.
    first
        Number of the first quench and melt. To add samples to an earlier validation, give the
        number that it has; glasses, shear to yield and soundness checks are then left out.
    name_of
        Returns the string that identifies a potential in its tasks.

    Raises
    ------
    InputError
        For an unknown suite, or no glass.
    """
    protocol = protocol_of(suite)
    if n_glasses < 1:
        raise InputError("there is no glass to validate on", hint="give at least one structure")
    tasks = []
    for potential in potentials:
        speed = _speed_class(potential)
        dynamics, static = 1e-6 * _MICROSECONDS[speed], 1e-6 * _STATIC_MICROSECONDS[speed]

        def add(
            kind: Kind,
            index: int,
            n_atoms: int,
            evaluations: float,
            temperature: float | None = None,
            potential: Potential = potential,
            dynamics: float = dynamics,
            static: float = static,
        ) -> None:
            cost = static if kind in ("glass", "yield") else dynamics
            numbers = [seed, _KINDS.index(kind), index, round(temperature or 0.0)]
            tasks.append(
                SampleTask(
                    potential=name_of(potential),
                    kind=kind,
                    index=index,
                    temperature=temperature,
                    seed=int(np.random.SeedSequence(numbers).generate_state(1)[0]),
                    n_atoms=n_atoms,
                    seconds=round(cost * evaluations * (n_atoms or glass_atoms), 1),
                )
            )

        if first == 0:
            hot = 1e3 * (1.2 * protocol.hot_time / 2.0 + protocol.drift_time)
            add("soundness", 0, 0, hot + 100)
            strains = protocol.shear_strain / 5e-4 * len(protocol.shear_directions)
            for index in range(min(protocol.n_glasses, n_glasses)):
                add("glass", index, 0, _GLASS_EVALUATIONS + _EVALUATIONS_PER_STRAIN * strains)
            strains = protocol.yield_strain / protocol.yield_step
            for index in range(min(protocol.n_yield, n_glasses)):
                add("yield", index, 0, 400 + _EVALUATIONS_PER_YIELD_STRAIN * strains)
        quench_time = (
            protocol.equilibration_time + 1700.0 / protocol.cooling_rate + 1.2 * protocol.hold_time
        )
        for index in range(first, first + protocol.n_quenches):
            add("quench", index, protocol.quench_atoms, quench_time * 500.0)
        for temperature in protocol.melt_temperatures:
            for index in range(first, first + protocol.n_melts):
                time = 2.0 * protocol.equilibration_time + protocol.melt_time
                add("melt", index, protocol.melt_atoms, time * 500.0, temperature)
    return tasks


def plan_further_melts(
    suite: str | SuiteProtocol,
    potentials: Sequence[Potential],
    *,
    n_glasses: int,
    glass_atoms: int,
    seed: int = 0,
    first: int = 0,
    name_of: Callable[[Potential], str] = attrgetter("specification"),
) -> list[SampleTask]:
    """List the melts that may follow those of :func:`plan_samples`, up to the limit of the suite.

    :func:`mgflows.validation.comparison.next_melts` chooses those that are needed.

    Parameters
    ----------
    suite, potentials, n_glasses, glass_atoms, seed, first, name_of
        Those given to :func:`plan_samples`.
    """
    protocol = protocol_of(suite)
    if not protocol.n_melts:
        return []
    tasks = []
    for number in range(first + protocol.n_melts, protocol.n_melts_most, protocol.n_melts):
        tasks += plan_samples(
            protocol,
            potentials,
            n_glasses=n_glasses,
            glass_atoms=glass_atoms,
            seed=seed,
            first=number,
            name_of=name_of,
        )
    return [task for task in tasks if task.kind == "melt" and task.index < protocol.n_melts_most]


def protocol_of(suite: str | SuiteProtocol) -> SuiteProtocol:
    """The numbers of a suite by name."""
    if isinstance(suite, SuiteProtocol):
        return suite
    if suite not in PROTOCOLS:
        raise InputError(
            f"the suite {suite!r} is unknown", hint=f"choose one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[suite]


def forecast(tasks: Sequence[SampleTask]) -> dict[str, tuple[int, float]]:
    """Number of samples and core hours by kind, of all potentials."""
    found: dict[str, tuple[int, float]] = {}
    for task in tasks:
        n, hours = found.get(task.kind, (0, 0.0))
        found[task.kind] = (n + 1, hours + task.seconds / 3600.0)
    return found


_KINDS: tuple[Kind, ...] = ("soundness", "glass", "quench", "melt", "yield")


def _speed_class(potential: Potential) -> str:
    if isinstance(potential, EamPotential | StandInPotential):
        return "eam"
    return "nep" if isinstance(potential, NepPotential) else "calculator"
