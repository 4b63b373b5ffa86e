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
class RadialDistributions:
    """Radial distribution functions by model: distances in A, totals, and partials by pair."""

    distance: dict[str, list[float]]
    total: dict[str, list[float]]
    partial: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Elasticity:
    """Mean and standard error of E, B, G (GPa) and ν by model, over the glasses."""

    moduli: dict[str, dict[str, tuple[float, float]]]
    n_glasses: int


@dataclass(frozen=True)
class Shear:
    """Athermal quasistatic shear of one glass by model.

    Parameters
    ----------
    energy
        Label energy of the glass in eV per atom, where there is one.
    moduli
        Shear modulus in GPa.
    curves
        (strain, stress in GPa) of each direction.
    """

    energy: float | None
    moduli: dict[str, float]
    curves: dict[str, list[tuple[list[float], list[float]]]]


@dataclass(frozen=True)
class Dimer:
    """Energy of two atoms (eV) over their distance (A).

    Parameters
    ----------
    pair
        Such as ``Cu-Zr``.
    distance, energy
        The curve.
    hole
        Where the atoms attract each other at short distance, in A; none if they repel.
    """

    pair: str
    distance: list[float]
    energy: list[float]
    hole: float | None


@dataclass(frozen=True)
class HeatCapacity:
    """Heat capacity in J/(mol K) over temperature in K, with standard errors."""

    temperature: list[float]
    heat_capacity: list[float]
    error: list[float]


MODELS = ("model", "reference")
"""Keys of a validation: the trained potential and the method it is compared with."""
_SHEAR_WINDOW = (0.004, 0.006)


def parity_of(potential: PotentialDocument) -> Parity | None:
    """The parity values of a potential, or none where they were not loaded or stored."""
    sides = {
        side: table
        for side, table in potential.parity.items()
        if isinstance(table, dict) and table.get("subset")
    }
    if not sides:
        return None

    def pairs(quantity: str) -> dict[str, Pair]:
        return {
            side: (_array(table[quantity]["reference"]), _array(table[quantity]["predicted"]))
            for side, table in sides.items()
        }

    return Parity(
        subsets={side: np.asarray(table["subset"], dtype=str) for side, table in sides.items()},
        energies=pairs("energy"),
        virials=pairs("virial"),
        forces=pairs("force"),
    )


def relaxation_of(
    family: str, label: LabelDocument, sample: SampleDocument | None
) -> RelaxationRecord | None:
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
        energies=sorted(
            (float(time), values) for time, values in document.dynamics.items() if values
        ),
    )


def radial_distributions_of(document: ValidationDocument) -> RadialDistributions | None:
    """The radial distribution functions of a validation."""
    curves = _curves(document, "radial_distribution")
    if not curves:
        return None
    return RadialDistributions(
        distance={model: curve["distance"] for model, curve in curves.items()},
        total={model: curve["total"] for model, curve in curves.items()},
        partial={model: curve["partial"] for model, curve in curves.items()},
    )


def elasticity_of(document: ValidationDocument) -> Elasticity | None:
    """Elastic constants of a validation: means over its glasses with standard errors."""
    names = {"E": "young_modulus", "B": "bulk_modulus", "G": "shear_modulus", "ν": "poisson_ratio"}
    found = {
        model: summary
        for model in MODELS
        if (summary := document.summary.get(model)) and summary["n_elastic"]
    }
    if not found:
        return None
    moduli = {
        model: {
            name: (summary[key], _standard_error(summary[f"{key}_std"], summary["n_elastic"]))
            for name, key in names.items()
        }
        for model, summary in found.items()
    }
    return Elasticity(
        moduli=moduli, n_glasses=max(summary["n_elastic"] for summary in found.values())
    )


def shear_of(document: ValidationDocument) -> list[Shear]:
    """Athermal quasi-static shear, one entry per sheared glass.

    The moduli are those of the document, without plastic events; documents of version 0.1 have
    none, and theirs are fitted here. A direction without an elastic slope has no modulus.
    """
    energies = document.curves.get("energies", {}).get("reference", [])
    glasses: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for model, curves in _curves(document, "shear").items():
        n_directions = len(curves) // max(document.summary[model]["n_shear"], 1)
        for number, curve in enumerate(curves):
            glass = curve.get("glass", number // max(n_directions, 1))
            glasses.setdefault(glass, {}).setdefault(model, []).append(curve)
    entries = []
    for glass, found in sorted(glasses.items()):
        moduli = {model: list(map(_shear_modulus, curves)) for model, curves in found.items()}
        entries.append(
            Shear(
                energy=energies[glass] if glass < len(energies) else None,
                moduli={
                    model: float(np.nanmean(values))
                    for model, values in moduli.items()
                    if np.isfinite(values).any()
                },
                curves={
                    model: [(curve["strain"], curve["stress"]) for curve in curves]
                    for model, curves in found.items()
                },
            )
        )
    return entries


def landscape_of(document: ValidationDocument) -> Pair | None:
    """Label energies and energies of the potential of the same glasses in eV per atom, or none without a reference."""
    energies = document.curves.get("energies", {})
    if not energies.get("model") or not energies.get("reference"):
        return None
    return _array(energies["reference"]), _array(energies["model"])


def dimers_of(document: ValidationDocument) -> list[Dimer]:
    """Dimer curves of the potential."""
    verdicts = document.summary.get("dimers", {})
    return [
        Dimer(
            pair=pair,
            distance=curve["distance"],
            energy=curve["energy"],
            hole=verdicts[pair]["hole"],
        )
        for pair, curve in document.curves.get("dimers", {}).items()
    ]


def heat_capacities_of(document: ValidationDocument) -> dict[str, HeatCapacity]:
    """Heat capacity by model; empty where the suite has none."""
    return {
        model: HeatCapacity(**curve) for model, curve in _curves(document, "heat_capacity").items()
    }


def viscosities_of(document: ValidationDocument) -> dict[str, tuple[float, float]]:
    """Viscosity and its standard error in mPa s by model; empty where the suite has none."""
    found = {
        model: summary
        for model in MODELS
        if (summary := document.summary.get(model)) and "viscosity" in summary
    }
    return {
        model: (
            summary["viscosity"],
            np.nan if summary["viscosity_error"] is None else summary["viscosity_error"],
        )
        for model, summary in found.items()
    }


def _curves(document: ValidationDocument, quantity: str) -> dict[str, Any]:
    """The curves of one quantity by model, of the models that have them."""
    return {
        model: curves[quantity]
        for model in MODELS
        if (curves := document.curves.get(model)) and curves.get(quantity)
    }


def _shear_modulus(curve: dict[str, Any]) -> float:
    """Shear modulus of a direction in GPa; nan where it has none."""
    if "shear_modulus" in curve:
        return np.nan if curve["shear_modulus"] is None else float(curve["shear_modulus"])
    from mgflows.validation.shear import elastic_slope

    low, high = _SHEAR_WINDOW
    strain, stress = _array(curve["strain"]), _array(curve["stress"])
    chosen = (strain >= low - 1e-9) & (strain <= high + 1e-9)
    return elastic_slope(strain[chosen], stress[chosen], np.zeros(chosen.sum(), dtype=bool))


def _standard_error(deviation: float | None, n_glasses: int) -> float:
    return np.nan if deviation is None else deviation / float(np.sqrt(n_glasses))


def _array(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)
