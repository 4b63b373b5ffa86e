"""Predictions of a batch and the gradient of its loss, on several threads.

The atoms of the frames are divided into work items of at most 64 atoms, by a rule that does not
depend on the number of threads; every item has separate results, which are added in the order of
the items. The results are therefore bitwise identical for any number of threads.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mgflows.compilation import njit
from mgflows.nep.training.arrays import BatchPrediction, Memory, WorkItems
from mgflows.nep.training.kernels import compile_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.nep.training.data import BasisCache
    from mgflows.nep.training.loss import BatchLoss
    from mgflows.nep.training.model import NepModel

__all__ = ["Evaluator"]

_ATOMS_PER_ITEM = 64
_ITEMS_PER_FRAME = 16


@njit()
def _add_forces(
    parts: NDArray[np.float32],
    frame_items: NDArray[np.int64],
    starts: NDArray[np.int64],
    forces: NDArray[np.float32],
) -> None:
    """Sum the forces of the items of each frame, in their order."""
    for frame in range(len(starts) - 1):
        n = starts[frame + 1] - starts[frame]
        for item in range(frame_items[frame], frame_items[frame + 1]):
            for i in range(n):
                for x in range(3):
                    if item == frame_items[frame]:
                        forces[starts[frame] + i, x] = parts[item, i, x]
                    else:
                        forces[starts[frame] + i, x] += parts[item, i, x]


@njit()
def _add_rows(rows: NDArray[np.float32], total: NDArray[np.float64]) -> None:
    """Sum rows in their order, in double precision."""
    total[:] = 0.0
    for row in range(len(rows)):
        for k in range(rows.shape[1]):
            total[k] += rows[row, k]


class Evaluator:
    """Evaluates a model for frames of a cache.

    Parameters
    ----------
    model
        Its parameters are read at every call.
    cache
        Constants of the frames.
    """

    def __init__(self, model: NepModel, cache: BasisCache) -> None:
        self.model = model
        self.cache = cache
        self._team = cache.team
        self.kernels = compile_kernels(model.shape)
        self._items: WorkItems | None = None
        self._buffers: dict[str, NDArray] = {}

    def predict(self, frames: NDArray[np.int64], flat: NDArray[np.float32]) -> BatchPrediction:
        """Energies, forces and virials with the parameters ``flat``."""
        sizes = self.cache.data.sizes[frames]
        items, frame_items = _divide(sizes, self.cache.load(frames))
        n_items, n_atoms = len(items.first), int(sizes.sum())
        energies, virials = np.empty(n_items), np.empty((n_items, 6))
        parts = self._buffer("forces", (n_items, int(sizes.max()), 3))
        self._items = items
        self._team.run(
            self.kernels.evaluate, n_items, items, flat, self.model.scaler, self.cache.basis,
            energies, parts, virials, self._memory(n_atoms),
        )  # fmt: skip
        forces = np.empty((n_atoms, 3), np.float32)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        _add_forces(parts, frame_items, starts, forces)
        return BatchPrediction(
            np.add.reduceat(energies, frame_items[:-1]),
            forces,
            np.add.reduceat(virials, frame_items[:-1], axis=0),
        )

    def gradient(self, flat: NDArray[np.float32], loss: BatchLoss) -> NDArray[np.float64]:
        """Gradient of the loss of the last predicted batch with respect to the parameters."""
        if self._items is None:
            raise RuntimeError("predict must come before gradient")
        items = self._items
        rows = self._buffer("gradients", (len(items.first), len(flat)))
        self._team.run(
            self.kernels.differentiate, len(items.first), items, flat, self.model.scaler,
            self.cache.basis, loss.slopes, self._memory(len(loss.slopes.force)), rows,
        )  # fmt: skip
        total = np.empty(len(flat))
        _add_rows(rows, total)
        return total

    def descriptors(
        self, frames: NDArray[np.int64], flat: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n_atoms, dimension) unscaled descriptors."""
        sizes = self.cache.data.sizes[frames]
        first = self.cache.load(frames)
        atoms = np.concatenate([np.arange(a, a + n) for a, n in zip(first, sizes, strict=True)])
        result = np.empty((len(atoms), self.model.shape.dimension), np.float32)
        self._team.run(self.kernels.describe, len(atoms), atoms, flat, self.cache.basis, result)
        return result

    def _memory(self, n_atoms: int) -> Memory:
        shape = self.model.shape
        return Memory(
            self._buffer("sums", (n_atoms, shape.n_angular, shape.n_components)),
            self._buffer("hidden", (n_atoms, shape.n_neurons)),
            self._buffer("descriptor", (n_atoms, shape.dimension)),
            self._buffer("slope", (n_atoms, shape.dimension)),
        )

    def _buffer(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(size, np.float32)
        return self._buffers[name][:size].reshape(shape)


def _divide(
    sizes: NDArray[np.int64], bases: NDArray[np.int64]
) -> tuple[WorkItems, NDArray[np.int64]]:
    """Work items of frames, and the first item of each frame."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    frame_items = [0]
    start = 0
    for frame, (size, base) in enumerate(zip(sizes.tolist(), bases.tolist(), strict=True)):
        n_items = min(_ITEMS_PER_FRAME, math.ceil(size / _ATOMS_PER_ITEM))
        cuts = [base + size * k // n_items for k in range(n_items + 1)]
        rows += [(first, last, base, start, size, frame) for first, last in pairwise(cuts)]
        start += size
        frame_items.append(len(rows))
    return WorkItems(*np.array(rows, np.int64).T.copy()), np.array(frame_items, np.int64)
