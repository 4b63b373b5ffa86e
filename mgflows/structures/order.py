"""Order in a glass: tests for crystals and for Frank-Kasper phases.

Long Monte Carlo runs of small systems order in two ways that need two tests. Close-packed crystals
are found by the bond-orientational test of ten Wolde, Ruiz-Montero and Frenkel (J. Chem. Phys. 104,
9932 (1996), doi:10.1063/1.471721) and as a Bragg peak. Frank-Kasper phases, such as the Laves
phases, are not, because their neighbouring environments differ; they are found by common-neighbour
analysis (Honeycutt and Andersen, J. Phys. Chem. 91, 4950 (1987), doi:10.1021/j100303a014) as pairs
whose common neighbours form rings of five and six (Frank and Kasper, Acta Cryst. 11, 184 (1958),
doi:10.1107/S0365110X58000487).

The analysis does not depend on a potential and applies to any periodic configuration of any alloy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError
from mgflows.geometry import check_distances, check_geometry, compact_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["OrderParameters", "OrderThresholds", "analyse_order", "structure_factor_maximum"]

_CUTOFF_IN_SPACINGS = 1.644
_LARGEST_WAVENUMBER_IN_SPACINGS = 4.0 * np.pi


@dataclass(frozen=True)
class OrderThresholds:
    """Criteria for neighbours, solid atoms and ordered samples.

    Parameters
    ----------
    neighbour_cutoff
        Distance in A up to which atoms are neighbours; None: 1.644 times the mean spacing
        ``(V/N)^(1/3)``, which is 4.0 A at the density of the paper's samples, the first minimum of
        g(r) there (Methods, "Particle's local neighborhood changes").
    solid_bond
        Normalised scalar product of the q6 vectors of two neighbours above which their bond is
        solid.
    solid_bond_fraction
        Fraction of an atom's bonds that must be solid for a solid atom; 0.6 is the usual 7 of 12.
    q6_solid_fraction, structure_factor
        A sample is crystalline if the fraction of solid atoms or the largest S(k) divided by the
        number of atoms exceeds these.
    structure_factor_atoms
        Below this number of atoms S(k) is not used: fluctuations of a liquid reach 20 to 30 at some
        wave vector, independent of its size.
    cna_555_fraction, frank_kasper_fraction
        A sample is Frank-Kasper ordered if the fraction of 555 bonds or of atoms in Frank-Kasper
        polyhedra exceeds these.

    Notes
    -----
    The last two values are heuristic, from Cu-Zr-Al surrogate samples of 150 atoms. Real Cu-rich
    Cu-Zr glasses are rich in icosahedra: raise ``frank_kasper_fraction`` for them.
    """

    neighbour_cutoff: float | None = None
    solid_bond: float = 0.7
    solid_bond_fraction: float = 0.6
    q6_solid_fraction: float = 0.3
    structure_factor: float = 0.4
    structure_factor_atoms: int = 100
    cna_555_fraction: float = 0.45
    frank_kasper_fraction: float = 0.10

    def __post_init__(self) -> None:
        if self.neighbour_cutoff is not None and not 0.0 < self.neighbour_cutoff < np.inf:
            raise InputError(
                f"the neighbour cutoff is {self.neighbour_cutoff:g} A but must be positive and "
                "finite",
                hint="leave it out for 1.644 mean spacings",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values, with the keys by which monty finds the class."""
        return {"@module": type(self).__module__, "@class": type(self).__name__, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OrderThresholds:
        """Invert :meth:`as_dict`."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})


@dataclass(frozen=True)
class OrderParameters:
    """The order of one sample.

    Parameters
    ----------
    q6_solid_fraction
        Fraction of atoms in a crystalline environment by the q6 bond test.
    structure_factor_max
        Largest S(k) over the wave vectors of the cell, divided by the number of atoms: one in a
        perfect crystal with one atom per cell.
    structure_factor_wavenumber
        Its wave number in 1/A.
    cna_555_fraction
        Fraction of neighbour pairs with five common neighbours that form a ring.
    frank_kasper_fraction
        Fraction of atoms with 12, 14, 15 or 16 neighbours whose bonds have rings of five common
        neighbours, except for 0, 2, 3 or 4 bonds with rings of six.
    icosahedral_fraction
        Fraction of atoms with 12 neighbours among these.
    mean_coordination
        Mean number of neighbours.
    neighbour_cutoff
        The distance used, in A.
    crystalline, frank_kasper_ordered
        Whether a threshold was exceeded.
    """

    q6_solid_fraction: float
    structure_factor_max: float
    structure_factor_wavenumber: float
    cna_555_fraction: float
    frank_kasper_fraction: float
    icosahedral_fraction: float
    mean_coordination: float
    neighbour_cutoff: float
    crystalline: bool
    frank_kasper_ordered: bool

    @property
    def ordered(self) -> bool:
        """Whether the sample is ordered in either way, and so not a glass."""
        return self.crystalline or self.frank_kasper_ordered

    def as_dict(self) -> dict[str, Any]:
        """Return the values as plain Python values."""
        return asdict(self)


def analyse_order(atoms: Atoms, thresholds: OrderThresholds | None = None) -> OrderParameters:
    """Measure the order of a periodic configuration, instantaneous or minimised.

    Parameters
    ----------
    atoms
        Periodic in three directions, any cell; one smaller than three neighbour cutoffs is
        repeated.
    thresholds
        Thresholds; default values if None.

    Raises
    ------
    InputError
        If the configuration is not periodic in three directions, has no atoms, or has two of them
        at the same place.
    """
    from mgflows.structures.rings import ring_sizes

    if len(atoms) == 0 or not np.all(atoms.pbc) or atoms.cell.rank < 3:
        raise InputError(
            "order is defined for atoms in a cell periodic in three directions",
            hint="set the cell and pbc=True",
        )
    check_geometry(atoms)
    check_distances(atoms)
    atoms = atoms.copy()
    atoms.set_cell(compact_cell(atoms))
    thresholds = thresholds or OrderThresholds()
    n = len(atoms)
    spacing = (atoms.get_volume() / n) ** (1.0 / 3.0)
    cutoff = thresholds.neighbour_cutoff or _CUTOFF_IN_SPACINGS * spacing
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    # In a cell below three cutoffs two atoms could share a neighbour through different images.
    repeats = np.ceil(3.001 * cutoff / heights).astype(int)
    starts, neighbours, solid_bonds = _bonds(
        atoms.repeat(tuple(repeats)), cutoff, thresholds.solid_bond
    )
    coordination = np.diff(starts)
    rings = ring_sizes(starts, neighbours)
    owner = np.repeat(np.arange(len(coordination)), coordination)
    solid = np.bincount(owner, solid_bonds, minlength=len(coordination))
    fives = np.bincount(owner[rings == 5], minlength=len(coordination))
    sixes = np.bincount(owner[rings == 6], minlength=len(coordination))
    frank_kasper = (fives == 12) & np.isin(sixes, (0, 2, 3, 4)) & (fives + sixes == coordination)
    is_solid = (coordination > 0) & (solid >= thresholds.solid_bond_fraction * coordination)
    peak, wavenumber = structure_factor_maximum(atoms)

    q6_solid_fraction = float(is_solid.mean())
    cna_555_fraction = float(np.mean(rings == 5)) if len(rings) else 0.0
    frank_kasper_fraction = float(frank_kasper.mean())
    bragg = n >= thresholds.structure_factor_atoms and peak > thresholds.structure_factor
    return OrderParameters(
        q6_solid_fraction=q6_solid_fraction,
        structure_factor_max=peak,
        structure_factor_wavenumber=wavenumber,
        cna_555_fraction=cna_555_fraction,
        frank_kasper_fraction=frank_kasper_fraction,
        icosahedral_fraction=float((frank_kasper & (coordination == 12)).mean()),
        mean_coordination=float(coordination.mean()),
        neighbour_cutoff=float(cutoff),
        crystalline=bool(q6_solid_fraction > thresholds.q6_solid_fraction or bragg),
        frank_kasper_ordered=bool(
            cna_555_fraction > thresholds.cna_555_fraction
            or frank_kasper_fraction > thresholds.frank_kasper_fraction
        ),
    )


def _bonds(
    atoms: Atoms, cutoff: float, solid_bond: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Neighbours within the cutoff, sorted by atom, and whether each bond is solid, by freud.

    Returns
    -------
    starts, neighbours, solid
        (n + 1,), (n_bonds,), (n_bonds,): every bond twice, once from either side.
    """
    import freud

    cell, positions = atoms.cell.array, atoms.get_scaled_positions() @ atoms.cell.array
    if np.linalg.det(cell) < 0.0:
        # freud needs right-handed cells; a point reflection changes none of the order parameters.
        cell, positions = -cell, -positions
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    box = freud.box.Box.from_matrix(signs[:, None] * r)
    points = box.wrap(positions @ (q * signs))
    # One thread: samples are small and many, and jobs share a node.
    with freud.parallel.NumThreads(1):
        query = freud.locality.AABBQuery(box, points)
        bonds = query.query(points, {"r_max": cutoff, "exclude_ii": True}).toNeighborList(
            sort_by_distance=False
        )
        steinhardt = freud.order.Steinhardt(l=6)
        steinhardt.compute((box, points), neighbors=bonds)
    q6 = np.asarray(steinhardt.particle_harmonics)
    q6 = q6 / np.maximum(np.linalg.norm(q6, axis=1, keepdims=True), 1e-300)
    i, j = np.asarray(bonds.query_point_indices), np.asarray(bonds.point_indices)
    alignment = np.real(np.sum(q6[i] * np.conj(q6[j]), axis=1))
    starts = np.concatenate([[0], np.cumsum(np.bincount(i, minlength=len(points)))]).astype(
        np.int64
    )
    return starts, j.astype(np.int64), (alignment > solid_bond).astype(float)


def structure_factor_maximum(atoms: Atoms) -> tuple[float, float]:
    """Find the largest ``S(k) = |sum_j exp(i k r_j)|^2 / N`` over the wave vectors of the cell.

    Wave numbers go up to ``4 pi`` over the mean spacing, twice that of the first peak of a liquid.

    Returns
    -------
    maximum, wavenumber
        The largest S(k) divided by the number of atoms, and its wave number in 1/A.
    """
    check_geometry(atoms, periodic=True)
    atoms = atoms.copy()
    atoms.set_cell(compact_cell(atoms))
    n = len(atoms)
    reciprocal = 2.0 * np.pi * np.linalg.inv(atoms.cell.array).T
    largest = _LARGEST_WAVENUMBER_IN_SPACINGS / (atoms.get_volume() / n) ** (1.0 / 3.0)
    # k . a_d = 2 pi h_d, so that |h_d| is at most |k| |a_d| / 2 pi.
    h_max = np.floor(largest * np.linalg.norm(atoms.cell.array, axis=1) / (2.0 * np.pi)).astype(int)
    fractional = atoms.get_scaled_positions()
    hs, ks, ls = (
        np.arange(h_max[0] + 1),
        np.arange(-h_max[1], h_max[1] + 1),
        np.arange(-h_max[2], h_max[2] + 1),
    )
    phases_k = np.exp(2j * np.pi * ks[:, None] * fractional[:, 1])
    phases_l = np.exp(2j * np.pi * ls[:, None] * fractional[:, 2])
    maximum, wavenumber = 0.0, 0.0
    for h in hs:
        amplitudes = (phases_k * np.exp(2j * np.pi * h * fractional[:, 0])) @ phases_l.T
        intensity = np.abs(amplitudes) ** 2
        k_vectors = (
            h * reciprocal[0]
            + ks[:, None, None] * reciprocal[1]
            + ls[None, :, None] * reciprocal[2]
        )
        wavenumbers = np.linalg.norm(k_vectors, axis=2)
        intensity[(wavenumbers > largest) | (wavenumbers < 1e-12)] = 0.0
        best = np.unravel_index(np.argmax(intensity), intensity.shape)
        if intensity[best] > maximum:
            maximum, wavenumber = float(intensity[best]), float(wavenumbers[best])
    return maximum / n**2, wavenumber
