"""Results of a training: its loss curve, and errors recomputed from the potential itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.files import read_text
from mgflows.geometry import check_distances, check_geometry
from mgflows.nep.calculator import (
    batch_calculator,
    check_volume,
    fits_nep_adapters,
    nep_calculator,
    potential_text,
    read_potential,
)
from mgflows.nep.frames import frame_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "ForceComponents",
    "LossTable",
    "Parity",
    "ParityTable",
    "Predictions",
    "frame_batches",
    "parity",
    "predict",
    "read_loss",
]

_LARGEST_STEP = 1e15
_ATOMS_PER_BATCH = 50_000
"""Atoms evaluated in one call: limits the memory without loss of speed."""


@dataclass(frozen=True)
class LossTable:
    """The loss curve of a training; NaN for columns that the trainer does not write.

    ``step`` continues over restarts. The RMSEs of a GPUMD run are those of one batch with the mean
    energy error removed: they do not agree with :func:`parity` and are meant for plotting only.

    Attributes
    ----------
    step
        (n,) generations or steps of the optimiser; epochs for torchnep and gnep.
    total, l1, l2
        (n,) the loss, and its regularisation terms.
    energy_train, virial_train, energy_test, virial_test
        (n,) RMSEs in eV/atom.
    force_train, force_test
        (n,) RMSEs in eV/A.
    """

    step: NDArray[np.int64]
    total: NDArray[np.float64]
    l1: NDArray[np.float64]
    l2: NDArray[np.float64]
    energy_train: NDArray[np.float64]
    force_train: NDArray[np.float64]
    virial_train: NDArray[np.float64]
    energy_test: NDArray[np.float64]
    force_test: NDArray[np.float64]
    virial_test: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)


_POTENTIAL = (
    "step",
    "total",
    "l1",
    "l2",
    "energy_train",
    "force_train",
    "virial_train",
    "energy_test",
    "force_test",
    "virial_test",
)
_GNEP: tuple[str | None, ...] = (
    "step",
    "total",
    *_POTENTIAL[4:],
    None,
    None,
)
"""GPUMD's gradient trainer: learning rate and time instead of the regularisation terms."""
_COLUMNS_BY_COUNT: dict[int, tuple[str | None, ...]] = {
    # generation, loss, L1, L2, and (dipole, train, test): not a potential.
    6: ("step", "total", "l1", "l2", None, None),
    10: _POTENTIAL,
    14: (*_POTENTIAL[:7], None, None, *_POTENTIAL[7:], None, None),
}
"""GPUMD's columns in files without a header."""
_COLUMN_NAMES = {
    "generation": "step",
    "epoch": "step",
    "total": "total",
    "loss": "total",
    "l1": "l1",
    "l2": "l2",
} | {
    f"rmse_{quantity}_{side}": f"{quantity}_{side}"
    for quantity in ("energy", "force", "virial")
    for side in ("train", "test")
}
_TORCHNEP_NAMES = {
    f"rmse_{quantity[0]}{suffix}": f"{quantity}_{side}"
    for quantity in ("energy", "force", "virial")
    for suffix, side in (("", "train"), ("_test", "test"))
}
"""torchnep's names: ``rmse_e(eV/atom)`` in training and ``rmse_e_test(eV/atom)`` in the test."""


def read_loss(path: str | Path) -> LossTable:
    """Read the ``loss.out`` of GPUMD's ``nep`` and ``gnep``, of neppo, torchnep or mgflows.

    The names of the columns come from the header where there is one, and from the number of columns
    for files of ``nep`` without a header. Files of ``gnep`` have no header and also ten columns;
    they are recognised by the learning rate in the ninth column, which is written with seven
    decimals where every other number has five. An unfinished last line is left out, so that a file
    can be read while it grows.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        For a file whose columns cannot be identified with certainty.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the loss file {path} cannot be read: {error}") from error
    rows: list[dict[str, float]] = []
    columns: tuple[str | None, ...] | None = None
    offset, last = 0.0, 0.0
    is_new_run = True
    width = 0
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if line.startswith("#"):
            names = _header_columns(words)
            if names is not None:
                if "step" not in names:
                    raise InputError(
                        f"line {number} of {path} names its columns, but none is 'generation' or "
                        "'epoch'; this is not a loss file of a NEP",
                        hint="give the loss.out of a training",
                    )
                named = [name for name in names if name is not None]
                if twice := [name for name in named if named.count(name) > 1]:
                    raise InputError(f"line {number} of {path} names two columns for {twice[0]}")
                columns, is_new_run = names, True
            continue
        layout = columns or _columns_without_header(words, f"line {number} of {path}")
        if layout is None or len(layout) != len(words):
            expected = (
                f"{len(layout)} as in its header"
                if layout is not None
                else "a header or 6, 10 or 14"
            )
            raise InputError(
                f"line {number} of {path} has {len(words)} columns but must have {expected}"
            )
        if columns is None and len(words) != (width := width or len(words)):
            raise InputError(
                f"line {number} of {path} has {len(words)} columns, but the lines before it have "
                f"{width}; the file is of two trainers"
            )
        try:
            row = {
                name: float(word)
                for name, word in zip(layout, words, strict=True)
                if name is not None
            }
        except ValueError as error:
            raise InputError(f"line {number} of {path} cannot be read: {error}") from error
        if not (0.0 <= row["step"] < _LARGEST_STEP and row["step"].is_integer()):
            raise InputError(
                f"line {number} of {path} has the step {row['step']:g} but must have a whole number"
            )
        # A restarted trainer appends to the file and counts from zero again.
        if rows and (is_new_run or row["step"] + offset <= last):
            offset = last
        is_new_run = False
        row["step"] += offset
        last = row["step"]
        rows.append(row)
    values = {name: np.array([row.get(name, np.nan) for row in rows]) for name in _POTENTIAL}
    return LossTable(step=values.pop("step").astype(np.int64), **values)


def _header_columns(words: Sequence[str]) -> tuple[str | None, ...] | None:
    """Our names for the columns of a header line, None for an unused column.

    None if the line names no columns.
    """
    if words[:2] == ["#", "columns"]:
        names = words[2:]
    elif [word.lower() for word in words[:2]] == ["#", "epoch"]:
        names = [word.split("(")[0] for word in words[1:]]
    else:
        return None
    known = _COLUMN_NAMES | _TORCHNEP_NAMES
    return tuple(known.get(name.lower()) for name in names)


def _columns_without_header(words: Sequence[str], where: str) -> tuple[str | None, ...] | None:
    """Names for the columns of a line in a file without a header; None if they are unknown."""
    if len(words) != 10:
        return _COLUMNS_BY_COUNT.get(len(words))
    decimals = [len(word.partition(".")[2]) for word in words[1:]]
    if decimals == [5] * 7 + [7, 5]:
        return _GNEP
    # nep writes all columns alike; any other layout of ten columns is unknown.
    if len(set(decimals)) == 1:
        return _POTENTIAL
    raise InputError(
        f"{where} has ten columns, which are those of neither GPUMD's nep nor its gnep",
        hint="give a file with a header that names its columns",
    )


@dataclass(frozen=True)
class Predictions:
    """Energies, forces and virials of a list of structures under a potential.

    Attributes
    ----------
    energies
        (n_frames,) eV/atom.
    forces
        One (n_atoms, 3) array per frame, eV/A.
    virials
        (n_frames, 3, 3) eV/atom, positive when compressed.
    stresses
        (n_frames, 3, 3) eV/A^3, ASE sign.
    """

    energies: NDArray[np.float64]
    forces: list[NDArray[np.float64]]
    virials: NDArray[np.float64]
    stresses: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Those of several lists of structures as one.

        Parameters
        ----------
        parts
            At least one.
        """
        return cls(
            np.concatenate([part.energies for part in parts]),
            [forces for part in parts for forces in part.forces],
            np.concatenate([part.virials for part in parts]),
            np.concatenate([part.stresses for part in parts]),
        )


def predict(potential: str | Path, frames: Sequence[Atoms]) -> Predictions:
    """Evaluate many structures with a NEP, about 15 microseconds per atom.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    frames
        Periodic structures; labels are not needed.

    Raises
    ------
    InputError
        If the file is not a NEP or lacks a species of the frames, a frame is not finite, or two of
        its atoms are at the same place.
    PotentialFailureError
        If the potential gives a value that is not finite.
    MissingDependencyError
        If nep-adapters is not installed.
    """
    text = potential_text(potential)
    return _predict(text, frames)


def _predict(text: str, frames: Sequence[Atoms], first: int = 0) -> Predictions:
    """Evaluate frames, which messages number from ``first``."""
    header = read_potential(
        text, sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    )
    for index, frame in enumerate(frames, first):
        check_geometry(frame, f"frame {index}", periodic=True)
        check_volume(frame, f"frame {index}")
        check_distances(frame, f"frame {index}")
    if not fits_nep_adapters(header):
        return _predict_one_by_one(text, frames)
    energies, forces, virials = [], [], []
    with batch_calculator(text) as calculator:
        for batch in frame_batches(frames):
            prediction = calculator.predict_structures(batch)
            energies.append(prediction.energy / prediction.atom_counts)
            forces += prediction.force_blocks()
            # structure_virials are means over the atoms already, nine components each.
            virials.append(prediction.structure_virials.reshape(-1, 3, 3))
    for index, (frame, force) in enumerate(zip(frames, forces, strict=True), first):
        if not np.isfinite(force).all():
            raise PotentialFailureError(
                f"the forces on frame {index} ({frame.get_chemical_formula()}) are not finite; two "
                "of its atoms are at the same place, or the potential fails for it",
                hint="leave the frame out",
            )
    virial = np.concatenate(virials) if virials else np.empty((0, 3, 3))
    virial = (virial + virial.transpose(0, 2, 1)) / 2
    stresses = [
        units.stress_from_virial(len(frame) * tensor, frame.cell.volume)
        for frame, tensor in zip(frames, virial, strict=True)
    ]
    return Predictions(
        energies=np.concatenate(energies) if energies else np.empty(0),
        forces=forces,
        virials=virial,
        stresses=np.array(stresses).reshape(-1, 3, 3),
    )


def _predict_one_by_one(text: str, frames: Sequence[Atoms]) -> Predictions:
    """Predictions of a model that nep-adapters cannot evaluate."""
    calculator = nep_calculator(text)
    energies, forces, virials, stresses = [], [], [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy() / len(atoms))
        forces.append(atoms.get_forces())
        stresses.append(atoms.get_stress(voigt=False))
        virials.append(units.virial_from_stress(stresses[-1], atoms.cell.volume) / len(atoms))
    return Predictions(
        np.array(energies), forces, np.array(virials).reshape(-1, 3, 3), np.array(stresses)
    )


def frame_batches(frames: Iterable[Atoms]) -> Iterator[list[Atoms]]:
    """Yield the frames in lists of about 50 000 atoms, which one call evaluates at full speed.

    Parameters
    ----------
    frames
        Structures, read once and in order.
    """
    batch: list[Atoms] = []
    n_atoms = 0
    for frame in frames:
        if batch and n_atoms + len(frame) > _ATOMS_PER_BATCH:
            yield batch
            batch, n_atoms = [], 0
        batch.append(frame)
        n_atoms += len(frame)
    if batch:
        yield batch


@dataclass(frozen=True)
class Parity:
    """Errors of one set of frames: root mean square, mean absolute, and R2.

    Energies and virials are per atom, forces and virials component by component (six for the
    virial). R2, the coefficient of determination, is NaN where the labels do not vary.

    Attributes
    ----------
    n_frames, n_atoms
        Numbers of frames and atoms that the errors were computed from.
    energy_rmse, energy_mae, virial_rmse, virial_mae
        meV/atom.
    force_rmse, force_mae
        meV/A.
    energy_r2, force_r2, virial_r2
        One minus the squared error over the variance of the labels.
    """

    n_frames: int
    n_atoms: int
    energy_rmse: float
    energy_mae: float
    energy_r2: float
    force_rmse: float
    force_mae: float
    force_r2: float
    virial_rmse: float
    virial_mae: float
    virial_r2: float


@dataclass(frozen=True)
class ForceComponents:
    """Components of forces drawn at random.

    Attributes
    ----------
    frame
        (n,) index of the frame of each.
    reference, predicted
        (n,) labels and predictions, eV/A.
    """

    frame: NDArray[np.int64]
    reference: NDArray[np.float64]
    predicted: NDArray[np.float64]


@dataclass(frozen=True)
class ParityTable:
    """Labels against predictions and their errors, overall and per subset.

    Attributes
    ----------
    overall
        Errors of all frames.
    by_subset
        Errors of the frames of each ``info["subset"]``, in alphabetical order.
    subsets
        (n_frames,) the subset of each frame.
    labels, predictions
        The values compared, in the order of the frames; without forces if only some components of
        them are kept.
    force_errors, largest_force_errors
        (n_frames,) root mean square error of the components of the forces of a frame, and largest
        error of the force on one of its atoms; eV/A.
    components
        Components of forces drawn at random, if only these are kept.
    """

    overall: Parity
    by_subset: dict[str, Parity]
    subsets: tuple[str, ...]
    labels: Predictions
    predictions: Predictions
    force_errors: NDArray[np.float64]
    largest_force_errors: NDArray[np.float64]
    components: ForceComponents | None = None


def parity(
    potential: str | Path,
    frames: Sequence[Atoms],
    *,
    n_components: int | None = None,
    seed: int = 0,
) -> ParityTable:
    """The errors of a potential for labelled frames, recomputed from ``nep.txt``.

    These are the training and test errors of mgflows. The trainers' own figures are not used: they
    are in single precision, of single batches, or with the mean energy error removed.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    frames
        Labelled structures (see :mod:`mgflows.nep.frames`). Frames without stress do not
        contribute to the errors of the virial. They are read in batches, so that those of a
        :class:`~mgflows.nep.frame_file.FrameFile` are never in memory together.
    n_components
        Components of the forces that are kept, drawn at random; all of them if there are fewer.
        None keeps all forces of all frames, 7 kB for 150 atoms. All errors use all forces.
    seed
        Seed of the draw.

    Raises
    ------
    InputError
        For no frames, an incomplete label, or a potential that does not fit.
    """
    if not frames:
        raise InputError(
            "there is no frame to compute the errors of the potential from",
            hint="give at least one",
        )
    text = potential_text(potential)
    sizes = np.array([len(frame) for frame in frames])
    drawn = None if n_components is None else _drawn(3 * int(sizes.sum()), n_components, seed)
    subsets: list[str] = []
    labels: list[Predictions] = []
    predictions: list[Predictions] = []
    statistics: list[_ForceStatistics] = []
    components: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    n_passed = 0
    for batch in frame_batches(frames):
        first = len(subsets)
        target, found = _labels(batch, first), _predict(text, batch, first)
        subsets += [str(frame.info.get("subset", "")) for frame in batch]
        statistics += map(_ForceStatistics.of, found.forces, target.forces)
        if drawn is not None:
            pair = tuple(np.concatenate(each.forces).ravel() for each in (target, found))
            ends = np.searchsorted(drawn, [n_passed, n_passed + pair[0].size])
            here = drawn[slice(*ends)] - n_passed
            components.append((pair[0][here], pair[1][here]))
            n_passed += pair[0].size
            target, found = replace(target, forces=[]), replace(found, forces=[])
        labels.append(target)
        predictions.append(found)
    return _table(
        tuple(subsets),
        Predictions.joined(labels),
        Predictions.joined(predictions),
        statistics,
        None
        if drawn is None
        else ForceComponents(
            np.searchsorted(np.cumsum(3 * sizes), drawn, side="right"),
            *(np.concatenate(side) for side in zip(*components, strict=True)),
        ),
    )


def _drawn(n: int, n_components: int, seed: int) -> NDArray[np.int64]:
    """Positions among ``n`` components, in ascending order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, min(n, n_components), replace=False, shuffle=False))


class _ForceStatistics(NamedTuple):
    """Sums over the components of the forces of one frame, from which all errors follow."""

    n_components: int
    square: float
    absolute: float
    target: float
    target_square: float
    largest: float

    @classmethod
    def of(cls, predicted: NDArray[np.float64], target: NDArray[np.float64]) -> _ForceStatistics:
        error = predicted - target
        return cls(
            error.size,
            float(np.sum(error**2)),
            float(np.sum(np.abs(error))),
            float(np.sum(target)),
            float(np.sum(target**2)),
            float(np.linalg.norm(error, axis=1).max()),
        )


def _table(
    subsets: tuple[str, ...],
    labels: Predictions,
    predictions: Predictions,
    statistics: list[_ForceStatistics],
    components: ForceComponents | None,
) -> ParityTable:
    sums = np.array(statistics)

    def errors(indices: NDArray[np.int64]) -> Parity:
        return _parity(labels, predictions, sums, indices)

    names = np.array(subsets)
    return ParityTable(
        overall=errors(np.arange(len(subsets))),
        by_subset={name: errors(np.flatnonzero(names == name)) for name in sorted(set(subsets))},
        subsets=subsets,
        labels=labels,
        predictions=predictions,
        force_errors=np.sqrt(sums[:, 1] / sums[:, 0]),
        largest_force_errors=sums[:, 5],
        components=components,
    )


def _labels(frames: Sequence[Atoms], first: int = 0) -> Predictions:
    energies, forces, stresses = zip(
        *(
            frame_labels(frame, index, needs_stress=False)
            for index, frame in enumerate(frames, first)
        ),
        strict=True,
    )
    n_atoms = np.array([len(frame) for frame in frames])
    virials = [
        units.virial_from_stress(stress, frame.cell.volume) / len(frame)
        for frame, stress in zip(frames, stresses, strict=True)
    ]
    return Predictions(
        np.array(energies) / n_atoms, list(forces), np.array(virials), np.array(stresses)
    )


def _parity(
    labels: Predictions,
    predictions: Predictions,
    sums: NDArray[np.float64],
    indices: NDArray[np.int64],
) -> Parity:
    rows, columns = np.triu_indices(3)
    energy = _errors(predictions.energies[indices], labels.energies[indices])
    with_virial = indices[np.isfinite(labels.virials[indices]).all(axis=(1, 2))]
    virial = _errors(
        predictions.virials[with_virial][:, rows, columns],
        labels.virials[with_virial][:, rows, columns],
    )
    n, square, absolute, target, target_square = sums[indices, :5].sum(axis=0)
    variance = target_square / n - (target / n) ** 2
    force = (
        1e3 * float(np.sqrt(square / n)),
        1e3 * float(absolute / n),
        # Rounding leaves a variance of labels that are all the same.
        float(1.0 - square / n / variance)
        if variance > 1e-13 * target_square / n
        else float("nan"),
    )
    return Parity(len(indices), int(n) // 3, *energy, *force, *virial)


def _errors(
    predicted: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, float, float]:
    """RMSE and MAE in thousandths of the unit, and R2; NaN without values."""
    if not target.size:
        return (float("nan"),) * 3
    error = predicted - target
    variance = float(np.mean((target - target.mean()) ** 2))
    mean_square = float(np.mean(error**2))
    return (
        1e3 * mean_square**0.5,
        1e3 * float(np.mean(np.abs(error))),
        1.0 - mean_square / variance if variance > 0.0 else float("nan"),
    )
