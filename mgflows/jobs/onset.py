"""Onset of supercooling, from relaxation times of the equilibrium surrogate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jobflow import Maker, job

from mgflows.jobs.progress import JobProgress
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.sampling import OnsetDocument, RelaxationTable
from mgflows.surrogate import LennardJones

if TYPE_CHECKING:
    from mgflows.alloy import Alloy

__all__ = ["OnsetMaker"]


@dataclass
class OnsetMaker(Maker):
    """Measure the onset temperature, where the dynamics depart from Arrhenius behaviour.

    Paper, Methods, "Estimating the supercooling".

    Parameters
    ----------
    name
        Name of the job.
    lennard_jones
        The surrogate; by default the paper's or the estimate for the alloy's elements.
    reduced_temperatures
        T* at which tau_alpha is measured, from the hot liquid to below the onset.
    arrhenius_above
        T* above which the Arrhenius line is fitted.
    criterion
        Relative excess of tau_alpha over that line which defines the onset.
    n_runs
        Independent runs per temperature.
    longest_time
        t* after which a run that has not relaxed is abandoned.
    """

    name: str = "onset of supercooling"
    lennard_jones: LennardJones | None = None
    reduced_temperatures: tuple[float, ...] = (
        10.0,
        8.0,
        6.5,
        5.0,
        4.0,
        3.3,
        2.8,
        2.4,
        2.2,
        2.09,
        2.0,
        1.9,
    )
    arrhenius_above: float = 4.0
    criterion: float = 0.15
    n_runs: int = 4
    longest_time: float = 500.0

    @job(output_schema=OnsetDocument)
    def make(self, alloy: Alloy, seed: int) -> OnsetDocument:
        """Measure tau_alpha(T*) and find where it departs from the Arrhenius line."""
        from mgflows.surrogate.alpha_relaxation import (
            RelaxationSettings,
            measure_relaxation_times,
        )
        from mgflows.surrogate.supercooling import find_onset

        lj = self.lennard_jones or LennardJones.for_species(alloy.species)
        with record_provenance(seed=seed, settings=maker_settings(self, alloy=alloy)) as provenance:
            times = measure_relaxation_times(
                lj,
                alloy,
                self.reduced_temperatures,
                n_runs=self.n_runs,
                seed=seed,
                settings=RelaxationSettings(longest_time=self.longest_time),
                progress=JobProgress("runs"),
            )
            onset = find_onset(
                times.reduced_temperatures,
                times.log_relaxation_times,
                times.log_errors,
                arrhenius_above=self.arrhenius_above,
                criterion=self.criterion,
            )
            found = bool(np.isfinite(onset.reduced_temperature))
            energy, error = (
                times.inherent_energy(onset.reduced_temperature) if found else (None, None)
            )
        return OnsetDocument(
            reduced_temperature=onset.reduced_temperature if found else None,
            interval=(onset.low, onset.high)
            if found and np.isfinite(onset.low) and np.isfinite(onset.high)
            else None,
            e_is=energy,
            e_is_error=error,
            reduced_activation_energy=onset.reduced_activation_energy,
            relaxation=RelaxationTable(
                reduced_temperature=times.reduced_temperatures.tolist(),
                log_relaxation_time=times.log_relaxation_times.tolist(),
                log_error=times.log_errors.tolist(),
                e_is=times.e_is.tolist(),
                e_is_error=times.e_is_errors.tolist(),
            ),
            surrogate=lj,
            provenance=provenance,
        )
