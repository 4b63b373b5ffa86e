"""Errors by subset or by decade of effective time, and whether they meet a target.

The certificate of a potential compares its errors for frames outside the training set with the
errors that a committee estimates for the same frames, per decade of supercooling. An estimate that
is correct in every decade can be trusted where there are no labels.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from mgflows.errors import InputError
from mgflows.nep.frames import families_of, frame_labels
from mgflows.nep.results import predict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.committee import Committee

__all__ = [
    "GLASS_SUBSETS",
    "ErrorTarget",
    "GroupErrors",
    "Grouping",
    "TargetResult",
    "certificate",
    "check_targets",
    "root_mean_square",
]

Grouping = Literal["all", "subset", "decade"]
"""Grouping of frames: none, by subset, or by decade of effective time."""

GLASS_SUBSETS = ("lj_surrogate", "dft_minimized", "expanded_compressed", "distorted")
"""Subsets whose frames have the structure of their sample, and so its effective time. Heated frames
lose it."""

_N_BOOTSTRAP = 500


@dataclass(frozen=True)
class ErrorTarget:
    """Errors below which no further labels are needed.

    Parameters
    ----------
    force
        Root mean square force error in meV/A of the configurations that the potential itself
        visits, as the calibrated committee estimates it.
    energy
        Root mean square energy error in meV/atom of the test frames, in every group.
    energy_by
        Groups of the test frames.

    Raises
    ------
    InputError
        For no target, one that is not positive, or unknown groups.
    """

    force: float | None = None
    energy: float | None = None
    energy_by: Grouping = "subset"

    def __post_init__(self) -> None:
        if self.force is None and self.energy is None:
            raise InputError(
                "the target has neither a force nor an energy",
                hint="give force in meV/A, energy in meV/atom or both",
            )
        for name in ("force", "energy"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise InputError(
                    f"the target of the {name} is {value:g} but must be positive",
                    hint="give meV/A for forces and meV/atom for energies",
                )
        if self.energy_by not in get_args(Grouping):
            raise InputError(
                f"energy_by is {self.energy_by!r} but must be one of: "
                f"{', '.join(get_args(Grouping))}"
            )


@dataclass(frozen=True)
class GroupErrors:
    """Errors of a group of frames, and the estimates of the committee.

    Attributes
    ----------
    group
        A subset; a decade such as ``"1e3 to 1e4"``, of the effective time in t*; or ``"all"``.
    n_frames, n_families
        Size of the group.
    energy, force
        Root mean square errors in meV/atom and meV/A.
    energy_error, force_error
        Their standard errors, from a bootstrap over families; None for a single family.
    energy_estimate, force_estimate
        Root mean square calibrated spreads of a committee, in the same units; None without one.
    """

    group: str
    n_frames: int
    n_families: int
    energy: float
    energy_error: float | None
    force: float
    force_error: float | None
    energy_estimate: float | None = None
    force_estimate: float | None = None


@dataclass(frozen=True)
class TargetResult:
    """One error and its target.

    Attributes
    ----------
    quantity, group
        Which error of which frames.
    value, error
        meV/A or meV/atom, and the standard error where it is known.
    target
        In the same unit.
    is_met
        Whether the value and one standard error are at or below the target.
    """

    quantity: Literal["force", "energy"]
    group: str
    value: float
    error: float | None
    target: float
    is_met: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_met", self.value + (self.error or 0.0) <= self.target)

    def __str__(self) -> str:
        unit = "meV/A" if self.quantity == "force" else "meV/atom"
        error = "" if self.error is None else f" ± {self.error:.2g}"
        word = "meets" if self.is_met else "misses"
        return (
            f"{self.quantity} error ({self.group}) {self.value:.3g}{error} {unit} {word} "
            f"{self.target:g}"
        )


def certificate(
    frames: Sequence[Atoms],
    *,
    by: Grouping = "decade",
    potential: str | Path | None = None,
    committee: Committee | None = None,
    subsets: Sequence[str] | None = None,
    seed: int = 0,
) -> list[GroupErrors]:
    """Return errors of labelled frames by group, and the estimates of a committee.

    The spreads of a group are scaled with the errors of all *other* groups, so that the estimate is
    a prediction. A single group is scaled with its own.

    Parameters
    ----------
    frames
        Labelled frames that neither the potential nor the committee was trained on;
        ``info["family"]`` names the family, ``info["subset"]`` the subset and
        ``info["log10_time"]`` the effective time. Frames without one have no decade.
    by
        Groups.
    potential
        Text or path of the potential; the mean of the committee by default.
    committee
        Committee that estimates the errors.
    subsets
        Only frames of these subsets; for decades :data:`GLASS_SUBSETS` by default.
    seed
        Seed of the bootstrap.

    Returns
    -------
    groups
        In alphabetical order, or that of the decades.

    Raises
    ------
    InputError
        Without a potential and a committee, for no frames of the groups, or an incomplete label.
    """
    if potential is None and committee is None:
        raise InputError("neither a potential nor a committee is given", hint="give one of them")
    chosen, keys = _grouped(frames, by, subsets)
    spread = None if committee is None else committee.predict(chosen)
    if potential is not None:
        predicted = predict(potential, chosen)
    else:
        assert spread is not None
        predicted = spread.mean
    energies, forces = [], []
    for index, frame in enumerate(chosen):
        label_energy, label, _ = frame_labels(frame, index, needs_stress=False)
        energies.append((predicted.energies[index] - label_energy / len(frame)) ** 2)
        forces.append(float(np.mean((predicted.forces[index] - label) ** 2)))
    energy_squares, force_squares = np.array(energies), np.array(forces)
    n_atoms = np.array([len(frame) for frame in chosen], dtype=float)
    families = np.array(families_of(chosen))
    groups = []
    for key in sorted(set(keys), key=_order):
        inside = np.array([other == key for other in keys])
        outside = inside if inside.all() else ~inside
        energy = root_mean_square(energy_squares[inside], families[inside], seed=seed)
        force = root_mean_square(
            force_squares[inside], families[inside], weights=n_atoms[inside], seed=seed
        )
        energy_estimate = force_estimate = None
        if spread is not None:
            energy_estimate = 1e3 * _estimate(
                energy_squares, spread.energy_spread**2, np.ones(len(chosen)), inside, outside
            )
            force_estimate = 1e3 * _estimate(
                force_squares, spread.force_spread**2, n_atoms, inside, outside
            )
        groups.append(
            GroupErrors(
                group=key,
                n_frames=int(inside.sum()),
                n_families=len(set(families[inside])),
                energy=1e3 * energy[0],
                energy_error=_milli(energy[1]),
                force=1e3 * force[0],
                force_error=_milli(force[1]),
                energy_estimate=energy_estimate,
                force_estimate=force_estimate,
            )
        )
    return groups


def check_targets(
    target: ErrorTarget, force: tuple[float, float | None], groups: Sequence[GroupErrors]
) -> list[TargetResult]:
    """Compare errors with a target.

    Parameters
    ----------
    target
        The targets.
    force
        Calibrated force error where the potential is used, and its standard error, meV/A.
    groups
        Errors of the test frames.
    """
    results = []
    if target.force is not None:
        results.append(TargetResult("force", "candidates", *force, target.force))
    if target.energy is not None:
        results += [
            TargetResult("energy", each.group, each.energy, each.energy_error, target.energy)
            for each in groups
        ]
    return results


def root_mean_square(
    squares: NDArray[np.float64],
    families: Sequence[str] | NDArray[np.str_],
    *,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> tuple[float, float | None]:
    """Return a root mean square and its standard error from a bootstrap over families.

    Parameters
    ----------
    squares
        (n,) squares.
    families
        (n,) family of each value.
    weights
        (n,) weights; equal by default.
    seed
        Seed of the bootstrap.

    Returns
    -------
    value, error
        The error is None for a single family.
    """
    weights = np.ones(len(squares)) if weights is None else weights
    names, members = np.unique(np.asarray(families), return_inverse=True)
    sums = np.bincount(members, weights * squares, len(names))
    totals = np.bincount(members, weights, len(names))
    value = math.sqrt(sums.sum() / totals.sum())
    if len(names) < 2:
        return value, None
    draws = np.random.default_rng(seed).integers(len(names), size=(_N_BOOTSTRAP, len(names)))
    samples = np.sqrt(sums[draws].sum(axis=1) / totals[draws].sum(axis=1))
    return value, float(samples.std(ddof=1))


def _grouped(
    frames: Sequence[Atoms], by: Grouping, subsets: Sequence[str] | None
) -> tuple[list[Atoms], list[str]]:
    """Frames that have a group, and the names of their groups."""
    if by == "decade" and subsets is None:
        subsets = GLASS_SUBSETS
    if by not in get_args(Grouping):
        raise InputError(
            f"frames are grouped by {by!r} but the groups must be one of: "
            f"{', '.join(get_args(Grouping))}"
        )
    chosen, keys = [], []
    for frame in frames:
        if subsets is not None and frame.info.get("subset") not in subsets:
            continue
        time = frame.info.get("log10_time")
        if by == "subset":
            keys.append(str(frame.info.get("subset", "")))
        elif by == "all":
            keys.append("all")
        elif time is not None:
            decade = math.floor(float(time))
            keys.append(f"1e{decade} to 1e{decade + 1}")
        else:
            continue
        chosen.append(frame)
    if not chosen:
        wanted = "with an effective time" if by == "decade" else "of these subsets"
        raise InputError(
            f"none of the {len(frames)} frames is one {wanted}",
            hint="give the test frames of a dataset of a campaign",
        )
    return chosen, keys


def _estimate(
    errors: NDArray[np.float64],
    spreads: NDArray[np.float64],
    weights: NDArray[np.float64],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
) -> float:
    """Root mean square spread in a group, scaled with the errors of the other groups."""
    below = float(np.sum((weights * spreads)[outside]))
    if not below > 0.0:
        return math.nan
    scale = float(np.sum((weights * errors)[outside])) / below
    return math.sqrt(scale * float(np.average(spreads[inside], weights=weights[inside])))


def _order(group: str) -> tuple[int, str]:
    """Decades by time, others by name."""
    found = re.match(r"1e(-?\d+) to ", group)
    return (int(found[1]), "") if found else (0, group)


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value
