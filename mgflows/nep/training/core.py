"""A repulsive core: a condition on the potential at distances that no frames contain.

Frames of glasses and crystals contain no pair much closer than the first peak of g(r). Between that
distance and the range of the ZBL repulsion, the labels do not determine the potential, and it is
often attractive: two atoms of a hot melt that enter such a hole do not leave it. The core adds a
condition that needs no label: an isolated pair of atoms at a distance r below ``radius`` repels
with a force of at least ``5 eV/A^2`` times ``radius - r``. The loss has the one-sided term

``L = (weight/s_f) <min(0, F - F_least)^2>``

over the pairs of species at two random distances per step; F is the force between the two atoms,
ZBL included. Real pairs of metal atoms repel more strongly (the bond of the copper dimer, 2.22 A
long, has a force constant of 8.3 eV/A^2), so that the term vanishes for a sound potential.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from mgflows.nep.training.arrays import LossSlopes
from mgflows.nep.training.data import BasisCache, FrameSet
from mgflows.nep.training.evaluator import Evaluator
from mgflows.nep.training.loss import FORCE_SCALE, BatchLoss
from mgflows.nep.training.neighbours import count_neighbours
from mgflows.nep.training.zbl import pair_cutoffs, repulsion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.training.model import NepModel
    from mgflows.nep.training.threads import ThreadTeam

__all__ = ["RepulsiveCore", "core_radii"]

_STIFFNESS = 5.0
"""eV/A^2."""
_FRACTIONS = np.linspace(0.4, 1.0, 25)
"""Distances as fractions of the core radius; below them, the ZBL repulsion is tens of eV."""
_COVALENT_FRACTION = 0.85
_DISTANCES_PER_STEP = 2


def core_radii(species: Sequence[str], radius: float) -> NDArray[np.float64]:
    """Radius of the core of each pair of species, in A.

    It is ``radius``, or 0.85 times the sum of the covalent radii where that is shorter: light
    elements such as B and C have bonds of less than 2 A.

    Returns
    -------
    radii
        (n_pairs,) in the order of :func:`itertools.combinations_with_replacement`.
    """
    from ase.data import atomic_numbers, covalent_radii

    lengths = [covalent_radii[atomic_numbers[symbol]] for symbol in species]
    sums = [a + b for a, b in combinations_with_replacement(lengths, 2)]
    return np.minimum(radius, _COVALENT_FRACTION * np.array(sums))


class RepulsiveCore:
    """The term of the loss that keeps pairs of atoms apart.

    Parameters
    ----------
    model
        The potential.
    radius
        Radius of the core in A, see :func:`core_radii`.
    weight
        Weight of the term, relative to that of the forces of frames.
    seed
        Seed of the distances; combined with the step, so that there is no state to save.
    team
        Threads.
    """

    def __init__(
        self, model: NepModel, radius: float, weight: float, seed: int, team: ThreadTeam
    ) -> None:
        self._seed = seed
        self._factor = weight / FORCE_SCALE
        data, self._axes = _dimers(model.parameters, radius)
        # A frame contains all pairs at one distance.
        self._targets = data.forces.reshape(len(data), -1, 2, 3)
        cache = BasisCache(data, model.parameters, 1.0, _DISTANCES_PER_STEP, team)
        self._evaluator = Evaluator(model, cache)

    def gradient(
        self, flat: NDArray[np.float32], step: int
    ) -> tuple[float, NDArray[np.float64] | float]:
        """The term and its gradient with respect to the parameters ``flat`` in a step."""
        generator = np.random.default_rng((self._seed, step))
        frames = generator.choice(len(self._targets), _DISTANCES_PER_STEP, replace=False)
        forces = self._evaluator.predict(frames, flat).forces
        missing = forces.reshape(self._targets[frames].shape) - self._targets[frames]
        # Half the difference of the forces on the two atoms, along the line between them.
        axial = np.minimum(0.5 * (missing[:, :, 1] - missing[:, :, 0]) @ self._axes, 0.0)
        if not np.any(axial):
            return 0.0, 0.0
        slope = (self._factor / axial.size) * axial
        by_force = np.zeros_like(missing)
        by_force[:, :, 1] = slope[:, :, None] * self._axes
        by_force[:, :, 0] = -by_force[:, :, 1]
        n = len(frames)
        slopes = LossSlopes(
            np.zeros(n, np.float32), by_force.reshape(-1, 3), np.zeros((n, 6), np.float32)
        )
        total = self._factor * float(np.mean(np.square(axial, dtype=np.float64)))
        loss = BatchLoss(total, slopes, np.zeros(3), np.zeros(3), 0.0)
        return total, self._evaluator.gradient(flat, loss)


def _dimers(parameters: NepParameters, radius: float) -> tuple[FrameSet, NDArray[np.float32]]:
    """All pairs at all distances, with the smallest allowed force as label, and their axis."""
    radii = core_radii(parameters.species, radius)
    n_pairs, n_frames = len(radii), len(_FRACTIONS)
    pairs = combinations_with_replacement(range(len(parameters.species)), 2)
    species = np.tile(np.array(list(pairs), np.int32).ravel(), n_frames)
    gap = parameters.cutoff[0] + 1.0
    grid = np.zeros((n_frames, n_pairs, 2, 3))
    grid[:, :, :, 1] = gap * np.arange(n_pairs)[:, None]
    grid[:, :, 1, 0] = np.outer(_FRACTIONS, radii)
    positions = grid.reshape(-1, 3)
    cell = np.diag([gap + radius, gap * n_pairs, gap])
    cells = np.tile(cell, (n_frames, 1, 1))
    offsets = 2 * n_pairs * np.arange(n_frames + 1)
    least = _STIFFNESS * np.outer(1.0 - _FRACTIONS, radii)
    axis = np.array([1.0, 0.0, 0.0], np.float32)
    forces = np.stack([-least, least], axis=-1).reshape(-1)[:, None] * axis
    counts, largest, closest = count_neighbours(positions, offsets, cells, *parameters.cutoff)
    if parameters.zbl is not None:
        table = pair_cutoffs(parameters)
        forces = forces - repulsion(positions, offsets, cells, species, closest, *table)[1]
    frames = FrameSet(
        offsets=offsets,
        positions=positions,
        cells=cells,
        species=species,
        energies=np.zeros(n_frames),
        forces=forces.astype(np.float32),
        virials=np.zeros((n_frames, 6)),
        has_virial=np.zeros(n_frames, dtype=bool),
        weights=np.ones(n_frames),
        energy_weights=np.zeros(n_frames),
        counts=counts,
        largest=largest,
    )
    return frames, axis
