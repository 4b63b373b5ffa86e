"""The supercooling clock: molecular-dynamics coolings of the surrogate, and the fit to them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, Maker, OnMissing, Response, job

from mgflows.checkpoints import remove_checkpoint
from mgflows.errors import InputError
from mgflows.files import write_text
from mgflows.jobs.progress import JobProgress
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.sampling import (
    EffectiveTimeRecord,
    SampleDocument,
    SupercoolingDocument,
    SurrogateCoolingDocument,
)
from mgflows.structures.order import OrderThresholds, analyse_order
from mgflows.surrogate import (
    LennardJones,
    SurrogateMolecularDynamics,
    SwapMonteCarlo,
    find_inherent_structure,
)
from mgflows.surrogate.supercooling import fit_supercooling_clock
from mgflows.surrogate.swap_monte_carlo import random_configuration

if TYPE_CHECKING:
    from mgflows.alloy import Alloy
    from mgflows.schemas.sampling import OnsetDocument

__all__ = ["SupercoolingMaker", "SurrogateMDMaker"]

logger = logging.getLogger(__name__)

_DYNAMICS = "checkpoint-dynamics-{}.npz"
_FINISHED_RUNS = "checkpoint-runs.json"


@dataclass
class SurrogateMDMaker(Maker):
    """Cool the surrogate with molecular dynamics: the reference of the supercooling clock.

    Paper, Methods, "Estimating the supercooling".

    Parameters
    ----------
    name
        Name of the jobs.
    lennard_jones
        The surrogate; by default the paper's or the estimate for the alloy's elements.
    reduced_temperature_high, reduced_temperature_low
        T* at the start and at the end.
    equilibration_sweeps
        Monte Carlo sweeps that melt the random start.
    thresholds
        Order parameters above which a run is left out of the clock.
    checkpoint_interval
        Seconds between checkpoints.
    """

    name: str = "surrogate molecular dynamics"
    lennard_jones: LennardJones | None = None
    reduced_temperature_high: float = 10.01
    reduced_temperature_low: float = 0.01
    equilibration_sweeps: int = 200
    thresholds: OrderThresholds = field(default_factory=OrderThresholds)
    checkpoint_interval: float = 60.0

    @job(output_schema=SurrogateCoolingDocument)
    def make(
        self, alloy: Alloy, time: float, seeds: list[int], checkpoint: str | None = None
    ) -> SurrogateCoolingDocument | Response[SurrogateCoolingDocument]:
        """Cool one run per seed within ``time`` (in t*) and minimise each.

        Parameters
        ----------
        alloy
            The alloy.
        time
            Duration of a cooling, t*.
        seeds
            One for each run.
        checkpoint
            Directory with the checkpoints of an earlier job of the same runs; it must be on a file
            system that both jobs share.
        """
        lj = self.lennard_jones or LennardJones.for_species(alloy.species)
        directory = Path(checkpoint) if checkpoint else Path.cwd()
        report = JobProgress("runs")
        settings = maker_settings(self, alloy=alloy, time=time, seeds=seeds)
        finished = directory / _FINISHED_RUNS
        runs: list[tuple[float, bool]] = (
            json.loads(finished.read_text(encoding="utf-8")) if finished.exists() else []
        )
        with record_provenance(settings=settings) as provenance:
            for number, seed in enumerate(seeds[len(runs) :], start=len(runs)):
                report(number, len(seeds))
                path = directory / _DYNAMICS.format(number)
                dynamics = self._cool(lj, alloy, time, seed, path)
                if dynamics is None:
                    logger.info("interrupted; a new job continues from %s", directory)
                    return Response(
                        replace=self.make(alloy, time, seeds, checkpoint=str(directory))
                    )
                relaxed, e_is = find_inherent_structure(dynamics.atoms, lj)
                runs.append(
                    (e_is / lj.energy_unit, analyse_order(relaxed, self.thresholds).ordered)
                )
                write_text(finished, json.dumps(runs))
                path.unlink(missing_ok=True)
        remove_checkpoint(finished)
        energies, ordered = [energy for energy, _ in runs], [flag for _, flag in runs]
        return SurrogateCoolingDocument(
            time_reduced=time,
            e_is_reduced=energies,
            seeds=seeds,
            ordered=ordered,
            surrogate=lj,
            provenance=provenance,
        )

    def _cool(
        self, lj: LennardJones, alloy: Alloy, time: float, seed: int, path: Path
    ) -> SurrogateMolecularDynamics | None:
        """Cool one run, from its checkpoint if there is one; None if it was interrupted."""
        if path.exists():
            dynamics = SurrogateMolecularDynamics.load(path)
            cooling = dynamics.resume(checkpoint=path, checkpoint_interval=self.checkpoint_interval)
        else:
            start = SwapMonteCarlo(lj, random_configuration(lj, alloy, seed), seed)
            start.equilibrate(self.equilibration_sweeps, self.reduced_temperature_high)
            dynamics = SurrogateMolecularDynamics(lj, start.atoms, seed=seed)
            cooling = dynamics.cool(
                time,
                reduced_temperature_high=self.reduced_temperature_high,
                reduced_temperature_low=self.reduced_temperature_low,
                checkpoint=path,
                checkpoint_interval=self.checkpoint_interval,
            )
        return dynamics if cooling.finished else None


@dataclass
class SupercoolingMaker(Maker):
    """Fit the supercooling clock and give every Monte Carlo sample its effective time.

    Parameters
    ----------
    name
        Name of the job.
    window
        Shortest and longest molecular-dynamics duration used in the fit, in t*; all by default.
    seed
        Seed of the bootstrap.
    """

    name: str = "supercooling clock"
    window: tuple[float, float] | None = None
    seed: int = 0

    @job(output_schema=SupercoolingDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(
        self,
        samples: list[SampleDocument | None],
        families: list[str],
        coolings: list[SurrogateCoolingDocument | None],
        onset: OnsetDocument | None = None,
    ) -> SupercoolingDocument:
        """Fit the clock.

        Parameters
        ----------
        samples, families
            Documents of the Monte Carlo samples (None where a job failed) and their families, in
            the same order.
        coolings
            Documents of the molecular-dynamics coolings.
        onset
            The onset of supercooling, if it was measured: effective times are then also given in
            decades above it.
        """
        runs = [cooling for cooling in coolings if cooling is not None]
        dated = [
            (family, sample)
            for family, sample in zip(families, samples, strict=True)
            if sample is not None
        ]
        if not runs:
            raise InputError(
                "no molecular-dynamics cooling to fit the clock to: all of them failed",
                hint="rerun those jobs, then this one",
            )
        lj = runs[0].surrogate
        dynamics = {
            cooling.time_reduced: [
                e
                for e, is_ordered in zip(cooling.e_is_reduced, cooling.ordered, strict=True)
                if not is_ordered
            ]
            for cooling in runs
        }
        if not any(dynamics.values()):
            raise InputError(
                f"all {sum(len(cooling.ordered) for cooling in runs)} molecular-dynamics coolings "
                "ended ordered, so that the clock has nothing to fit",
                hint="small cells form crystals: take more atoms",
            )
        with record_provenance(seed=self.seed, settings=maker_settings(self)) as provenance:
            times = [time for time, energies in sorted(dynamics.items()) for _ in energies]
            e_is = [
                energy * lj.energy_unit
                for _, energies in sorted(dynamics.items())
                for energy in energies
            ]
            clock = fit_supercooling_clock(
                times,
                e_is,
                lj=lj,
                window=self.window,
                seed=self.seed,
            )
            if onset and onset.e_is is not None:
                clock = clock.with_onset(onset.e_is, onset.e_is_error or 0.0)
            groups = []
            for n_sweeps in sorted({sample.n_sweeps for _, sample in dated}):
                members = np.array(
                    [s.e_is for _, s in dated if s.n_sweeps == n_sweeps and not s.ordered]
                )
                if len(members) == 0:
                    continue
                error = (
                    float(members.std(ddof=1) / np.sqrt(len(members))) if len(members) > 1 else 0.0
                )
                effective = clock.effective_time(float(members.mean()), error)
                groups.append(
                    EffectiveTimeRecord(
                        n_sweeps=n_sweeps,
                        n_samples=len(members),
                        e_is_reduced=float(members.mean()) / lj.energy_unit,
                        e_is_reduced_error=error / lj.energy_unit,
                        log10_time=effective.log10_time,
                        log10_time_low=effective.low,
                        log10_time_high=effective.high,
                        log10_seconds=effective.log10_seconds,
                        decades_above_onset=effective.decades_above_onset,
                        extrapolated=effective.extrapolated,
                    )
                )
        return SupercoolingDocument(
            clock=clock,
            dynamics={f"{time:g}": energies for time, energies in sorted(dynamics.items())},
            groups=groups,
            families={
                family: clock.effective_time(sample.e_is).log10_time for family, sample in dated
            },
            seconds_per_reduced_time=clock.time_unit * 1e-15,
            provenance=provenance,
        )
