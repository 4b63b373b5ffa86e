"""The training loop: batches, steps, reports, and its state for continuation."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError, ServiceError
from mgflows.nep.calculator import validate_nep_text
from mgflows.nep.training.core import RepulsiveCore
from mgflows.nep.training.data import (
    BasisCache,
    FrameSet,
    fit_reference,
    most_neighbours,
    usable_frames,
)
from mgflows.nep.training.evaluator import Evaluator
from mgflows.nep.training.loss import LossWeights, batch_loss
from mgflows.nep.training.loss_file import LossRow
from mgflows.nep.training.model import NepModel
from mgflows.nep.training.optimisers import make_optimiser
from mgflows.nep.training.schedule import CosineSchedule
from mgflows.nep.training.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.training.settings import TrainingSettings

__all__ = ["Training"]

logger = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 16
"""Frames that a report evaluates together: enough for many threads, little memory."""
_SNAPSHOT_INTERVAL = 100
"""Steps between two states to which a failed step returns."""
_FRAMES_FOR_ZERO = 50
"""Training frames from which a report determines the zero of the energy."""
_MAX_RESTORES = 20
_PLATEAU_DECREASE = 0.01
_LARGE_SPREAD = 10.0
"""eV; the network learns smaller differences between the energies of elements, with errors that are
as small or smaller (docs/how_to/training.md)."""
_DEFAULT_RATES = (2e-2, 1e-4)


@dataclass(frozen=True)
class Errors:
    """RMSEs in eV/atom, eV/A and eV/atom; NaN where there is nothing to compare."""

    energy: float
    force: float
    virial: float


class Training:
    """A training in memory, from its start or from a state.

    Parameters
    ----------
    train, test
        Labelled frames (see :mod:`mgflows.nep.training.data`), each read once; None or an empty
        sequence for no test frames.
    parameters
        The model; ``generation`` are the steps, ``batch``, ``learning_rate``, ``seed``,
        ``output_interval`` and the weights of the loss are used as well.
    settings
        Everything else.
    initial_potential
        Text of a ``nep.txt`` to start from: same architecture, but it may have more species, whose
        parameters are left out. Its scaling of the descriptor is kept.
    n_threads
        Threads; the result does not depend on them.
    scratch
        Directory for the atoms of many frames; None keeps them in memory.

    Attributes
    ----------
    step
        Steps done.
    rows
        Lines of the loss curve so far.

    Raises
    ------
    InputError
        For frames or a potential that cannot be used.
    """

    def __init__(
        self,
        train: Iterable[Atoms],
        test: Iterable[Atoms] | None,
        parameters: NepParameters,
        settings: TrainingSettings,
        initial_potential: str | None = None,
        n_threads: int = 1,
        scratch: Path | None = None,
    ) -> None:
        self.parameters = parameters
        self.settings = settings
        self.rows: list[LossRow] = []
        self.step = 0
        self._rng = np.random.default_rng(parameters.seed)
        team = ThreadTeam(n_threads)
        self._train = FrameSet.build(train, parameters, settings.subset_weights, scratch)
        self._batch = min(parameters.batch, len(self._train))
        self._cache = BasisCache(
            self._train, parameters, settings.cache, max(self._batch, _FRAMES_AT_ONCE), team
        )
        self._test: FrameSet | None = None
        if test:
            # Errors are of all atoms alike.
            alike = replace(parameters, type_weight=None, force_delta=0.0)
            self._test = FrameSet.build(test, alike, scratch=scratch)
            left = max(0.0, settings.cache - self._cache.total_gib)
            self._test_cache = BasisCache(self._test, parameters, left, _FRAMES_AT_ONCE, team)
        if initial_potential is None:
            self._model = self._new_model()
        else:
            self._model = self._warm_model(initial_potential)
        shape = self._model.shape
        self._flat = self._model.flat
        self._evaluator = Evaluator(self._model, self._cache)
        self._free = np.ones(shape.n_parameters)
        self._parts = shape.split(self._free)
        if not np.any(shape.split(self._flat)["hidden"][:, -1]):
            # The last neuron holds the energies of the elements.
            for name in ("hidden", "threshold", "output"):
                self._parts[name][:, -1] = 0.0
        self._set_reference(self._model.reference)
        self._core = (
            None
            if settings.core_radius is None
            else RepulsiveCore(
                self._model, settings.core_radius, settings.core_weight, parameters.seed or 0, team
            )
        )
        self._optimiser = make_optimiser(settings.optimiser, shape)
        first, last = parameters.learning_rate or _DEFAULT_RATES
        self._schedule = CosineSchedule(first, last, 0, parameters.generation)
        self._weights = LossWeights(parameters.lambda_e, parameters.lambda_f, parameters.lambda_v)
        self._usable = usable_frames(self._train.weights)
        self._order: list[int] = []
        self._average = self._flat.astype(np.float64) if settings.averaging else None
        self._rate_factor = 1.0
        self._n_restores = 0
        self._window = np.zeros(8)
        self._plateau_window = np.zeros(2)
        self._plateau_before = math.inf
        self._good = self._snapshot()

    # Start.

    def _new_model(self) -> NepModel:
        model = NepModel.random(self.parameters, self._rng)
        shape, data = model.shape, self._train
        weights = data.weights * data.energy_weights
        elements = fit_reference(data.energies, data.composition_of(shape.n_species), weights)
        separate = self.settings.energy_reference
        if separate is None:
            separate = float(np.ptp(elements)) > _LARGE_SPREAD
        mean = float(
            np.average(data.energies / data.sizes, weights=weights if np.any(weights) else None)
        )
        model.reference = elements if separate else np.full(shape.n_species, mean)
        logger.info(
            "energies of the elements from least squares: %s eV; %s",
            ", ".join(
                f"{s} {e:.4f}" for s, e in zip(self.parameters.species, elements, strict=True)
            ),
            "the network learns the rest" if separate else "left to the network",
        )
        if model.uses_last_neuron:
            if shape.n_neurons < 2:
                raise InputError(
                    "neuron is 1, but the energies of the elements need one neuron",
                    hint="use 2 or more",
                )
            parts = shape.split(model.flat)
            parts["hidden"][:, -1] = parts["output"][:, -1] = 0.0
        ones = np.zeros(shape.n_parameters, np.float32)
        for name in ("radial", "angular"):
            shape.split(ones)[name][:] = 1.0
        lowest, highest = np.full(shape.dimension, np.inf), np.full(shape.dimension, -np.inf)
        evaluator = Evaluator(model, self._cache)
        for frames in _chunks(len(data)):
            values = evaluator.descriptors(frames, ones)
            lowest = np.minimum(lowest, values.min(axis=0))
            highest = np.maximum(highest, values.max(axis=0))
        spread = highest - lowest
        scale = np.maximum(spread, 1e-3 * np.maximum(np.abs(highest), np.abs(lowest)))
        model.scaler = (1.0 / np.where(scale > 0.0, scale, 1.0)).astype(np.float32)
        return model

    def _warm_model(self, text: str) -> NepModel:
        dropped = [k for k in validate_nep_text(text).species if k not in self.parameters.species]
        model = NepModel.reduced(text, self.parameters)
        logger.info(
            "starting from a potential; its descriptor scaling is kept%s",
            f", its parameters for {', '.join(dropped)} are left out" if dropped else "",
        )
        self._shift_reference(model)
        return model

    def _shift_reference(self, model: NepModel) -> None:
        """Bring the energies of the initial potential to the zero of the labels."""
        data = self._train
        evaluator = Evaluator(model, self._cache)
        energies = np.concatenate(
            [evaluator.predict(k, model.flat).energies for k in _chunks(len(data))]
        )
        composition = data.composition_of(model.shape.n_species)
        residual = data.energies - energies - composition @ model.reference
        shift = fit_reference(residual, composition, data.weights * data.energy_weights)
        if not np.any(model.shape.split(model.flat)["hidden"][:, -1]):
            model.reference = model.reference + shift
        else:
            if np.ptp(shift) > _LARGE_SPREAD:
                raise InputError(
                    "the energies of the labels differ from those of the initial potential by "
                    f"{shift.min():.4g} to {shift.max():.4g} eV per atom, depending on the element",
                    hint="give both the same zero, such as isolated atoms, or train without it",
                )
            shift = np.full(len(shift), np.average(residual / data.sizes, weights=data.weights))
            model.reference = model.reference + shift
        logger.info(
            "the energies of the initial potential are shifted by %s eV per atom", shift.round(4)
        )

    # Loop.

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self._schedule.end

    @property
    def n_frames(self) -> tuple[int, int]:
        """Training and test frames."""
        return len(self._train), 0 if self._test is None else len(self._test)

    @property
    def n_steps(self) -> int:
        """Steps of the whole training, as far as is known."""
        return self._schedule.end

    def advance(self) -> LossRow | None:
        """Do one step; return a line of the loss curve after the steps that have a report."""
        frames = self._next_batch()
        prediction = self._evaluator.predict(frames, self._flat)
        loss = batch_loss(
            self._train, frames, self._offsets, prediction, self._weights,
            shear=self.parameters.lambda_shear, remove_mean=True,
        )  # fmt: skip
        gradient = self._evaluator.gradient(self._flat, loss)
        l1, l2 = self._regularise(gradient)
        total = loss.total + l1 + l2
        if self._core is not None:
            violation, push = self._core.gradient(self._flat, self.step)
            total += violation
            gradient += push
        gradient *= self._free
        norm = float(np.linalg.norm(gradient))
        if math.isfinite(norm) and math.isfinite(total):
            clip = self.settings.gradient_clip
            if clip is not None and norm > clip:
                gradient *= clip / norm
            rate = self._schedule.rate(self.step) * self._rate_factor
            update = rate * self._free * self._optimiser.update(gradient)
            self._flat -= update.astype(np.float32)
            if self._average is not None:
                decay = self.settings.averaging
                self._average += (1.0 - decay) * (self._flat - self._average)
            self._window += [total, 1.0, *loss.squares, *loss.counts]
            self._plateau_window += [total, 1.0]
            if self.step % _SNAPSHOT_INTERVAL == 0 and np.all(np.isfinite(self._flat)):
                self._good = self._snapshot()
        else:
            self._return_to_good_state()
        self.step += 1
        self._check_plateau()
        if self.step % self.parameters.output_interval == 0 or self.is_finished:
            return self._report(l1, l2)
        return None

    def _next_batch(self) -> NDArray[np.int64]:
        while len(self._order) < self._batch:
            self._order += self._rng.permutation(self._usable).tolist()
        batch, self._order = self._order[: self._batch], self._order[self._batch :]
        return np.array(batch, np.int64)

    def _regularise(self, gradient: NDArray[np.float64]) -> tuple[float, float]:
        """Add the gradient of the L1 and L2 terms in GPUMD's form, and return the terms."""
        flat, n = self._flat.astype(np.float64), len(self._flat)
        l1 = l2 = 0.0
        if self.parameters.lambda_1:
            l1 = self.parameters.lambda_1 * float(np.mean(np.abs(flat)))
            gradient += self.parameters.lambda_1 / n * np.sign(flat)
        if self.parameters.lambda_2:
            root = float(np.sqrt(np.mean(flat**2)))
            l2 = self.parameters.lambda_2 * root
            gradient += self.parameters.lambda_2 / (n * max(root, 1e-12)) * flat
        return l1, l2

    def _snapshot(self) -> dict[str, NDArray[Any]]:
        state: dict[str, NDArray[Any]] = {"flat": self._flat.copy()}
        if self._average is not None:
            state["average"] = self._average.copy()
        return state | {f"optimiser_{k}": v for k, v in self._optimiser.state().items()}

    def _return(self, state: dict[str, NDArray]) -> None:
        self._flat[:] = state["flat"]
        if self._average is not None:
            self._average[:] = state["average"]
        prefix = "optimiser_"
        self._optimiser.restore(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )

    def _return_to_good_state(self) -> None:
        self._n_restores += 1
        if self._n_restores > _MAX_RESTORES:
            raise ServiceError(
                f"the training diverged {_MAX_RESTORES} times, the last time in step {self.step}",
                hint="give a smaller learning rate, or look for frames with wrong labels",
            )
        self._rate_factor *= 0.5
        self._return(self._good)
        logger.warning(
            "step %d is not finite; the training returns to its last good state with %g of the "
            "learning rate", self.step, self._rate_factor,
        )  # fmt: skip

    def _check_plateau(self) -> None:
        patience = self.settings.plateau
        if patience is None or self._schedule.start or self.step % patience:
            return
        total, count = self._plateau_window
        self._plateau_window[:] = 0.0
        mean = total / max(count, 1.0)
        if mean > (1.0 - _PLATEAU_DECREASE) * self._plateau_before:
            self._schedule = self._schedule.shortened(self.step)
            logger.info(
                "the training loss has stopped decreasing at step %d; the training ends at step %d",
                self.step, self._schedule.end,
            )  # fmt: skip
        self._plateau_before = mean

    # Results.

    def _report(self, l1: float, l2: float) -> LossRow:
        total, count, *sums = self._window
        self._window = np.zeros(8)
        squares, counts = np.array(sums[:3]), np.array(sums[3:])
        train = np.sqrt(squares / np.where(counts > 0.0, counts, np.nan))
        self._find_energy_zero()
        test = self.test_errors()
        energy, force, virial = train.tolist()
        row = LossRow(
            step=self.step,
            total=total / max(count, 1.0),
            l1=l1,
            l2=l2,
            energy_train=energy,
            force_train=force,
            virial_train=virial,
            energy_test=test.energy,
            force_test=test.force,
            virial_test=test.virial,
        )
        self.rows.append(row)
        return row

    def _find_energy_zero(self) -> None:
        """Remove the mean energy error: of all training frames at the end, of a part before."""
        usable = self._usable
        if not self.is_finished:
            usable = usable[:: math.ceil(len(usable) / _FRAMES_FOR_ZERO)]
        flat = self._delivered()
        total = count = 0.0
        for chunk in _chunks(len(usable)):
            frames = usable[chunk]
            prediction = self._evaluator.predict(frames, flat)
            loss = batch_loss(self._train, frames, self._offsets, prediction, self._weights)
            total += loss.energy_sum
            count += loss.counts[0]
        if count > 0.0:
            self._set_reference(self._model.reference - total / count)

    def _set_reference(self, reference: NDArray[np.float64]) -> None:
        self._model.reference = reference
        self._offsets = self._train.composition_of(len(reference)) @ reference

    def _delivered(self) -> NDArray[np.float32]:
        return self._flat if self._average is None else self._average.astype(np.float32)

    def test_errors(self) -> Errors:
        """RMSEs of the test frames with the parameters that would be delivered now."""
        data = self._test
        if data is None:
            return Errors(math.nan, math.nan, math.nan)
        evaluator = Evaluator(self._model, self._test_cache)
        flat = self._delivered()
        offsets = data.composition_of(self._model.shape.n_species) @ self._model.reference
        sums, counts = np.zeros(3), np.zeros(3)
        for frames in _chunks(len(data)):
            prediction = evaluator.predict(frames, flat)
            loss = batch_loss(data, frames, offsets, prediction, self._weights)
            sums += loss.squares
            counts += loss.counts
        return Errors(*np.sqrt(sums / np.where(counts > 0.0, counts, np.nan)).tolist())

    def potential(self) -> str:
        """The text of ``nep.txt`` with the parameters that are delivered now."""
        model = NepModel(
            self.parameters, self._delivered(), self._model.scaler, self._model.reference
        )
        return model.to_text(most_neighbours(self._train))

    @property
    def force_errors(self) -> tuple[float, float]:
        """RMSE of the training forces at the last report, and their root mean square, in eV/A."""
        typical = float(np.sqrt(np.mean(np.square(self._train.forces))))
        return (self.rows[-1].force_train if self.rows else math.nan), typical

    # State.

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """Everything that the rest of the training depends on, for a checkpoint."""
        meta: dict[str, Any] = {
            "step": self.step,
            "rng": self._rng.bit_generator.state,
            "rate_factor": self._rate_factor,
            "n_restores": self._n_restores,
            "schedule": asdict(self._schedule),
            "plateau_before": self._plateau_before,
            "rows": [asdict(row) for row in self.rows],
        }
        arrays: dict[str, NDArray[Any]] = {
            "order": np.array(self._order, np.int64),
            "window": self._window,
            "plateau_window": self._plateau_window,
            "scaler": self._model.scaler,
            "reference": self._model.reference,
            **self._snapshot(),
            **{f"good_{k}": v for k, v in self._good.items()},
        }
        return meta, arrays

    def restore(self, meta: dict[str, Any], arrays: dict[str, NDArray]) -> None:
        """Continue from a state of a training on the same frames with the same settings."""
        self.step = int(meta["step"])
        self._rng.bit_generator.state = meta["rng"]
        self._rate_factor = float(meta["rate_factor"])
        self._n_restores = int(meta["n_restores"])
        schedule = CosineSchedule(**meta["schedule"])
        if schedule.start or schedule.end == self._schedule.end:
            self._schedule = schedule
        self._plateau_before = float(meta["plateau_before"])
        self.rows = [LossRow(**row) for row in meta["rows"]]
        self._order = arrays["order"].tolist()
        self._window = arrays["window"].copy()
        self._plateau_window = arrays["plateau_window"].copy()
        self._model.scaler = arrays["scaler"]
        self._set_reference(arrays["reference"])
        self._return(arrays)
        prefix = "good_"
        self._good = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _chunks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, _FRAMES_AT_ONCE):
        yield np.arange(start, min(count, start + _FRAMES_AT_ONCE), dtype=np.int64)


def seconds_left(step: int, first_step: int, n_steps: int, start: float) -> float:
    """Seconds to the end, from the speed since ``start`` (:func:`time.monotonic`)."""
    done = step - first_step
    return (time.monotonic() - start) / done * (n_steps - step) if done else math.nan
