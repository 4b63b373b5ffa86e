"""The loss of a batch and its derivatives with respect to energies, forces and virials.

``L = (lambda_e / s_e) <w w_e (dE/N)^2> + (lambda_f / s_f) <w dF^2>``
``+ (lambda_v / s_v) <w (dW/N)^2>``

with the means over the frames of the batch, over all force components of the batch, and over the
six virial components of the frames that have a virial. ``type_weight``, ``force_delta`` and
``lambda_shear`` of the parameters weight forces and shear components as in GPUMD. The weighted mean
of the energy errors over the batch is removed first, as in GPUMD: the zero of the energy is
determined at the end, in one pass over all frames, and does not disturb the descent. The scales
``s_e = 0.002 eV^2``, ``s_f = 0.06 (eV/A)^2`` and ``s_v = 0.06 eV^2`` are those of neppo, so that
weights have the same meaning for both trainers. With them, ``lambda_e = 1`` weights a squared
energy error 30 times as much as a squared force error: a gradient method needs a smaller value than
the evolution strategy of the paper, whose weights multiply RMSEs and not their squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.nep.training.arrays import LossSlopes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.nep.training.arrays import BatchPrediction
    from mgflows.nep.training.data import FrameSet

__all__ = ["FORCE_SCALE", "BatchLoss", "LossWeights", "batch_loss"]

_ENERGY_SCALE = 0.002
FORCE_SCALE = 0.06
_VIRIAL_SCALE = 0.06


@dataclass(frozen=True)
class LossWeights:
    """Weights of the squared errors of energy, force and virial, in the form above.

    The defaults were found by measurement (``docs/how_to/training.md``).
    """

    energy: float = 0.01
    force: float = 1.0
    virial: float = 0.1

    def __post_init__(self) -> None:
        weights = (self.energy, self.force, self.virial)
        if not all(np.isfinite(weights)) or min(weights) < 0.0 or not any(weights):
            raise InputError(
                f"the weights of energy, force and virial are {self.energy:g}, {self.force:g} and "
                f"{self.virial:g}, with which nothing can be fitted",
                hint="give at least one positive weight, and none that is negative",
            )


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch, its derivatives and the sums for error statistics.

    Attributes
    ----------
    total
        The loss.
    slopes
        Its derivatives with respect to the predictions.
    squares, counts
        (3,) weighted sums of the squared errors (eV/atom, eV/A, eV/atom) and of the weights.
    energy_sum
        Weighted sum of the energy errors in eV/atom.
    """

    total: float
    slopes: LossSlopes
    squares: NDArray[np.float64]
    counts: NDArray[np.float64]
    energy_sum: float


def batch_loss(
    data: FrameSet,
    frames: NDArray[np.int64],
    reference: NDArray[np.float64],
    prediction: BatchPrediction,
    weights: LossWeights,
    *,
    shear: float = 1.0,
    remove_mean: bool = False,
) -> BatchLoss:
    """Compare predictions of a batch with its labels.

    Parameters
    ----------
    data, frames
        The frames of the batch.
    reference
        (len(data),) energies in eV that are added to those of the network.
    prediction
        Energies, forces and virials of these frames.
    weights
        Weights of the three terms.
    shear
        Factor of the errors of the three shear components of the virial.
    remove_mean
        Remove the mean energy error; not done for a single frame.
    """
    energies, forces, virials = prediction
    n = len(frames)
    sizes = data.sizes[frames].astype(np.float64)
    w = data.weights[frames]
    with_virial = data.has_virial[frames]
    energy_error = (energies - (data.energies[frames] - reference[frames])) / sizes
    w_energy = w * data.energy_weights[frames]
    if remove_mean and n > 1 and w_energy.sum() > 0.0:
        energy_error = energy_error - np.average(energy_error, weights=w_energy)
    target = np.concatenate([data.forces[data.offsets[k] : data.offsets[k + 1]] for k in frames])
    force_error = forces - target
    virial_error = (virials - data.virials[frames]) / sizes[:, None] * with_virial[:, None]
    by_component = np.array([1.0, 1.0, 1.0, shear**2, shear**2, shear**2])
    squares_of_atoms = np.sum(np.square(force_error, dtype=np.float64), axis=1)
    by_atom = np.repeat(w, data.sizes[frames])
    if data.force_weights is not None:
        parts = [data.force_weights[data.offsets[k] : data.offsets[k + 1]] for k in frames]
        by_atom = by_atom * np.concatenate(parts)
    force_squares = float(by_atom @ squares_of_atoms)
    n_components = 3.0 * sizes.sum()
    n_virials = 6.0 * max(1, int(with_virial.sum()))
    energy_factor = weights.energy / _ENERGY_SCALE / n
    force_factor = weights.force / FORCE_SCALE / n_components
    virial_factor = weights.virial / _VIRIAL_SCALE / n_virials
    squares = np.array(
        [
            np.sum(w_energy * energy_error**2),
            force_squares,
            np.sum(w[:, None] * by_component * virial_error**2),
        ]
    )
    factors = np.array([energy_factor, force_factor, virial_factor])
    return BatchLoss(
        total=float(factors @ squares),
        slopes=LossSlopes(
            (2.0 * energy_factor * w_energy * energy_error / sizes).astype(np.float32),
            force_error * (2.0 * force_factor * by_atom).astype(np.float32)[:, None],
            (2.0 * virial_factor * (w / sizes)[:, None] * by_component * virial_error).astype(
                np.float32
            ),
        ),
        squares=squares,
        counts=np.array([w_energy.sum(), 3.0 * float(w @ sizes), 6.0 * float(w @ with_virial)]),
        energy_sum=float(w_energy @ energy_error),
    )
