"""Radial distribution functions, partial and X-ray weighted, and the distance between two.

A 150-atom glass is 13.7 A wide, yet the paper compares g(r) up to 10 A (section III, "Structure").
The sum over periodic images is exact for the periodic structure that was simulated. Beyond half
the box it repeats correlations of the same atoms and approximates a large glass only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.geometry import check_geometry
from mgflows.validation.statistics import finite_array

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CurveDistance",
    "RadialDistribution",
    "curve_distance",
    "periodic_pairs",
    "radial_distribution",
]

_COMPARISON_RANGE = (2.3, 10.0)
"""A (paper, section III, "Structure")."""
_SMALLEST_DISTANCE = 1e-3
"""A; a pair below this distance is an atom and itself."""


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """g(r) averaged over frames.

    All are one for an ideal gas, up to a term of order 1/N because an atom is not its own
    neighbour.

    Parameters
    ----------
    distance
        (n_bins,) bin centres in A.
    total
        (n_bins,) all atoms alike.
    partial
        (n_bins,) for each pair of species, such as ``"Cu-Zr"``.
    xray
        (n_bins,) partials weighted by ``c_a c_b Z_a Z_b / (sum c Z)^2``: the X-ray g(r) if form
        factors are proportional to the atomic number.
    xray_weights
        The weights, by pair; they sum to one.
    number_density
        Mean over the frames, in atoms per A^3.
    n_frames
        Frames averaged.
    """

    distance: NDArray[np.float64]
    total: NDArray[np.float64]
    partial: dict[str, NDArray[np.float64]]
    xray: NDArray[np.float64]
    xray_weights: dict[str, float]
    number_density: float
    n_frames: int


@dataclass(frozen=True)
class CurveDistance:
    """Distance between two radial distribution functions.

    Parameters
    ----------
    mean_absolute_error
        Mean of ``|g_1 - g_2|`` over the range, dimensionless. The paper's 0.091 and 0.084 are on
        this scale.
    wasserstein
        First Wasserstein distance in A between the two curves, each normalised to a distribution
        of r over the range.
    distance_min, distance_max
        The range in A.
    """

    mean_absolute_error: float
    wasserstein: float
    distance_min: float
    distance_max: float


def radial_distribution(
    frames: Atoms | Sequence[Atoms], *, distance_max: float = 10.0, n_bins: int = 200
) -> RadialDistribution:
    """Average g(r) of frames with the same composition.

    Parameters
    ----------
    frames
        One structure or several, periodic in three directions. Average over time or samples: the
        noise of a single glass of 500 atoms is 0.05.
    distance_max
        Largest distance in A; may exceed half the box.
    n_bins
        Bins from 0 to ``distance_max``.

    Raises
    ------
    InputError
        If there is no frame, the compositions differ, or a frame is not periodic or not finite.
    """
    from ase.data import atomic_numbers

    frames = list(frames) if isinstance(frames, Sequence) else [frames]
    if not frames:
        raise InputError("there is no frame to average", hint="give at least one structure")
    if not (0.0 < distance_max < np.inf and n_bins > 0):
        raise InputError(f"distance_max {distance_max:g} A and n_bins {n_bins} must be positive")
    species = list(dict.fromkeys(frames[0].get_chemical_symbols()))
    counts = _counts(frames[0], species)
    for frame in frames:
        check_geometry(frame, "a frame")
        if not frame.pbc.all():
            raise InputError(
                "a frame is not periodic in three directions, so its density is not defined",
                hint="set atoms.pbc = True",
            )
        if not np.array_equal(_counts(frame, species), counts) or len(frame) != counts.sum():
            raise InputError(
                f"the frames {frames[0].get_chemical_formula()} and {frame.get_chemical_formula()} "
                "differ in composition",
                hint="average them separately",
            )

    edges = np.linspace(0.0, distance_max, n_bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    n_species = len(species)
    ordered = np.zeros((n_species, n_species, n_bins))
    number_density = 0.0
    for frame in frames:
        kinds = np.array([species.index(symbol) for symbol in frame.get_chemical_symbols()])
        i, j, distances = periodic_pairs(frame, distance_max)
        pairs = kinds[i] * n_species + kinds[j]
        histogram, _, _ = np.histogram2d(
            pairs, distances, bins=(np.arange(n_species**2 + 1), edges)
        )
        ordered += histogram.reshape(n_species, n_species, n_bins) * frame.get_volume() / shells
        number_density += len(frame) / frame.get_volume() / len(frames)
    ordered /= len(frames)

    partial, weights = {}, {}
    scattering = counts * np.array([atomic_numbers[symbol] for symbol in species], dtype=float)
    for a, b in combinations_with_replacement(range(n_species), 2):
        pair = f"{species[a]}-{species[b]}"
        partial[pair] = ordered[a, b] / (counts[a] * counts[b])
        weights[pair] = float(
            (1.0 if a == b else 2.0) * scattering[a] * scattering[b] / scattering.sum() ** 2
        )
    return RadialDistribution(
        distance=(edges[1:] + edges[:-1]) / 2.0,
        total=ordered.sum(axis=(0, 1)) / counts.sum() ** 2,
        partial=partial,
        xray=sum((weights[pair] * curve for pair, curve in partial.items()), np.zeros(n_bins)),
        xray_weights=weights,
        number_density=float(number_density),
        n_frames=len(frames),
    )


def curve_distance(
    distance_1: ArrayLike,
    g_1: ArrayLike,
    distance_2: ArrayLike,
    g_2: ArrayLike,
    *,
    distance_range: tuple[float, float] = _COMPARISON_RANGE,
) -> CurveDistance:
    """Mean absolute error and Wasserstein distance between two curves.

    The second is interpolated to the points of the first.

    Parameters
    ----------
    distance_1, g_1
        First curve, distances in A and rising.
    distance_2, g_2
        Second curve, such as a measured one.
    distance_range
        A; the paper compares from 2.3 to 10.

    Raises
    ------
    InputError
        If one of the curves does not cover the range, or is not a finite value for each distance.
    """
    from scipy.stats import wasserstein_distance

    r_1, g_1 = _curve(distance_1, g_1, "first")
    r_2, g_2 = _curve(distance_2, g_2, "second")
    low, high = distance_range
    if not low < high:
        raise InputError(f"the range from {low:g} to {high:g} A is empty", hint="let it rise")
    for name, r in (("first", r_1), ("second", r_2)):
        spacing = np.diff(r).max() if len(r) > 1 else 0.0
        if len(r) < 2 or r[0] > low + spacing or r[-1] < high - spacing:
            raise InputError(
                f"the {name} curve does not reach from {low:g} to {high:g} A",
                hint="extend it or narrow distance_range",
            )
    inside = (r_1 >= low) & (r_1 <= high)
    r, one = r_1[inside], g_1[inside]
    other = np.interp(r, r_2, g_2)
    return CurveDistance(
        mean_absolute_error=float(np.abs(one - other).mean()),
        # Measured curves ripple below zero; a distribution cannot.
        wasserstein=float(
            wasserstein_distance(r, r, np.clip(one, 0.0, None), np.clip(other, 0.0, None))
        ),
        distance_min=low,
        distance_max=high,
    )


def _curve(
    distance: ArrayLike, values: ArrayLike, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r = finite_array(distance, f"distances of the {name} curve")
    g = finite_array(values, f"values of the {name} curve")
    if r.ndim != 1 or r.shape != g.shape or not (np.diff(r) > 0.0).all():
        raise InputError(
            f"the {name} curve has distances and values of the shapes {r.shape} and {g.shape}, or "
            "distances that do not rise"
        )
    return r, g


def _counts(frame: Atoms, species: Sequence[str]) -> NDArray[np.int64]:
    symbols = frame.get_chemical_symbols()
    return np.array([symbols.count(symbol) for symbol in species])


def periodic_pairs(
    frame: Atoms, distance_max: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Ordered pairs (i, j, distance) over all images, from freud on a replicated cell.

    freud allows distances below half the box only: the structure is repeated until that holds,
    and the neighbours of the original atoms among all are taken.
    """
    import freud
    from ase.cell import Cell

    heights = frame.get_volume() / np.linalg.norm(
        np.cross(np.roll(frame.cell.array, -1, axis=0), np.roll(frame.cell.array, -2, axis=0)),
        axis=1,
    )
    repeats = np.floor(2.0 * distance_max / heights).astype(int) + 1
    # freud needs right-handed cells; a point reflection changes no distance.
    right_handed = Cell(frame.cell.array * np.sign(np.linalg.det(frame.cell.array)))
    standard_cell = right_handed.standard_form()[0].array
    original = frame.get_scaled_positions()
    images = np.stack(
        np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    points = (original[None, :, :] + images[:, None, :]).reshape(-1, 3) @ standard_cell
    box = freud.box.Box.from_matrix((repeats[:, None] * standard_cell).T)
    # freud's box is centred on the origin, and points must lie inside.
    query = freud.locality.AABBQuery(box, box.wrap(points)).query(
        box.wrap(points[: len(frame)]), {"r_max": distance_max}
    )
    neighbours = query.toNeighborList()
    distances = np.asarray(neighbours.distances, dtype=float)
    other = distances > _SMALLEST_DISTANCE
    return (
        np.asarray(neighbours.query_point_indices)[other],
        np.asarray(neighbours.point_indices)[other] % len(frame),
        distances[other],
    )
