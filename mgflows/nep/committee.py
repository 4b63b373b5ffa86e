"""Committees of NEPs: the disagreement of several potentials as an estimate of their errors.

The members are trained on families that are drawn with replacement (bagging, Breiman,
DOI 10.1007/BF00058655) and from different initial parameters. Their standard deviation for a
structure, the *spread*, indicates the error but is usually too small: the members share labels
and architecture. :meth:`Committee.calibrated` scales it with the errors of frames that no member
was trained on, as in Imbalzano et al., DOI 10.1063/5.0036522.

The scale is the ratio of root mean squares, not the mean square of error over spread: for ``M``
members with normal errors the latter is too large by ``(M - 1) / (M - 3)`` and diverges for three.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.files import write_text
from mgflows.nep.calculator import potential_text, read_potential
from mgflows.nep.frame_file import FrameFile
from mgflows.nep.frames import families_of, frame_labels
from mgflows.nep.results import Predictions, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.trainers import Trainer, TrainingProgress

__all__ = [
    "Calibration",
    "Committee",
    "CommitteePredictions",
    "Quantity",
    "ReliabilityBin",
    "Scale",
    "bag_families",
    "train_committee",
]

logger = logging.getLogger(__name__)

Quantity = Literal["energy", "force", "virial"]
"""Quantities that have a spread."""

_FILE = "committee.json"
_N_BOOTSTRAP = 500
_N_BINS = 8
_SMALLEST_COMMITTEE = 2
_FEW_FAMILIES = 5


@dataclass(frozen=True)
class CommitteePredictions:
    """Mean and spread of the predictions of a committee.

    Attributes
    ----------
    mean
        The mean of the members.
    energy_spread
        (n_frames,) standard deviation between the members, eV/atom.
    force_spreads
        One (n_atoms,) array per frame, eV/A: root mean square over the three components of the
        standard deviation between the members. It compares with a force RMSE; the deviation that
        GPUMD and DP-GEN print, of the whole vector, is larger by the square root of three.
    virial_spread
        (n_frames,) root mean square over the six components, eV/atom.
    """

    mean: Predictions
    energy_spread: NDArray[np.float64]
    force_spreads: list[NDArray[np.float64]]
    virial_spread: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.energy_spread)

    @property
    def force_spread(self) -> NDArray[np.float64]:
        """(n_frames,) root mean square over the atoms, eV/A."""
        return np.array([math.sqrt(float(np.mean(each**2))) for each in self.force_spreads])

    @property
    def largest_force_spread(self) -> NDArray[np.float64]:
        """(n_frames,) largest spread of an atom, eV/A."""
        return np.array([float(each.max()) for each in self.force_spreads])


@dataclass(frozen=True)
class Scale:
    """The factor by which a spread is multiplied to be an error.

    Attributes
    ----------
    value
        Root mean square error over root mean square spread.
    error
        Its standard error, from a bootstrap over families.
    """

    value: float
    error: float


@dataclass(frozen=True)
class ReliabilityBin:
    """A point of a reliability diagram: frames (energy, virial) or atoms (force) of similar spread.

    Attributes
    ----------
    predicted
        Root mean square of the calibrated spread, in eV/atom or eV/A.
    observed
        Root mean square error, in the same unit.
    count
        Frames or atoms.
    """

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """Scales of a committee's spreads, and the reliability of the scaled spreads.

    Attributes
    ----------
    scales
        Scales by quantity; the virial is missing if no frame has a stress.
    reliability
        Bins of equal counts by quantity, in the order of the spread.
    rank_correlation
        Spearman's coefficient between spread and error of frames, by quantity.
    n_frames, n_families
        Frames and families of the calibration.
    seed
        Seed of the bootstrap.
    """

    scales: dict[Quantity, Scale]
    reliability: dict[Quantity, list[ReliabilityBin]]
    rank_correlation: dict[Quantity, float]
    n_frames: int
    n_families: int
    seed: int


@dataclass(frozen=True)
class Committee:
    """Several NEPs of the same elements.

    Parameters
    ----------
    potentials
        Texts of their ``nep.txt``.
    calibration
        See :meth:`calibrated`.

    Raises
    ------
    InputError
        For fewer than two potentials, or potentials of different elements.

    Examples
    --------
    ::

        committee = train_committee("committee", NepParameters(("Cu", "Zr", "Al")), train)
        committee = committee.calibrated(test)
        errors = committee.calibration.scales["force"].value * committee.predict(new).force_spread
    """

    potentials: tuple[str, ...]
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", tuple(self.potentials))
        if len(self.potentials) < _SMALLEST_COMMITTEE:
            raise InputError(
                f"a committee of {len(self.potentials)} potential has no spread",
                hint=f"give at least {_SMALLEST_COMMITTEE}; four are usual",
            )
        species = [read_potential(text).species for text in self.potentials]
        for number, each in enumerate(species[1:], start=2):
            if set(each) != set(species[0]):
                raise InputError(
                    f"potential {number} of the committee is for {', '.join(each)} but the first "
                    f"for {', '.join(species[0])}",
                    hint="give potentials of the same elements",
                )

    @classmethod
    def from_files(cls, paths: Sequence[str | Path]) -> Committee:
        """Make a committee of the files or texts of potentials."""
        return cls(tuple(potential_text(path) for path in paths))

    def __len__(self) -> int:
        return len(self.potentials)

    def predict(self, frames: Sequence[Atoms]) -> CommitteePredictions:
        """Evaluate structures with all members; labels are not needed.

        Parameters
        ----------
        frames
            Periodic structures of the elements of the committee.

        Raises
        ------
        InputError
            For no frames, or one that a NEP cannot be evaluated for.
        """
        if not frames:
            raise InputError("there is no structure to evaluate", hint="give at least one")
        members = [predict(text, frames) for text in self.potentials]
        rows, columns = np.triu_indices(3)
        virials = np.array([member.virials for member in members])
        forces = [
            np.array([member.forces[index] for member in members]) for index in range(len(frames))
        ]
        mean = Predictions(
            energies=np.mean([member.energies for member in members], axis=0),
            forces=[each.mean(axis=0) for each in forces],
            virials=virials.mean(axis=0),
            stresses=np.mean([member.stresses for member in members], axis=0),
        )
        return CommitteePredictions(
            mean=mean,
            energy_spread=np.std([member.energies for member in members], axis=0, ddof=1),
            force_spreads=[np.sqrt(each.var(axis=0, ddof=1).mean(axis=1)) for each in forces],
            virial_spread=np.sqrt(virials[:, :, rows, columns].var(axis=0, ddof=1).mean(axis=1)),
        )

    def calibrated(
        self,
        frames: Sequence[Atoms],
        *,
        potential: str | Path | None = None,
        seed: int = 0,
    ) -> Committee:
        """Return this committee with scales from labelled frames that no member was trained on.

        Parameters
        ----------
        frames
            Labelled frames; ``info["family"]`` groups related frames.
        potential
            The potential whose errors are estimated, such as the one trained on all frames; the
            mean of the committee by default.
        seed
            Seed of the bootstrap over families.

        Raises
        ------
        InputError
            For no frames, or an incomplete label.
        """
        prediction = self.predict(frames)
        mean = prediction.mean if potential is None else predict(potential, frames)
        return replace(self, calibration=_calibrate(prediction, mean, frames, seed))

    def save(self, directory: str | Path) -> Path:
        """Write ``nep_1.txt`` and so on, and ``committee.json`` with the calibration."""
        directory = Path(directory)
        for number, text in enumerate(self.potentials, start=1):
            write_text(directory / f"nep_{number}.txt", text)
        contents = {
            "n_members": len(self),
            "calibration": None if self.calibration is None else asdict(self.calibration),
        }
        write_text(directory / _FILE, json.dumps(contents, indent=2) + "\n")
        return directory

    @classmethod
    def load(cls, directory: str | Path) -> Committee:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the directory contains no committee, or an incomplete one.
        """
        path = Path(directory) / _FILE
        try:
            contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            n_members, stored = int(contents["n_members"]), contents["calibration"]
            calibration = None if stored is None else _calibration_from(stored)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not the description of a committee: {error}",
                hint="give a directory that `mgflows committee train` wrote",
            ) from error
        members = (path.parent / f"nep_{number}.txt" for number in range(1, n_members + 1))
        return cls(tuple(potential_text(member) for member in members), calibration)


def bag_families(frames: Sequence[Atoms], seed: int) -> Sequence[Atoms]:
    """Draw as many families as there are, with replacement, and return their frames.

    A family that was drawn ``n`` times has its frames once, with ``info["weight"]`` multiplied by
    the square root of ``n``: weights multiply errors, and the loss is quadratic in them. Trainers
    without weights see the frames of about 63 % of the families.

    Parameters
    ----------
    frames
        Labelled frames; one without ``info["family"]`` is a separate family.
    seed
        Seed of the draw.

    Returns
    -------
    frames
        Copies, in the order of the input; in a file if the frames are in one.

    Raises
    ------
    InputError
        For fewer than two families.
    """
    names = families_of(frames)
    distinct = sorted(set(names))
    if len(distinct) < 2:
        raise InputError(
            f"all {len(frames)} frames are of one family, so that every draw has the same frames",
            hint="give frames of at least two families",
        )
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(distinct), size=len(distinct))
    counts = dict(zip(distinct, np.bincount(drawn, minlength=len(distinct)).tolist(), strict=True))
    families_with: dict[str, list[str]] = {}
    for name, frame in zip(names, frames, strict=True):
        for symbol in set(frame.symbols):
            families_with.setdefault(symbol, []).append(name)
    for symbol in sorted(families_with):
        if not any(counts[name] for name in families_with[symbol]):
            # A new draw could lack another element.
            counts[str(rng.choice(sorted(set(families_with[symbol]))))] = 1
    bag: list[Atoms] | FrameFile = FrameFile() if isinstance(frames, FrameFile) else []
    for name, frame in zip(names, frames, strict=True):
        if counts[name]:
            copy = frame.copy()
            copy.calc = frame.calc
            if counts[name] > 1:
                weight = float(copy.info.get("weight", 1.0))
                copy.info["weight"] = weight * math.sqrt(counts[name])
            bag.append(copy)
    return bag


def train_committee(
    directory: str | Path,
    parameters: NepParameters,
    frames: Sequence[Atoms],
    *,
    n_members: int = 4,
    trainer: Trainer | None = None,
    seed: int = 0,
    initial_potential: str | Path | None = None,
    progress: Callable[[int, TrainingProgress], None] | None = None,
) -> Committee:
    """Train a committee, each member in a separate directory.

    An interrupted call with the same arguments resumes; finished members are not trained again.

    Parameters
    ----------
    directory
        Directory for ``member_1`` and so on, and the files of :meth:`Committee.save`.
    parameters
        Model of all members.
    frames
        Labelled frames to draw from. Keep some for the calibration.
    n_members
        Number of potentials.
    trainer
        Trainer of all members; the default is :class:`~mgflows.nep.training.NepTrainer`.
    seed
        Member ``i`` uses stream ``i`` of it for its draw and its initial parameters.
    initial_potential
        Potential to start all members from.
    progress
        Called with the number of a member and its progress.

    Raises
    ------
    InputError
        For fewer than two members or families, frames that cannot be trained on, or a directory
        with members of another committee.
    """
    if n_members < _SMALLEST_COMMITTEE:
        raise InputError(
            f"n_members is {n_members} but must be at least {_SMALLEST_COMMITTEE}",
            hint="four are usual",
        )
    if trainer is None:
        from mgflows.nep.training import NepTrainer

        trainer = NepTrainer()
    directory = Path(directory)
    texts = []
    for number, stream in enumerate(np.random.SeedSequence(seed).spawn(n_members), start=1):
        draw, initial = (int(word) for word in stream.generate_state(2) >> 1)
        folder = trainer.prepare(
            directory / f"member_{number}",
            parameters,
            bag_families(frames, draw),
            seed=initial,
            initial_potential=initial_potential,
            replace_results=False,
        )
        report = None if progress is None else partial(progress, number)
        texts.append(trainer.train(folder, report).nep_txt)
        logger.info("trained member %d of %d of the committee", number, n_members)
    committee = Committee(tuple(texts))
    committee.save(directory)
    return committee


def _calibrate(
    prediction: CommitteePredictions, mean: Predictions, frames: Sequence[Atoms], seed: int
) -> Calibration:
    """Compare errors of `mean` with spreads, in mean squares per frame."""
    rows, columns = np.triu_indices(3)
    errors: dict[Quantity, list[float]] = {"energy": [], "force": [], "virial": []}
    force_errors = []
    for index, frame in enumerate(frames):
        energy, forces, stress = frame_labels(frame, index, needs_stress=False)
        errors["energy"].append((mean.energies[index] - energy / len(frame)) ** 2)
        force_errors.append(np.mean((mean.forces[index] - forces) ** 2, axis=1))
        errors["force"].append(float(force_errors[-1].mean()))
        virial = units.virial_from_stress(stress, frame.cell.volume) / len(frame)
        errors["virial"].append(float(np.mean((mean.virials[index] - virial)[rows, columns] ** 2)))
    families, members = np.unique(families_of(frames), return_inverse=True)
    if len(families) < _FEW_FAMILIES:
        logger.warning(
            "the committee is calibrated with %d families; the errors of its scales are "
            "unreliable with fewer than %d",
            len(families),
            _FEW_FAMILIES,
        )
    n_atoms = np.array([len(frame) for frame in frames], dtype=float)
    spreads: dict[Quantity, NDArray[np.float64]] = {
        "energy": prediction.energy_spread**2,
        "force": prediction.force_spread**2,
        "virial": prediction.virial_spread**2,
    }
    scales: dict[Quantity, Scale] = {}
    reliability: dict[Quantity, list[ReliabilityBin]] = {}
    correlation: dict[Quantity, float] = {}
    for quantity, squares in errors.items():
        error, spread = np.array(squares), spreads[quantity]
        known = np.isfinite(error)
        if not known.any():
            continue
        weight = (n_atoms if quantity == "force" else np.ones(len(frames))) * known
        scales[quantity] = _scale(np.where(known, error, 0.0), spread, weight, members, seed)
        factor = scales[quantity].value
        if quantity == "force":
            spread_of = np.concatenate(prediction.force_spreads) ** 2
            reliability[quantity] = _bins(factor**2 * spread_of, np.concatenate(force_errors))
        else:
            reliability[quantity] = _bins(factor**2 * spread[known], error[known])
        correlation[quantity] = _spearman(spread[known], error[known])
    return Calibration(scales, reliability, correlation, len(frames), len(families), seed)


def _scale(
    error: NDArray[np.float64],
    spread: NDArray[np.float64],
    weight: NDArray[np.float64],
    members: NDArray[np.int64],
    seed: int,
) -> Scale:
    """The ratio of root mean squares and its bootstrap error over families."""
    n_families = int(members.max()) + 1
    errors = np.bincount(members, weight * error, n_families)
    spreads = np.bincount(members, weight * spread, n_families)
    if not spreads.sum() > 0.0:
        raise InputError(
            "the members of the committee agree exactly for all frames",
            hint="give potentials of different trainings",
        )
    draws = np.random.default_rng(seed).integers(n_families, size=(_N_BOOTSTRAP, n_families))
    below = spreads[draws].sum(axis=1)
    ratios = np.sqrt(errors[draws].sum(axis=1)[below > 0.0] / below[below > 0.0])
    return Scale(
        value=math.sqrt(errors.sum() / spreads.sum()),
        error=float(ratios.std(ddof=1)) if n_families > 1 else math.nan,
    )


def _bins(predicted: NDArray[np.float64], observed: NDArray[np.float64]) -> list[ReliabilityBin]:
    """Mean squares in bins of equal counts, in the order of the prediction."""
    order = np.argsort(predicted, kind="stable")
    return [
        ReliabilityBin(
            math.sqrt(float(predicted[part].mean())),
            math.sqrt(float(observed[part].mean())),
            len(part),
        )
        for part in np.array_split(order, min(_N_BINS, len(order)))
    ]


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if len(x) < 3 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


def _calibration_from(stored: dict[str, Any]) -> Calibration:
    return Calibration(
        scales={name: Scale(**scale) for name, scale in stored["scales"].items()},
        reliability={
            name: [ReliabilityBin(**each) for each in bins]
            for name, bins in stored["reliability"].items()
        },
        rank_correlation=stored["rank_correlation"],
        n_frames=stored["n_frames"],
        n_families=stored["n_families"],
        seed=stored["seed"],
    )
