"""Short- and medium-range order of a glass: neighbours, chemical order, Voronoi cells, S(q)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.geometry import check_geometry
from mgflows.validation.rdf import periodic_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray
    from scipy.spatial import Voronoi

    from mgflows.validation.rdf import RadialDistribution

__all__ = [
    "NEUTRON_LENGTHS",
    "NeighbourStatistics",
    "largest_void",
    "neighbour_statistics",
    "neutron_weights",
    "structure_factor",
    "voronoi_indices",
]

ICOSAHEDRON = "<0 0 12 0>"
"""Voronoi index of the icosahedron."""
FIRST_SHELL = 4.0
"""A: first minimum of g(r) of Cu-Zr-Al (paper, Methods)."""

NEUTRON_LENGTHS = {
    "Al": 3.449,
    "Cu": 7.718,
    "Zr": 7.16,
    "Ni": 10.3,
    "Fe": 9.45,
    "Ti": -3.438,
    "Ag": 5.922,
    "Mg": 5.375,
    "Co": 2.49,
    "Pd": 5.91,
    "P": 5.13,
    "Hf": 7.7,
    "Nb": 7.054,
    "Be": 7.79,
}
"""Coherent neutron scattering lengths in fm, natural isotopes (Sears, Neutron News 3, 26 (1992),
doi:10.1080/10448639208218770)."""
_REACH = 9.0
"""A: how far away images of the atoms are taken into account."""
_SMALLEST_FACE = 0.01
"""Faces of a Voronoi cell below this fraction of its surface are not counted: thermal motion
creates and removes them."""


@dataclass(frozen=True)
class NeighbourStatistics:
    """Neighbours within the first shell.

    Parameters
    ----------
    coordination
        Mean number of neighbours of an atom, in total (``"all"``) and by ordered pair: ``"Cu-Zr"``
        counts the Zr around a Cu.
    warren_cowley
        ``1 - p(b|a) / c_b`` by ordered pair: negative where b is preferred around a
        (Warren-Cowley parameter of the first shell; Cowley, Phys. Rev. 77, 669 (1950),
        doi:10.1103/PhysRev.77.669).
    """

    coordination: dict[str, float]
    warren_cowley: dict[str, float]


def neighbour_statistics(atoms: Atoms, shell: float = FIRST_SHELL) -> NeighbourStatistics:
    """Coordination numbers and chemical short-range order.

    Parameters
    ----------
    atoms
        A periodic structure.
    shell
        Radius of the first shell in A.

    Raises
    ------
    InputError
        For a structure that is not periodic and finite, or a radius that is not positive.
    """
    check_geometry(atoms, periodic=True)
    if not 0.0 < shell < np.inf:
        raise InputError(f"the radius of the shell is {shell:g} A but must be positive")
    symbols = np.array(atoms.get_chemical_symbols())
    first, second, _ = periodic_pairs(atoms, shell)
    species = list(dict.fromkeys(symbols.tolist()))
    coordination = {"all": len(first) / len(atoms)}
    order = {}
    for a in species:
        around_a = symbols[first] == a
        n_around = int(around_a.sum())
        for b in species:
            n_pairs = int((around_a & (symbols[second] == b)).sum())
            coordination[f"{a}-{b}"] = n_pairs / int((symbols == a).sum())
            if n_around:
                share = n_pairs / n_around
                order[f"{a}-{b}"] = 1.0 - share / float((symbols == b).mean())
    return NeighbourStatistics(coordination, order)


def voronoi_indices(atoms: Atoms, species: str | None = None) -> dict[str, float]:
    """Fractions of atoms by Voronoi index ``<n3 n4 n5 n6>``, the most frequent first.

    The numbers of faces with three to six edges (Finney, Proc. R. Soc. A 319, 479 (1970),
    doi:10.1098/rspa.1970.0189); ``<0 0 12 0>`` is an icosahedron. Cells are not weighted by the
    size of the atoms; faces below 1 % of the surface are not counted.

    Parameters
    ----------
    atoms
        A periodic structure.
    species
        Only the cells around this element.

    Raises
    ------
    InputError
        For a structure that is not periodic and finite, or has no atom of the species.
    """
    check_geometry(atoms, periodic=True)
    if species is not None and species not in atoms.get_chemical_symbols():
        raise InputError(f"{atoms.get_chemical_formula()} has no atom of {species!r}")
    diagram = _voronoi_diagram(atoms)
    faces: dict[int, list[tuple[int, float]]] = {}
    n_atoms = len(atoms)
    for (one, other), ridge in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True):
        if min(one, other) >= n_atoms or -1 in ridge:
            continue
        corners = diagram.vertices[ridge]
        fan = np.cross(corners[1:-1] - corners[0], corners[2:] - corners[0])
        area = 0.5 * float(np.linalg.norm(fan.sum(axis=0)))
        for center in (one, other):
            if center < n_atoms:
                faces.setdefault(int(center), []).append((len(ridge), area))
    chosen = [
        k for k, symbol in enumerate(atoms.get_chemical_symbols()) if species in (None, symbol)
    ]
    counts: Counter[str] = Counter()
    for k in chosen:
        surface = sum(area for _, area in faces[k])
        edges = Counter(n for n, area in faces[k] if area > _SMALLEST_FACE * surface)
        counts["<" + " ".join(str(edges[n]) for n in (3, 4, 5, 6)) + ">"] += 1
    return {index: n / len(chosen) for index, n in counts.most_common()}


def largest_void(atoms: Atoms) -> float:
    """Radius in A of the largest sphere without the centre of an atom.

    Its centre is a corner of the Voronoi cells. The octahedral holes of fcc copper have 1.8 A, a
    vacancy 2.6 A. Radii of 9 A and more are approximate.

    Parameters
    ----------
    atoms
        A periodic structure.

    Raises
    ------
    InputError
        For a structure that is not periodic and finite.
    """
    from scipy.spatial import cKDTree

    check_geometry(atoms, periodic=True)
    diagram = _voronoi_diagram(atoms)
    scaled = atoms.cell.scaled_positions(diagram.vertices)
    # With a margin: a corner on a face of the cell is counted twice rather than not at all.
    inside = ((scaled > -1e-6) & (scaled < 1.0 + 1e-6)).all(axis=1)
    if not inside.any():
        return _REACH
    distances, _ = cKDTree(diagram.points).query(diagram.vertices[inside])
    return float(distances.max())


def _voronoi_diagram(atoms: Atoms) -> Voronoi:
    """Cells of the atoms, which are the first points, and of their images up to ``_REACH`` away."""
    from scipy.spatial import Voronoi

    cell = atoms.cell.array
    heights = abs(float(np.linalg.det(cell))) / np.linalg.norm(
        np.cross(np.roll(cell, -1, axis=0), np.roll(cell, -2, axis=0)), axis=1
    )
    margin = _REACH / heights
    layers = np.ceil(margin).astype(int)
    scaled = atoms.get_scaled_positions(wrap=True)
    points = [scaled]
    for shift in np.ndindex(*(2 * layers + 1)):
        offset = np.array(shift) - layers
        if offset.any():
            image = scaled + offset
            points.append(image[((image > -margin) & (image < 1.0 + margin)).all(axis=1)])
    return Voronoi(np.concatenate(points) @ cell)


def neutron_weights(concentrations: Mapping[str, float]) -> dict[str, float] | None:
    """Weights of the partials in neutron scattering, by pair; None if an element is not tabulated.

    ``c_a c_b b_a b_b / (sum c b)^2`` (Faber and Ziman), twice that for unlike pairs.
    """
    if any(symbol not in NEUTRON_LENGTHS for symbol in concentrations):
        return None
    lengths = {symbol: c * NEUTRON_LENGTHS[symbol] for symbol, c in concentrations.items()}
    total = sum(lengths.values())
    species = list(lengths)
    return {
        f"{a}-{b}": (1.0 if a == b else 2.0) * lengths[a] * lengths[b] / total**2
        for i, a in enumerate(species)
        for b in species[i:]
    }


def structure_factor(
    g: RadialDistribution, q: ArrayLike, weights: Mapping[str, float] | None = None
) -> NDArray[np.float64]:
    """Faber-Ziman structure factor from g(r), with Lorch's window against termination ripples.

    ``S(q) = 1 + 4 pi rho int r^2 (g - 1) sin(qr)/(qr) sin(pi r/R)/(pi r/R) dr`` up to the largest
    distance R of g(r) (Lorch, J. Phys. C 2, 229 (1969), doi:10.1088/0022-3719/2/2/305). The
    resolution in q is about ``2 pi / R``: take R of 15 A and more.

    Parameters
    ----------
    g
        Radial distribution functions.
    q
        (n,) 1/A, positive.
    weights
        Weights of the partials; X-ray weights by atomic number if None.

    Raises
    ------
    InputError
        For q that are not positive, or weights of other pairs.
    """
    wave = np.asarray(q, dtype=float)
    if not (wave > 0.0).all():
        raise InputError("the wave numbers q must be positive")
    weights = g.xray_weights if weights is None else weights
    if unknown := [pair for pair in weights if _known(pair, g.partial) not in g.partial]:
        raise InputError(
            f"there is no g(r) of the pair {unknown[0]!r}",
            hint=f"give weights of {', '.join(g.partial)}",
        )
    total = sum(
        (weight * g.partial[_known(pair, g.partial)] for pair, weight in weights.items()),
        np.zeros_like(g.distance),
    )
    r = g.distance
    largest = r[-1] + (r[1] - r[0]) / 2.0
    window = np.sinc(r / largest)
    # An atom is not its own neighbour: g of like pairs tends to one only up to 1/N.
    total = total / total[-len(total) // 5 :].mean()
    kernel = np.sinc(wave[:, None] * r[None, :] / np.pi)
    integrand = 4.0 * np.pi * g.number_density * r**2 * (total - 1.0) * window
    return 1.0 + kernel @ integrand * (r[1] - r[0])


def _known(pair: str, partial: Mapping[str, object]) -> str:
    return pair if pair in partial else "-".join(reversed(pair.split("-")))
