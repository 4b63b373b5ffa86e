"""Checks of a trained potential that need no dynamics: a second calculator, frames, descriptors.

The other checks of an acceptance are in :mod:`mgflows.validation.acceptance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError, require
from mgflows.nep.calculator import (
    batch_calculator,
    fits_nep_adapters,
    potential_text,
    read_potential,
)
from mgflows.nep.results import ParityTable, Predictions, frame_batches, predict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "Check",
    "Outcome",
    "WorstFrame",
    "agreement_checks",
    "out_of_range_check",
    "out_of_range_fraction",
    "predict_independently",
    "worst_frames",
]

Outcome = Literal["passed", "warning", "failed", "skipped"]
"""``skipped``: not measured, with the reason in the sentence."""

_LARGEST_ENERGY_DIFFERENCE = 0.1
"""Largest difference in meV/atom between two calculators, of which one has single precision."""
_LARGEST_FORCE_DIFFERENCE = 1.0
"""meV/A, likewise; the programs differ by less than 0.1."""
_LARGEST_FRACTION = 0.05
"""Largest fraction of atoms of hot dynamics outside the descriptors of the training frames."""
_MARGIN = 0.02
"""Margin around the range of a descriptor component, relative to its width."""


@dataclass(frozen=True)
class Check:
    """One check of a potential.

    Parameters
    ----------
    name
        Name, such as ``"melt density"``.
    outcome
        A potential with a failed check is not accepted; a warning does not affect acceptance.
    sentence
        The result in words.
    value
        Measured value; None if it could not be measured.
    smallest, largest
        Limits of the value; None for none.
    unit
        Unit of the value and its limits.
    """

    name: str
    outcome: Outcome
    sentence: str
    value: float | None = None
    smallest: float | None = None
    largest: float | None = None
    unit: str = ""

    @classmethod
    def within(
        cls,
        name: str,
        value: float,
        sentence: str,
        *,
        smallest: float | None = None,
        largest: float | None = None,
        unit: str = "",
        otherwise: Outcome = "failed",
    ) -> Check:
        """Compare a value with its limits; nan is outside.

        Parameters
        ----------
        name, value, sentence, smallest, largest, unit
            As above.
        otherwise
            Outcome of a value outside the limits.
        """
        inside = (smallest is None or value >= smallest) and (largest is None or value <= largest)
        outcome: Outcome = "passed" if inside and np.isfinite(value) else otherwise
        finite = float(value) if np.isfinite(value) else None
        return cls(name, outcome, sentence, finite, smallest, largest, unit)


@dataclass(frozen=True)
class WorstFrame:
    """A frame with one of the largest errors.

    Parameters
    ----------
    frame_id, subset, family
        Identifiers of the frame; empty if it has none.
    energy_error
        Prediction minus label in meV/atom.
    force_rmse
        RMSE over the force components of the frame in meV/A.
    """

    frame_id: str
    subset: str
    family: str
    energy_error: float
    force_rmse: float


def predict_independently(
    potential: str | Path, frames: Sequence[Atoms]
) -> tuple[str, Predictions | None]:
    """Evaluate a NEP with another program than :func:`mgflows.nep.results.predict`.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    frames
        Periodic structures; labels are not needed.

    Returns
    -------
    program, predictions
        The evaluator of mgflows, or calorine for models that it cannot read: calorine and
        nep-adapters are built from the same source and agree to the last bit. No predictions and
        the reason if neither can evaluate the model.

    Raises
    ------
    InputError
        If the file is not a NEP or lacks a species of the frames.
    """
    text = potential_text(potential)
    header = read_potential(text, sorted({s for frame in frames for s in frame.symbols}))
    try:
        header.parameters()
    except InputError as error:
        if fits_nep_adapters(header) and find_spec("calorine") is not None:
            return "calorine", _with_calorine(text, frames)
        return f"no second program evaluates this model ({error.message})", None
    return "the evaluator of mgflows", _with_own_evaluator(text, frames)


def agreement_checks(potential: str | Path, frames: Sequence[Atoms]) -> list[Check]:
    """Compare two programs on the same structures.

    If two programs read a file differently, the tests of one are not valid for the other.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    frames
        A few structures of different density and temperature.
    """
    program, other = predict_independently(potential, frames)
    names = ("two calculators: energy", "two calculators: forces")
    if other is None:
        return [Check(name, "skipped", f"not compared: {program}") for name in names]
    first = predict(potential, frames)
    energy = 1e3 * float(np.abs(first.energies - other.energies).max())
    force = 1e3 * max(
        float(np.abs(one - two).max()) for one, two in zip(first.forces, other.forces, strict=True)
    )
    return [
        Check.within(
            name,
            value,
            f"nep-adapters and {program} differ by at most {value:.2g} {unit}",
            largest=limit,
            unit=unit,
        )
        for name, value, limit, unit in (
            (names[0], energy, _LARGEST_ENERGY_DIFFERENCE, "meV/atom"),
            (names[1], force, _LARGEST_FORCE_DIFFERENCE, "meV/A"),
        )
    ]


def worst_frames(
    table: ParityTable, frames: Sequence[Atoms], number: int = 3
) -> tuple[WorstFrame, ...]:
    """Return the frames with the largest force errors, then those with the largest energy errors.

    Parameters
    ----------
    table
        Errors of the frames.
    frames
        The frames, in the same order; ``info`` has their names.
    number
        Frames of each kind.
    """
    energy = 1e3 * (table.predictions.energies - table.labels.energies)
    force = 1e3 * table.force_errors
    order = [*np.argsort(-force)[:number], *np.argsort(-np.abs(energy))[:number]]
    return tuple(
        WorstFrame(
            frame_id=str(frames[k].info.get("frame_id", "")),
            subset=str(frames[k].info.get("subset", "")),
            family=str(frames[k].info.get("family", "")),
            energy_error=float(energy[k]),
            force_rmse=float(force[k]),
        )
        for k in dict.fromkeys(int(k) for k in order)
    )


def out_of_range_check(
    potential: str | Path, known: Sequence[Atoms], visited: Sequence[Atoms], where: str
) -> Check:
    """Compare descriptors of a simulation with those of the training frames.

    Counts the atoms with a component of the descriptor outside the range of the training atoms of
    the same element.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    known, visited
        Training frames and frames of the simulation.
    where
        The simulation, for the sentence.
    """
    name = "descriptors in range"
    text = potential_text(potential)
    if not fits_nep_adapters(read_potential(text)) or find_spec("nep_adapters") is None:
        return Check(name, "skipped", "not measured: nep-adapters cannot evaluate this model")
    fraction = out_of_range_fraction(text, known, visited)
    return Check.within(
        name,
        fraction,
        f"{fraction:.1%} of the atoms {where} have a descriptor outside the range of the training "
        "frames",
        largest=_LARGEST_FRACTION,
        otherwise="warning",
    )


def out_of_range_fraction(
    potential: str | Path, known: Sequence[Atoms], visited: Sequence[Atoms]
) -> float:
    """Return the fraction of atoms whose surroundings the training frames do not cover.

    An atom counts if a component of its descriptor is outside the range of the training atoms of
    the same element, by more than 2 % of that range.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    known, visited
        Training frames and frames of a simulation.

    Raises
    ------
    InputError
        For no frames.
    MissingDependencyError
        If nep-adapters is not installed.
    """
    for frames, words in ((known, "training"), (visited, "simulated")):
        if not frames:
            raise InputError(f"there are no {words} frames to compare", hint="give at least one")
    require("nep_adapters", "md", "the descriptors of a NEP")
    text = potential_text(potential)
    n_atoms = n_outside = 0
    with batch_calculator(text) as calculator:

        def descriptors(frames: Sequence[Atoms]) -> Iterator[tuple[int, NDArray[np.float64]]]:
            """The descriptors of the atoms of an element in a batch of frames."""
            for batch in frame_batches(frames):
                values = np.asarray(calculator.predict_descriptors(batch))
                numbers = np.concatenate([frame.numbers for frame in batch])
                for number in np.unique(numbers):
                    yield int(number), values[numbers == number]

        ranges: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for number, values in descriptors(known):
            low, high = ranges.get(number, (values[0], values[0]))
            ranges[number] = (
                np.minimum(low, values.min(axis=0)),
                np.maximum(high, values.max(axis=0)),
            )
        for number, values in descriptors(visited):
            n_atoms += len(values)
            if number not in ranges:
                n_outside += len(values)
                continue
            low, high = ranges[number]
            margin = _MARGIN * (high - low)
            n_outside += int(((values < low - margin) | (values > high + margin)).any(axis=1).sum())
    return n_outside / n_atoms


def _with_calorine(text: str, frames: Sequence[Atoms]) -> Predictions:
    import tempfile
    from pathlib import Path

    from calorine.calculators import CPUNEP

    energies, forces, stresses = [], [], []
    with tempfile.TemporaryDirectory(prefix="mgflows-nep-") as directory:
        path = Path(directory, "nep.txt")
        path.write_text(text, encoding="utf-8")
        for frame in frames:
            atoms = frame.copy()
            atoms.calc = CPUNEP(str(path))
            energies.append(atoms.get_potential_energy() / len(atoms))
            forces.append(atoms.get_forces())
            stresses.append(atoms.get_stress(voigt=False))
    return _predictions(frames, energies, forces, stresses)


def _with_own_evaluator(text: str, frames: Sequence[Atoms]) -> Predictions:
    from ase.calculators.singlepoint import SinglePointCalculator

    from mgflows.nep.training.data import BasisCache, FrameSet
    from mgflows.nep.training.evaluator import Evaluator
    from mgflows.nep.training.model import NepModel

    model = NepModel.from_text(text)
    unlabelled = []
    for frame in frames:
        copy = frame.copy()
        copy.info = {}
        copy.calc = SinglePointCalculator(
            copy, energy=0.0, forces=np.zeros((len(copy), 3)), stress=np.zeros(6)
        )
        unlabelled.append(copy)
    # The fit uses labels minus ZBL: with labels of zero, minus ZBL.
    data = FrameSet.build(unlabelled, model.parameters)
    evaluator = Evaluator(model, BasisCache(data, model.parameters, 1.0, len(frames)))
    found = evaluator.predict(np.arange(len(frames)), model.flat)
    reference = data.composition_of(len(model.parameters.species)) @ model.reference
    energies = (found.energies + reference - data.energies) / data.sizes
    forces = np.split(found.forces.astype(float) - data.forces, data.offsets[1:-1])
    xx, yy, zz, xy, yz, zx = (found.virials - data.virials).T
    virials = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]]).transpose(2, 0, 1)
    stresses = [
        units.stress_from_virial(virial, frame.cell.volume)
        for virial, frame in zip(virials, frames, strict=True)
    ]
    return _predictions(frames, energies.tolist(), forces, stresses)


def _predictions(
    frames: Sequence[Atoms], energies: list[float], forces: list, stresses: list
) -> Predictions:
    virials = [
        units.virial_from_stress(stress, frame.cell.volume) / len(frame)
        for stress, frame in zip(stresses, frames, strict=True)
    ]
    return Predictions(np.array(energies), forces, np.array(virials), np.array(stresses))
