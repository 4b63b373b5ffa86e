"""Test errors against the number of training frames, and forecast of the frames for a target.

For every seed the families are put into a random order, and each training set is the beginning of
it, so that larger sets contain smaller ones. All trainings have the same number of steps and are
tested with the same frames. The errors of the larger sets are fitted by a power law,
``error = a n^-b`` (Hestness et al., arXiv:1712.00409), which is extrapolated at most tenfold.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.errors import InputError
from mgflows.files import digest_of_text, write_text
from mgflows.fits import fit_line
from mgflows.nep.frames import families_of, frames_text
from mgflows.nep.results import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.trainers import Trainer

__all__ = [
    "ErrorName",
    "LabelForecast",
    "LearningCurve",
    "LearningPoint",
    "learning_curve",
    "nested_sets",
]

logger = logging.getLogger(__name__)

_NO_ERROR = 1e-9
"""meV/atom or meV/A, in place of zero in a power law."""
ErrorName = Literal["energy", "force", "virial"]
"""Root mean square errors: meV/atom, meV/A and meV/atom."""

_N_BOOTSTRAP = 500
_LARGEST_EXTRAPOLATION = 10.0
_FITTED_SIZES = 4
"""Number of the largest training sets used in the fit of the power law."""
_FLAT = 2.0
"""Number of standard errors by which the exponent must exceed zero."""


@dataclass(frozen=True)
class LearningPoint:
    """A training.

    Attributes
    ----------
    seed
        Seed of the order of the families and of the training.
    n_frames, n_families
        Size of the training set.
    energy, force, virial
        RMSE of the test frames in meV/atom, meV/A, meV/atom.
    cpu_seconds
        CPU time of the training.
    """

    seed: int
    n_frames: int
    n_families: int
    energy: float
    force: float
    virial: float
    cpu_seconds: float


@dataclass(frozen=True)
class LabelForecast:
    """Number of frames for a target error, from the power law.

    Attributes
    ----------
    quantity, target
        The error and its target.
    n_frames
        Frames at which the fit reaches the target; infinite if the errors do not fall with the
        number of frames, or only beyond ten times the largest set.
    low, high
        Bounds of the central 68 % of a bootstrap over seeds.
    is_reached
        Whether the mean error of the largest set is at or below the target.
    exponent, exponent_error
        ``b`` and its standard error.
    verdict
        A sentence.
    """

    quantity: ErrorName
    target: float
    n_frames: float
    low: float
    high: float
    is_reached: bool
    exponent: float
    exponent_error: float
    verdict: str


@dataclass(frozen=True)
class LearningCurve:
    """Test errors of nested training sets.

    Attributes
    ----------
    points
        Every training.
    n_test_frames
        Test frames, the same for all.
    """

    points: tuple[LearningPoint, ...]
    n_test_frames: int

    @property
    def sizes(self) -> list[int]:
        """Numbers of families of the training sets, ascending."""
        return sorted({point.n_families for point in self.points})

    def mean(
        self, quantity: ErrorName
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean frames per size, the mean error over seeds, and its standard error.

        The standard error is NaN for one seed.
        """
        rows = []
        for size in self.sizes:
            values = [
                (point.n_frames, getattr(point, quantity))
                for point in self.points
                if point.n_families == size
            ]
            errors = np.array([error for _, error in values])
            scatter = errors.std(ddof=1) / math.sqrt(len(errors)) if len(errors) > 1 else math.nan
            rows.append((np.mean([n for n, _ in values]), errors.mean(), scatter))
        n_frames, means, scatters = np.array(rows, dtype=float).T
        return n_frames, means, scatters

    def forecast(self, quantity: ErrorName, target: float) -> LabelForecast:
        """Estimate the number of frames for a target test error.

        Parameters
        ----------
        quantity
            The error.
        target
            Its target in meV/atom (energy, virial) or meV/A (force).

        Raises
        ------
        InputError
            For a target that is not positive, fewer than three sizes, or unknown errors, such as
            those of virials without stresses of the test frames.
        """
        if not (math.isfinite(target) and target > 0.0):
            raise InputError(f"the target of the {quantity} is {target:g} but must be positive")
        if len(self.sizes) < 3:
            raise InputError(
                f"the learning curve has {len(self.sizes)} sizes, but a power law needs three",
                hint="give more fractions",
            )
        n_frames, means, _ = self.mean(quantity)
        if not np.isfinite(means).all():
            raise InputError(
                f"the {quantity} errors of the test frames are not known",
                hint="leave out their target, or give test frames with this label",
            )
        exponent, needed = _power_law(self.points, self.sizes, quantity, target)
        seeds = sorted({point.seed for point in self.points})
        rng = np.random.default_rng(0)
        draws = []
        for _ in range(_N_BOOTSTRAP):
            points = [
                point
                for seed in rng.choice(seeds, len(seeds))
                for point in self.points
                if point.seed == seed
            ]
            draws.append(_power_law(points, self.sizes, quantity, target))
        exponents, sizes = np.array(draws).T
        low, high = np.quantile(sizes, [0.16, 0.84], method="nearest")
        exponent_error = float(exponents.std(ddof=1)) if len(seeds) > 1 else math.nan
        is_reached = bool(means[-1] <= target)
        largest = int(n_frames[-1])
        limit = _LARGEST_EXTRAPOLATION * largest
        is_flat = not exponent > (_FLAT * exponent_error if len(seeds) > 1 else 0.0)
        unit = "meV/A" if quantity == "force" else "meV/atom"
        if is_reached:
            # The smallest sufficient set was measured, not extrapolated.
            enough = int(n_frames[np.flatnonzero(means <= target)[0]])
            needed = min(needed, enough)
            verdict = f"{target:g} {unit} is reached: {enough} frames are enough"
        elif is_flat:
            needed = low = high = math.inf
            verdict = (
                f"the error does not fall with the number of frames (exponent {exponent:.2f}): "
                "more frames of this kind do not help; train longer, enlarge the model, or sample "
                "other structures"
            )
        elif needed > limit:
            needed = high = math.inf
            verdict = f"more than {limit:.0f} frames of this kind are needed, ten times the largest"
        else:
            high = high if high <= limit else math.inf
            upper = f"{high:.0f}" if math.isfinite(high) else f"more than {limit:.0f}"
            verdict = (
                f"about {needed:.0f} frames ({low:.0f} to {upper}) of this kind are needed for "
                f"{target:g} {unit}, {max(0.0, needed - largest):.0f} more than the largest set"
            )
        return LabelForecast(
            quantity,
            target,
            float(needed),
            float(low),
            float(high),
            is_reached,
            exponent,
            exponent_error,
            verdict,
        )


def nested_sets(
    frames: Sequence[Atoms], fractions: Sequence[float], seed: int
) -> list[tuple[int, list[Atoms]]]:
    """Nested training sets: the first families of a random order.

    Parameters
    ----------
    frames
        Labelled frames; ``info["family"]`` groups related frames.
    fractions
        Fractions of the families, in (0, 1].
    seed
        Seed of the order.

    Returns
    -------
    sets
        Number of families and frames of each fraction, ascending; each number once.

    Raises
    ------
    InputError
        For a fraction outside (0, 1].
    """
    for fraction in fractions:
        if not 0.0 < fraction <= 1.0:
            raise InputError(f"the fraction {fraction:g} must lie in (0, 1]")
    names = families_of(frames)
    distinct = sorted(set(names))
    order = [distinct[index] for index in np.random.default_rng(seed).permutation(len(distinct))]
    sizes = sorted({max(1, round(fraction * len(order))) for fraction in fractions})
    sets = []
    for size in sizes:
        chosen = set(order[:size])
        sets.append(
            (size, [frame for name, frame in zip(names, frames, strict=True) if name in chosen])
        )
    return sets


def learning_curve(
    directory: str | Path,
    parameters: NepParameters,
    train: Sequence[Atoms],
    test: Sequence[Atoms],
    *,
    fractions: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0),
    seeds: Sequence[int] = (0, 1, 2),
    trainer: Trainer | None = None,
    progress: Callable[[LearningPoint], None] | None = None,
) -> LearningCurve:
    """Train on nested fractions of the families and test with the same frames.

    Every finished training is kept in ``points.json``: an interrupted call with the same arguments
    resumes.

    Parameters
    ----------
    directory
        Directory for ``points.json`` and the running training.
    parameters
        The model.
    train, test
        Labelled frames; no family should be in both.
    fractions
        Fractions of the families.
    seeds
        One curve each; one seed gives no errors.
    trainer
        The default is :class:`~mgflows.nep.training.NepTrainer`.
    progress
        Called with every point, those of an earlier call included.

    Raises
    ------
    InputError
        For no frames, a family on both sides, or frames that cannot be trained on.
    """
    shared = {frame.info.get("family") for frame in train} & {
        frame.info.get("family") for frame in test
    } - {None, ""}
    if shared:
        raise InputError(
            f"the family {min(map(str, shared))!r} is in the training and in the test frames, so "
            "that the test errors would be too small",
            hint="split the frames by family",
        )
    if not seeds:
        raise InputError("there is no seed", hint="give at least one")
    if trainer is None:
        from mgflows.nep.training import NepTrainer

        trainer = NepTrainer(reports=1)
    directory = Path(directory)
    path = directory / "points.json"
    identity = digest_of_text(
        frames_text(train, needs_stress=False),
        frames_text(test, needs_stress=False),
        repr(parameters),
        repr(trainer),
    )
    known = _read_points(path, identity)
    points = []
    for seed in seeds:
        for n_families, frames in nested_sets(train, fractions, seed):
            key = f"{seed}-{n_families}"
            if key not in known:
                folder = trainer.prepare(directory / "training", parameters, frames, seed=seed)
                result = trainer.train(folder)
                errors = parity(result.nep_txt, test).overall
                known[key] = LearningPoint(
                    seed,
                    len(frames),
                    n_families,
                    errors.energy_rmse,
                    errors.force_rmse,
                    errors.virial_rmse,
                    result.cpu_seconds,
                )
                _write_points(path, identity, known)
            points.append(known[key])
            if progress is not None:
                progress(known[key])
    return LearningCurve(tuple(points), len(test))


def _power_law(
    points: Sequence[LearningPoint], sizes: Sequence[int], quantity: ErrorName, target: float
) -> tuple[float, float]:
    """Exponent of the law through the largest sizes, and frames at which it reaches the target."""
    rows = []
    for size in sizes[-_FITTED_SIZES:]:
        values = [point for point in points if point.n_families == size]
        rows.append(
            (
                np.mean([math.log(point.n_frames) for point in values]),
                np.mean([math.log(getattr(point, quantity) or _NO_ERROR) for point in values]),
            )
        )
    line = fit_line(*np.array(rows).T)
    if line is None or line.slope >= 0.0:
        return (0.0 if line is None else -line.slope), math.inf
    exponent = (math.log(target) - line.intercept) / line.slope
    return -line.slope, math.exp(exponent) if exponent < 700.0 else math.inf


def _read_points(path: Path, identity: str) -> dict[str, LearningPoint]:
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = stored["identity"]
        points = {key: LearningPoint(**point) for key, point in stored["points"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="remove it to start the curve over"
        ) from error
    if found != identity:
        raise InputError(
            f"{path} contains a learning curve of other frames or settings",
            hint="give another directory, or remove it",
        )
    return points


def _write_points(path: Path, identity: str, points: Mapping[str, LearningPoint]) -> None:
    contents = {
        "identity": identity,
        "points": {key: asdict(point) for key, point in points.items()},
    }
    write_text(path, json.dumps(contents, indent=2) + "\n")
