"""Fitness of the surrogate: correlation of its energies with the labels, and the label pressure.

The method requires a linear relation between the surrogate energy and the label energy (paper,
section II, Fig. 2b). Otherwise, low-energy samples of the surrogate are not low in energy for the
labelling method. A few labels suffice to check it before the others are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.fits import LinearFit, fit_line

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "FitnessLimits",
    "LabelledSample",
    "RateFitness",
    "SurrogateFitness",
    "choose_pilots",
    "measure_fitness",
]


@dataclass(frozen=True)
class LabelledSample:
    """One sample of the surrogate and its label.

    Parameters
    ----------
    family
        Family of the sample.
    n_sweeps
        Its cooling length in sweeps.
    energy_lj
        Surrogate energy of the structure that was labelled, eV per atom.
    e_is
        Surrogate energy of its inherent structure, eV per atom.
    energy_label
        Label energy, eV per atom.
    pressure
        Label pressure, GPa, positive when compressed.
    """

    family: str
    n_sweeps: int
    energy_lj: float
    e_is: float
    energy_label: float
    pressure: float


@dataclass(frozen=True)
class RateFitness:
    """The samples of one cooling length.

    Parameters
    ----------
    n_sweeps
        Their cooling length in sweeps.
    n_samples
        Number of labelled samples.
    energy_lj, energy_label
        Mean energies, eV per atom.
    fit
        Label energy against surrogate energy within this length; None below three samples. The
        energies of one length differ little, so this slope has a large error.
    pressure
        Mean label pressure, GPa.
    """

    n_sweeps: int
    n_samples: int
    energy_lj: float
    energy_label: float
    fit: LinearFit | None
    pressure: float


@dataclass(frozen=True)
class SurrogateFitness:
    """Comparison of the surrogate with the labels.

    Parameters
    ----------
    n_samples
        Number of labelled samples.
    fit
        Label energy against surrogate energy of the same structure, all cooling lengths together;
        None below three samples.
    fit_inherent
        The same against the energy of the sample's inherent structure, e_IS.
    rates
        One entry for each cooling length, the shortest first.
    pressure, pressure_std
        Mean label pressure of the samples and its standard deviation, GPa. A large pressure means
        that the surrogate's density differs from that of the labelling method.
    """

    n_samples: int
    fit: LinearFit | None
    fit_inherent: LinearFit | None
    rates: tuple[RateFitness, ...]
    pressure: float
    pressure_std: float


@dataclass(frozen=True)
class FitnessLimits:
    """Requirements on the surrogate before the remaining labels are computed.

    Parameters
    ----------
    minimum_slope
        The label energy must rise by more than this for each eV of surrogate energy.
    minimum_r2
        Smallest fraction of the variance of the label energies that the surrogate's energies must
        explain. The default of 0.5 is far below the values that the tables of this package reach
        (docs/concepts/fitness.md) and far above that of an unrelated potential with twenty samples.
    pressure
        Lowest and highest mean label pressure in GPa; None for no limits. Cu46Zr46Al8 at the
        paper's density is at about +38 GPa by every method.
    """

    minimum_slope: float = 0.0
    minimum_r2: float = 0.5
    pressure: tuple[float, float] | None = (-10.0, 100.0)

    def violations(self, fitness: SurrogateFitness) -> list[str]:
        """Return the violated limits, one phrase each; empty if there are none."""
        if fitness.fit is None:
            return [
                (
                    f"{fitness.n_samples} labelled samples are too few, or too alike, for a line "
                    "through their energies"
                )
            ]
        found = []
        fit = fitness.fit
        if not fit.slope > self.minimum_slope:
            found.append(
                f"the label energy changes by {fit.slope:.2f} +- {fit.slope_error:.2f} eV for "
                f"each eV of the surrogate's, but must change by more than {self.minimum_slope:g}"
            )
        if not fit.r2 >= self.minimum_r2:
            found.append(
                f"the surrogate's energies explain {100.0 * max(fit.r2, 0.0):.3g}% of the "
                "variance of the label energies, but must explain at least "
                f"{100.0 * self.minimum_r2:.3g}%"
            )
        if (
            self.pressure is not None
            and not self.pressure[0] <= fitness.pressure <= self.pressure[1]
        ):
            low, high = self.pressure
            found.append(
                f"the mean label pressure of the samples is {fitness.pressure:+.0f} GPa, outside "
                f"{low:g} to {high:g}"
            )
        return found

    def summary(self, fitness: SurrogateFitness) -> str:
        """Summarise the fitness of a surrogate without violations."""
        assert fitness.fit is not None
        return (
            f"over {fitness.n_samples} samples the label energy follows the surrogate's with a "
            f"slope of {fitness.fit.slope:.2f} and R2 = {fitness.fit.r2:.2f}, at "
            f"{fitness.pressure:+.0f} GPa"
        )


def measure_fitness(samples: Sequence[LabelledSample]) -> SurrogateFitness:
    """Compare surrogate and label energies, over all samples and within each cooling length.

    Raises
    ------
    InputError
        If there are no samples, or an energy or a pressure is not finite.
    """
    if not samples:
        raise InputError(
            "no sample of the surrogate has a label yet", hint="label some samples first"
        )
    for sample in samples:
        values = (sample.energy_lj, sample.e_is, sample.energy_label, sample.pressure)
        if not np.isfinite(values).all():
            raise InputError(
                f"sample {sample.family} has an energy or a pressure that is not finite",
                hint="leave it out",
            )
    label = [sample.energy_label for sample in samples]
    pressure = np.array([sample.pressure for sample in samples])
    return SurrogateFitness(
        n_samples=len(samples),
        fit=fit_line([sample.energy_lj for sample in samples], label),
        fit_inherent=fit_line([sample.e_is for sample in samples], label),
        rates=tuple(
            _measure_rate(length, [sample for sample in samples if sample.n_sweeps == length])
            for length in sorted({sample.n_sweeps for sample in samples})
        ),
        pressure=float(pressure.mean()),
        pressure_std=float(pressure.std(ddof=1)) if len(samples) > 1 else float("nan"),
    )


def choose_pilots(n_sweeps: Sequence[int], n_pilots: int) -> list[int]:
    """Choose the samples to label first: equally many of each cooling length.

    Within a length they are evenly spread. Equal numbers make the fit more precise, because most
    samples of a campaign have short cooling lengths.

    Parameters
    ----------
    n_sweeps
        Cooling length of each sample.
    n_pilots
        Number of samples to choose; all if there are fewer.

    Returns
    -------
    list of int
        Indices into ``n_sweeps`` in ascending order.
    """
    places = {
        length: [i for i, other in enumerate(n_sweeps) if other == length]
        for length in sorted(set(n_sweeps))
    }
    counts = dict.fromkeys(places, 0)
    left = min(n_pilots, len(n_sweeps))
    while left > 0:
        for length, members in places.items():
            if left > 0 and counts[length] < len(members):
                counts[length] += 1
                left -= 1
    chosen = [
        members[i]
        for length, members in places.items()
        for i in np.linspace(0, len(members) - 1, counts[length]).round().astype(int)
    ]
    return sorted(chosen)


def _measure_rate(n_sweeps: int, samples: Sequence[LabelledSample]) -> RateFitness:
    surrogate, label = (
        [sample.energy_lj for sample in samples],
        [sample.energy_label for sample in samples],
    )
    return RateFitness(
        n_sweeps=n_sweeps,
        n_samples=len(samples),
        energy_lj=float(np.mean(surrogate)),
        energy_label=float(np.mean(label)),
        fit=fit_line(surrogate, label),
        pressure=float(np.mean([sample.pressure for sample in samples])),
    )
