"""Measure one sample of a validation."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import mgflows
from mgflows.errors import MgflowsError
from mgflows.files import digest_of_arrays
from mgflows.geometry import at_rest
from mgflows.md.engines import fastest_engine
from mgflows.md.engines.base import RunPausedError
from mgflows.md.potentials import CalculatorPotential
from mgflows.validation.glass_samples import measure_glass, measure_soundness, measure_yield
from mgflows.validation.melt_samples import measure_melt
from mgflows.validation.plan import protocol_of
from mgflows.validation.quench_samples import measure_quench
from mgflows.validation.sample import Sample, SampleInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms

    from mgflows.md.engines.base import Engine
    from mgflows.md.potentials import Potential
    from mgflows.validation.plan import SampleTask, SuiteProtocol
    from mgflows.validation.sample import Progress

__all__ = ["glass_digest", "measure_sample"]

logger = logging.getLogger(__name__)

_OFFSET = 3.1415926535e-7
"""A, moves the limits of the rounding away from numbers of few decimals, which files contain: the
rounding errors of a copy in fractional coordinates would otherwise change their digest."""


def glass_digest(glass: Atoms) -> str:
    """Digest of the species, the cell and the positions of a glass, both to 1e-6 A.

    It is the same for a copy that was stored in a database.
    """
    return digest_of_arrays(
        [
            (glass.numbers, 0),
            (glass.cell.array + _OFFSET, 6),
            (glass.get_positions() + _OFFSET, 6),
        ]
    )


def measure_sample(
    task: SampleTask,
    potential: Potential,
    glasses: Sequence[Atoms],
    suite: str | SuiteProtocol,
    *,
    engine: Engine | None = None,
    checkpoint: Path | None = None,
    wall_time: float | None = None,
    progress: Progress | None = None,
) -> Sample:
    """Measure one sample.

    Parameters
    ----------
    task
        A task of :func:`mgflows.validation.plan.plan_samples`.
    potential
        The potential of the task.
    glasses
        The given glasses, all of one composition.
    suite
        Name or protocol with which the task was planned.
    engine
        Engine of the dynamics; the fastest on this machine by default.
    checkpoint, wall_time, progress
        As for :meth:`mgflows.md.engines.Engine.run`.

    Returns
    -------
    Sample
        Quantities for which the potential fails are in ``failures``, those for which the sample is
        too short or too small in ``unresolved``; ``values`` contains nothing from a run that
        exploded.

    Raises
    ------
    RunPausedError
        At the wall time.
    """
    protocol, sample = protocol_of(suite), Sample()
    engine = engine or fastest_engine(potential)
    start = time.process_time()
    try:
        if task.kind in ("quench", "melt"):
            atoms = _start_structure(glasses[task.index % len(glasses)], task.n_atoms, task.seed)
        else:
            atoms = glasses[task.index]
        given = SampleInput(
            task,
            potential,
            engine,
            atoms,
            protocol,
            checkpoint=checkpoint,
            wall_time=wall_time,
            progress=progress,
        )
        measures = {
            "soundness": measure_soundness,
            "glass": measure_glass,
            "quench": measure_quench,
            "melt": measure_melt,
            "yield": measure_yield,
        }
        measures[task.kind](given, sample)
    except RunPausedError:
        raise
    except MgflowsError as error:
        if task.kind in ("quench", "melt"):
            # Nothing from a run that exploded later.
            sample = Sample()
        sample.failures[task.kind] = str(error)
    except Exception as error:
        # Third-party calculators raise errors of their own; from our code it would be a bug.
        if not isinstance(potential, CalculatorPotential):
            raise
        logger.warning("%s under %s", task.key, potential.name, exc_info=True)
        sample.failures[task.kind] = f"{type(error).__name__}: {error}"
    sample.cpu_seconds = round(time.process_time() - start, 2)
    sample.version = mgflows.__version__
    return sample


def _start_structure(glass: Atoms, n_atoms: int, seed: int) -> Atoms:
    """A disordered structure of a number of atoms with the composition of a glass, at rest."""
    if n_atoms in (0, len(glass)):
        return at_rest(glass)
    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.glasses import GlassProtocol, sample_glass

    symbols = glass.get_chemical_symbols()
    species = tuple(dict.fromkeys(symbols))
    composition = {symbol: symbols.count(symbol) / len(symbols) for symbol in species}
    lj = LennardJones.for_species(species)
    alloy = Alloy(composition, n_atoms=n_atoms, number_density=lj.number_density(composition))
    sampled = sample_glass(lj, alloy, GlassProtocol(100, equilibration_sweeps=100), seed)
    assert sampled is not None
    atoms = sampled.sampler.atoms
    return at_rest(atoms)
