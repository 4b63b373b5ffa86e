"""What the figures draw: small typed records, read from the documents' open dictionaries in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mgflows.schemas.labels import LabelDocument
    from mgflows.schemas.sampling import SampleDocument, SupercoolingDocument
    from mgflows.schemas.training import PotentialDocument
    from mgflows.schemas.validation import ValidationDocument

    Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
    Subsets = NDArray[np.str_]


@dataclass(frozen=True)
class RelaxationRecord:
    """A surrogate sample before and after its relaxation by the labelling method.

    Parameters
    ----------
    family
        The sample.
    n_sweeps
        Its cooling length.
    energy_lj
        Surrogate energy of the sample in eV per atom.
    energy_before, energy_after
        Label energy before and after in eV per atom.
    displacements
        Magnitudes in A without rigid shift and affine cell change.
    delta_cb, delta_cb_affine
        Preserved fraction of bonds, with the relaxed structure in its own cell and scaled back into the initial one.
    relative_volume
        Volume after over volume before.
    """

    family: str
    n_sweeps: int | None
    energy_lj: float | None
    energy_before: float
    energy_after: float
    displacements: list[float]
    delta_cb: float
    delta_cb_affine: float
    relative_volume: float


@dataclass(frozen=True)
class StageCost:
    """What one stage of the campaign took.

    Parameters
    ----------
    stage
        Name of the stage.
    n_jobs
        Finished jobs.
    wall_seconds, cpu_seconds
        Summed over the jobs.
    """

    stage: str
    n_jobs: int
    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Clock:
    """The log law of the inherent-structure energy, ``e_IS = intercept + slope log10(t*)`` (paper, section II).

    Parameters
    ----------
    slope, slope_error
        Energy per decade, in units of the reference species' epsilon.
    intercept
        Energy at t* = 1.
    draws
        (n, 2) intercepts and slopes of the bootstrap.
    log10_window
        The fit window in log10 t*.
    log10_onset_time
        log10 of the onset time in t*; none where it was not measured.
    energies
        Time in t* and the inherent-structure energies of the coolings of that length.
    """

    slope: float
    slope_error: float
    intercept: float
    draws: NDArray[np.float64]
    log10_window: tuple[float, float]
    log10_onset_time: float | None
    energies: list[tuple[float, list[float]]]

    def energy_at(self, log10_time: ArrayLike) -> NDArray[np.float64]:
        """The law at log10 t*."""
        return self.intercept + self.slope * np.asarray(log10_time, dtype=float)

    def interval_at(self, log10_time: ArrayLike) -> NDArray[np.float64]:
        """(2, n) ends of the 68% interval of the law at log10 t*."""
        lines = self.draws[:, :1] + self.draws[:, 1:] * np.asarray(log10_time, dtype=float)
        return np.percentile(lines, (16.0, 84.0), axis=0)


@dataclass(frozen=True)
class Parity:
    """Labels and predictions, by side (``train``, ``test``), each as (reference, predicted).

    Parameters
    ----------
    subsets
        Subset of each frame.
    energies
        (n,) eV per atom.
    virials
        (n, 6) eV per atom.
    forces
        (m,) components in eV/A; a random choice where there are many.
    """

    subsets: dict[str, Subsets]
    energies: dict[str, Pair]
    virials: dict[str, Pair]
    forces: dict[str, Pair]


@dataclass(frozen=True)
class RadialDistribution:
    """Radial distribution functions by model (``nep``, ``reference``); distances in A."""

    radii: dict[str, list[float]]
    total: dict[str, list[float]]
    partials: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Elasticity:
    """Mean and standard error of E, B, G (GPa) and ν by model."""

    moduli: dict[str, dict[str, tuple[float, float]]]
    n_samples: int


@dataclass(frozen=True)
class Shear:
    """Athermal quasistatic shear of one glass: energy (eV per atom), G (GPa) and (strain, stress in GPa) by model."""

    family: str
    energy: float | None
    moduli: dict[str, float]
    curves: dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class LandscapePoint:
    """One relaxed glass: label energy and energy of the potential in eV per atom."""

    family: str
    reference: float
    predicted: float


@dataclass(frozen=True)
class Dimer:
    """Energies of a pair of atoms (eV) over their distance (A) by model, and whether the potential attracts where it should repel."""

    pair: str
    distances: list[float]
    energies: dict[str, list[float]]
    has_hole: bool


def parity_of(potential: PotentialDocument) -> Parity | None:
    """The parity values of a potential, or none where they were not loaded or stored."""
    sides = {side: table for side, table in potential.parity.items() if isinstance(table, dict) and table.get("subset")}
    if not sides:
        return None

    def pairs(quantity: str) -> dict[str, Pair]:
        return {side: (_array(table[quantity]["reference"]), _array(table[quantity]["predicted"])) for side, table in sides.items()}

    return Parity(
        subsets={side: np.asarray(table["subset"], dtype=str) for side, table in sides.items()},
        energies=pairs("energy"),
        virials=pairs("virial"),
        forces=pairs("force"),
    )


def relaxation_of(family: str, label: LabelDocument, sample: SampleDocument | None) -> RelaxationRecord | None:
    """What a relaxation changed, or none for a label without relaxation."""
    relaxation = label.relaxation
    if not relaxation or "displacements" not in relaxation:
        return None
    return RelaxationRecord(
        family=family,
        n_sweeps=sample.n_sweeps if sample is not None else None,
        energy_lj=sample.energy_lj if sample is not None else None,
        energy_before=relaxation["energy_per_atom_before"],
        energy_after=label.energy_per_atom,
        displacements=relaxation["displacements"],
        delta_cb=relaxation["delta_cb"],
        delta_cb_affine=relaxation["delta_cb_affine"],
        relative_volume=relaxation["relative_volume"],
    )


def clock_of(document: SupercoolingDocument) -> Clock:
    """The clock with the coolings it was fitted to."""
    from mgflows.surrogate.supercooling import SupercoolingClock

    clock = SupercoolingClock.from_dict(document.clock)
    low, high = np.log10(clock.window)
    return Clock(
        slope=clock.slope,
        slope_error=clock.slope_error,
        intercept=clock.intercept,
        draws=clock.bootstrap,
        log10_window=(float(low), float(high)),
        log10_onset_time=None if clock.onset_time is None else float(np.log10(clock.onset_time)),
        energies=sorted((float(time), values) for time, values in document.dynamics.items() if values),
    )


def radial_distribution_of(document: ValidationDocument) -> RadialDistribution | None:
    """The radial distribution functions of a validation."""
    models = _by_model(document.results.get("rdf"))
    if not models:
        return None
    return RadialDistribution(
        radii={model: table["r"] for model, table in models.items()},
        total={model: table["total"] for model, table in models.items()},
        partials={model: table.get("partials", {}) for model, table in models.items()},
    )


def elasticity_of(document: ValidationDocument) -> Elasticity | None:
    """Mean elastic constants of a validation."""
    models = _by_model(document.results.get("elasticity"))
    if not models:
        return None
    return Elasticity(moduli={}, n_samples=0)


def shear_of(document: ValidationDocument) -> list[Shear]:
    """Athermal quasistatic shear, one entry a glass."""
    return []


def landscape_of(document: ValidationDocument) -> list[LandscapePoint]:
    """Energies of relaxed glasses."""
    return []


def dimers_of(document: ValidationDocument) -> list[Dimer]:
    """Dimer curves."""
    return []


def _by_model(results: Any) -> dict[str, Any]:
    return {model: results[model] for model in ("nep", "reference") if isinstance(results, dict) and results.get(model)}


def _array(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)
