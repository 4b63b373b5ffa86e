"""The groups of arrays that the compiled functions work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Basis", "LossSlopes", "Memory", "Structures", "WorkItems"]


class Structures(NamedTuple):
    """Atoms of many frames.

    Attributes
    ----------
    offsets
        (n_frames + 1,) first atom of each frame.
    positions, cells
        (n_atoms, 3) and (n_frames, 3, 3), A.
    species
        (n_atoms,) index of the species.
    counts
        (n_frames, 2) neighbours within the radial and the angular cutoff, of all atoms together.
    """

    offsets: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    species: NDArray[np.int32]
    counts: NDArray[np.int64]


class Basis(NamedTuple):
    """Quantities that depend on positions only, for the atoms of several frames.

    Attributes
    ----------
    species
        (n_atoms,) index of the species.
    radial_first, radial_last, angular_first, angular_last
        (n_atoms,) range of the neighbours of an atom in the arrays below.
    radial_sums, angular_sums
        (n_atoms, n_species * k_radial) and (n_atoms, n_species * k_angular, n_components): the
        radial functions, and their products with the harmonics, summed over the neighbours of each
        species.
    radial_index, angular_index
        (n_edges,) the neighbour, counted from the first atom of its frame.
    radial_slope, angular_value, angular_slope
        (n_edges, k) radial functions and their derivatives in 1/A.
    radial_vector, angular_vector
        (n_edges, 4) unit vector to the neighbour, and the distance in A.
    """

    species: NDArray[np.int32]
    radial_first: NDArray[np.int64]
    radial_last: NDArray[np.int64]
    angular_first: NDArray[np.int64]
    angular_last: NDArray[np.int64]
    radial_sums: NDArray[np.float32]
    angular_sums: NDArray[np.float32]
    radial_index: NDArray[np.int32]
    radial_slope: NDArray[np.float32]
    radial_vector: NDArray[np.float32]
    angular_index: NDArray[np.int32]
    angular_value: NDArray[np.float32]
    angular_slope: NDArray[np.float32]
    angular_vector: NDArray[np.float32]


class WorkItems(NamedTuple):
    """Parts of the frames of a batch, each computed by one thread.

    Attributes
    ----------
    first, last
        (n_items,) range of the atoms in :class:`Basis`.
    base
        First atom of the frame there.
    start
        First atom of the frame in the arrays of the batch.
    size
        Atoms of the frame.
    frame
        Position of the frame in the batch.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    base: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    frame: NDArray[np.int64]


class Memory(NamedTuple):
    """Quantities from the evaluation that the gradient needs, for each atom of a batch.

    Attributes
    ----------
    sums
        (n_atoms, n_angular, n_components) sums of the harmonics.
    hidden
        (n_atoms, n_neurons) values of the neurons.
    descriptor
        (n_atoms, dimension) scaled descriptor.
    slope
        (n_atoms, dimension) derivative of the site energy with respect to the unscaled descriptor.
    """

    sums: NDArray[np.float32]
    hidden: NDArray[np.float32]
    descriptor: NDArray[np.float32]
    slope: NDArray[np.float32]


class BatchPrediction(NamedTuple):
    """Predictions for a batch.

    Attributes
    ----------
    energies, virials
        (n,) and (n, 6) eV, without reference energies and ZBL.
    forces
        (n_atoms, 3) eV/A, frame after frame.
    """

    energies: NDArray[np.float64]
    forces: NDArray[np.float32]
    virials: NDArray[np.float64]


class LossSlopes(NamedTuple):
    """Derivatives of the loss of a batch.

    Attributes
    ----------
    energy, force, virial
        (n_frames,), (n_atoms, 3) and (n_frames, 6): with respect to energies, forces and virials.
    """

    energy: NDArray[np.float32]
    force: NDArray[np.float32]
    virial: NDArray[np.float32]
