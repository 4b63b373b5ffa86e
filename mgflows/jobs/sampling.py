"""Monte Carlo cooling runs of the surrogate."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jobflow import Maker, Response, job
from monty.json import jsanitize

from mgflows import units
from mgflows.checkpoints import remove_checkpoint
from mgflows.files import write_text
from mgflows.jobs.progress import JobProgress
from mgflows.moved import renamed
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.sampling import (
    Acceptance,
    SampleDocument,
    SampleSetDocument,
)
from mgflows.structures.order import OrderThresholds, analyse_order
from mgflows.surrogate import (
    LennardJones,
)
from mgflows.surrogate.glasses import (
    GlassProtocol,
    ProtocolName,
    batches,
    sample_glass,
    sample_replicas,
)
from mgflows.surrogate.processes import available_cores, run_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.cooling import CoolingProgress
    from mgflows.surrogate.glasses import SampledGlass

__all__ = ["SwapMonteCarloMaker"]

__getattr__ = renamed(__name__)

logger = logging.getLogger(__name__)

_CHECKPOINT = "checkpoint-swap-monte-carlo.npz"
_BATCH = "checkpoint-swap-monte-carlo-{:03d}.npz"
_FINISHED_BATCH = "checkpoint-samples-{:03d}.json"


@dataclass
class SwapMonteCarloMaker(Maker):
    """Cool glasses with swap Monte Carlo (paper, Methods, "Sampling PEL with swap-Monte Carlo").

    An interrupted job that is started again resumes from its checkpoint with bitwise the same
    result. A cooling longer than ``wall_time`` saves a checkpoint and is continued by a new job, as
    often as necessary, so that 10^9 sweeps run through any queue.

    Parameters
    ----------
    name
        Name of the jobs.
    lennard_jones
        The surrogate; by default the paper's or the estimate for the alloy's elements.
    reduced_temperature_high, reduced_temperature_low
        T* at the start and at the end of the paper's protocol (10.01 and 0.01).
    schedule
        Cooling schedule; linear in the paper.
    swap_fraction
        Fraction of moves that exchange two species (paper: 0.2).
    equilibration_sweeps
        Sweeps at the high temperature after random insertion; not stated in the paper.
    dtype
        Precision of the sampler.
    thresholds
        Order parameters above which a sample is flagged as ordered.
    checkpoint_interval
        Seconds between checkpoints.
    wall_time
        Seconds after which a new job continues; None: never. Choose a value some minutes below the
        limit of the queue.
    n_processes
        Processes of :meth:`make_set`; None: as many as the job has cores. The samples do not depend
        on it.
    protocol
        ``"paper"`` cools between the temperatures above; ``"efficient"`` between temperatures that
        follow from the onset of supercooling of the alloy and reach the same depth in fewer sweeps,
        see :meth:`mgflows.surrogate.glasses.GlassProtocol.of`.
    replicas
        Whether :meth:`make_set` cools up to sixteen samples side by side in single precision on one
        core; None: where it is faster, see :func:`mgflows.surrogate.glasses.batches`.
    """

    name: str = "swap monte carlo"
    lennard_jones: LennardJones | None = None
    reduced_temperature_high: float = 10.01
    reduced_temperature_low: float = 0.01
    schedule: Literal["linear", "exponential", "stepwise"] = "linear"
    swap_fraction: float = 0.2
    equilibration_sweeps: int = 1000
    dtype: Literal["float64", "float32"] = "float64"
    thresholds: OrderThresholds = field(default_factory=OrderThresholds)
    checkpoint_interval: float = 60.0
    wall_time: float | None = None
    n_processes: int | None = 1
    protocol: ProtocolName = "paper"
    replicas: Literal[False] | None = None

    @job(output_schema=SampleDocument)
    def make(
        self, alloy: Alloy, n_sweeps: int, seed: int, checkpoint: str | None = None
    ) -> SampleDocument | Response[SampleDocument]:
        """Cool one sample in ``n_sweeps`` sweeps.

        Parameters
        ----------
        alloy
            The alloy.
        n_sweeps
            Length of the cooling.
        seed
            Seed of start and sampling.
        checkpoint
            Checkpoint of an earlier job of the same cooling; it must be on a file system that both
            jobs share.
        """
        path = Path(checkpoint) if checkpoint else Path.cwd() / _CHECKPOINT
        report = JobProgress("sweeps")

        def show(state: CoolingProgress) -> None:
            report(state.sweeps_done, state.total_sweeps, f"T* = {state.reduced_temperature:.2f}")

        document = self._cool(alloy, n_sweeps, seed, path, show)
        if document is None:
            logger.info("the wall time is over; a new job continues from %s", path)
            return Response(replace=self.make(alloy, n_sweeps, seed, checkpoint=str(path)))
        remove_checkpoint(path)
        return document

    @job(output_schema=SampleSetDocument)
    def make_set(
        self,
        alloy: Alloy,
        n_sweeps: int,
        seeds: list[int],
        families: list[str],
        checkpoint: str | None = None,
    ) -> SampleSetDocument | Response[SampleSetDocument]:
        """Cool several samples in one job.

        They are cooled in the batches of :func:`mgflows.surrogate.glasses.batches`. A sample that
        is cooled alone equals that of :meth:`make` for its seed; one that is cooled side by side
        with others depends on the seeds of its batch, which its provenance lists.

        Parameters
        ----------
        alloy
            The alloy.
        n_sweeps
            Length of each cooling.
        seeds, families
            Seed and family of each sample.
        checkpoint
            Directory with the checkpoints of an earlier job of the same samples; it must be on a
            file system that both jobs share.
        """
        directory = Path(checkpoint) if checkpoint else Path.cwd()
        n_processes = self.n_processes or available_cores()
        settings = maker_settings(self, alloy=alloy, n_sweeps=n_sweeps, seeds=seeds)
        members = self.batches(alloy, len(seeds))
        with record_provenance(settings=settings, n_cores=n_processes) as provenance:
            samples: list[SampleDocument] = []
            for batch in self._cool_batches(
                alloy, n_sweeps, seeds, members, directory, n_processes
            ):
                if batch is None:
                    logger.info("the wall time is over; a new job continues from %s", directory)
                    return Response(
                        replace=self.make_set(
                            alloy, n_sweeps, seeds, families, checkpoint=str(directory)
                        )
                    )
                samples += batch
        for number in range(len(members)):
            remove_checkpoint(directory / _FINISHED_BATCH.format(number))
        return SampleSetDocument(families=families, samples=samples, provenance=provenance)

    def batches(self, alloy: Alloy, n_samples: int) -> list[range]:
        """Return which of several samples are cooled side by side; see :meth:`make_set`."""
        if self.replicas is False:
            return [range(number, number + 1) for number in range(n_samples)]
        return batches(self._surrogate(alloy), alloy, n_samples)

    def _cool_batches(
        self,
        alloy: Alloy,
        n_sweeps: int,
        seeds: list[int],
        members: list[range],
        directory: Path,
        n_processes: int,
    ) -> list[list[SampleDocument] | None]:
        """Cool or resume the batches; None for those that were stopped by the wall time."""
        report = JobProgress("sweeps")
        total = n_sweeps * len(seeds)

        def show(sweeps: Sequence[int]) -> None:
            done = (n * len(batch) for n, batch in zip(sweeps, members, strict=True))
            report(min(sum(done), total), total, f"{len(seeds)} samples")

        tasks = [
            ([seeds[number] for number in batch], number_of_batch)
            for number_of_batch, batch in enumerate(members)
        ]
        function = partial(self._cool_batch, alloy, n_sweeps, directory)
        results: list[list[SampleDocument] | None] = [None] * len(tasks)
        if n_processes > 1 and len(tasks) > 1:
            for number, result in run_in_processes(function, tasks, n_processes, show):
                results[number] = result
            return results
        sweeps = [0] * len(tasks)
        for number, task in enumerate(tasks):

            def note(done: int, number: int = number) -> None:
                sweeps[number] = done
                show(sweeps)

            results[number] = function(task, note)
            if results[number] is None:
                break
        return results

    def _cool_batch(
        self,
        alloy: Alloy,
        n_sweeps: int,
        directory: Path,
        task: tuple[list[int], int],
        note: Callable[[int], None],
    ) -> list[SampleDocument] | None:
        """Cool one batch, or read the samples that an interrupted job has finished."""
        seeds, number = task
        finished = directory / _FINISHED_BATCH.format(number)
        if finished.exists():
            note(n_sweeps)
            documents = json.loads(finished.read_text(encoding="utf-8"))
            return [SampleDocument.model_validate(document) for document in documents]
        path = directory / _BATCH.format(number)

        def follow(state: CoolingProgress) -> None:
            note(state.sweeps_done)

        if len(seeds) == 1:
            sample = self._cool(alloy, n_sweeps, seeds[0], path, follow)
            samples = None if sample is None else [sample]
        else:
            samples = self._cool_replicas(alloy, n_sweeps, seeds, path, follow)
        if samples is None:
            return None
        write_text(finished, json.dumps([jsanitize(s, strict=True) for s in samples]))
        path.unlink(missing_ok=True)
        return samples

    def _cool(
        self,
        alloy: Alloy,
        n_sweeps: int,
        seed: int,
        checkpoint: Path | None = None,
        progress: Callable[[CoolingProgress], None] | None = None,
    ) -> SampleDocument | None:
        """Cool one sample; None if the wall time was over first."""
        settings = maker_settings(self, alloy=alloy, n_sweeps=n_sweeps)
        with record_provenance(seed=seed, settings=settings) as provenance:
            glass = sample_glass(
                self._surrogate(alloy),
                alloy,
                self._protocol(alloy, n_sweeps),
                seed,
                progress=progress,
                checkpoint=checkpoint,
                checkpoint_interval=self.checkpoint_interval,
                wall_time=self.wall_time,
            )
            if glass is None:
                return None
            description = self._describe(alloy, n_sweeps, glass)
        return SampleDocument(**description, provenance=provenance)

    def _cool_replicas(
        self,
        alloy: Alloy,
        n_sweeps: int,
        seeds: list[int],
        checkpoint: Path,
        progress: Callable[[CoolingProgress], None],
    ) -> list[SampleDocument] | None:
        """Cool samples side by side; None if the wall time was over first."""
        settings = maker_settings(self, alloy=alloy, n_sweeps=n_sweeps, seeds=seeds)
        with record_provenance(settings=settings) as provenance:
            glasses = sample_replicas(
                self._surrogate(alloy),
                alloy,
                self._protocol(alloy, n_sweeps),
                seeds,
                progress=progress,
                checkpoint=checkpoint,
                checkpoint_interval=self.checkpoint_interval,
                wall_time=self.wall_time,
            )
            if glasses is None:
                return None
            descriptions = [self._describe(alloy, n_sweeps, glass) for glass in glasses]
        shares = {
            name: getattr(provenance, name) / len(seeds) for name in ("cpu_seconds", "wall_seconds")
        }
        return [
            SampleDocument(
                **description,
                replicas=len(seeds),
                provenance=provenance.model_copy(update={"seed": seed, **shares}),
            )
            for description, seed in zip(descriptions, seeds, strict=True)
        ]

    def _surrogate(self, alloy: Alloy) -> LennardJones:
        return self.lennard_jones or LennardJones.for_species(alloy.species)

    def _protocol(self, alloy: Alloy, n_sweeps: int) -> GlassProtocol:
        return GlassProtocol.of(
            self.protocol,
            self._surrogate(alloy),
            alloy,
            n_sweeps,
            reduced_temperature_high=self.reduced_temperature_high,
            reduced_temperature_low=self.reduced_temperature_low,
            schedule=self.schedule,
            swap_fraction=self.swap_fraction,
            equilibration_sweeps=self.equilibration_sweeps,
            dtype=self.dtype,
        )

    def _describe(self, alloy: Alloy, n_sweeps: int, glass: SampledGlass) -> dict[str, Any]:
        """Analyse a glass; return the fields of its document without the provenance."""
        lj, schedule = glass.sampler.lj, glass.cooling.schedule
        if alloy.glass_mass_density is not None:
            glass.sampler.check_density(alloy.glass_mass_density, schedule.reduced_temperature_low)
        order = analyse_order(glass.inherent_structure, self.thresholds)
        return {
            "structure": structure_from_atoms(glass.atoms),
            "inherent_structure": structure_from_atoms(glass.inherent_structure),
            "energy_lj": glass.energy_per_atom * lj.energy_unit,
            "e_is": glass.e_is,
            "e_is_reduced": glass.e_is / lj.energy_unit,
            "pressure_lj": _pressure(glass.atoms, lj),
            "n_sweeps": n_sweeps,
            "protocol": self.protocol,
            "reduced_cooling_rate": schedule.rate,
            "reduced_temperature_high": schedule.reduced_temperature_high,
            "reduced_temperature_low": schedule.reduced_temperature_low,
            "swap_fraction": self.swap_fraction,
            "acceptance": _acceptance(glass),
            "order": order,
            "ordered": order.ordered,
            "surrogate": lj,
        }


def _pressure(atoms: Atoms, lj: LennardJones) -> float:
    """Virial pressure of the surrogate in GPa."""
    atoms = atoms.copy()
    atoms.calc = lj.calculator()
    return units.pressure_from_stress(atoms.get_stress())


def _acceptance(glass: SampledGlass) -> dict[str, Acceptance]:
    """Accepted fractions against temperature: displacements by species, exchanges by pair."""
    sampler, history = glass.sampler, glass.cooling.history
    temperatures = history.reduced_temperature[1:]

    def column(fractions: NDArray[np.float64], index: int) -> Acceptance:
        values = [float(value) if np.isfinite(value) else None for value in fractions[:, index]]
        return Acceptance(reduced_temperature=temperatures, accepted_fraction=values)

    displacements, exchanges = history.displacement_acceptance, history.exchange_acceptance
    moves = {
        f"displacement {species}": column(displacements, index)
        for index, species in enumerate(sampler.lj.species)
    }
    return moves | {
        f"exchange {'-'.join(pair)}": column(exchanges, index)
        for index, pair in enumerate(sampler.exchange_pairs)
    }
