"""Structures of a campaign that the live view lists and shows: samples, frames and quenches."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.errors import InputError
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.training import subset_order

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.database import FrameRecord, GlassDatabase

__all__ = ["Listing", "ShownStructure", "list_structures", "load_structure", "xyz_text"]

PER_PAGE = 100
_SAMPLES, _QUENCHES = "samples", "quenches"


@dataclass(frozen=True)
class Listing:
    """One page of the structures of one kind.

    Attributes
    ----------
    kinds
        ``samples``, ``quenches`` or a subset of frames, to their number.
    kind
        The kind that is listed; empty if there are no structures.
    header
        Titles of the columns.
    rows
        Key of the structure and its cells.
    page, n_pages
        From 1.
    """

    kinds: dict[str, int]
    kind: str = ""
    header: tuple[str, ...] = ()
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    page: int = 1
    n_pages: int = 1


@dataclass(frozen=True)
class ShownStructure:
    """A structure with its properties, as name and value."""

    title: str
    atoms: Atoms
    facts: list[tuple[str, str]]


def list_structures(
    database: GlassDatabase, campaign: str, kind: str | None = None, page: int = 1
) -> Listing:
    """List the structures of one kind, a hundred per page.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    kind
        ``samples``, ``quenches`` or a subset; by default the first that exists.
    page
        From 1; a number beyond the last page is the last page.

    Raises
    ------
    InputError
        If the campaign has no structures of this kind.
    """
    quenches = database.quenches(campaign)
    frames = database.frames(campaign)
    subsets = Counter(frame.subset for frame in frames)
    kinds = {
        name: number
        for name, number in (
            (_SAMPLES, len(database.sample_families(campaign))),
            *((subset, subsets[subset]) for subset in sorted(subsets, key=subset_order)),
            (_QUENCHES, len(quenches)),
        )
        if number
    }
    if not kinds:
        return Listing({})
    kind = kind or next(iter(kinds))
    if kind not in kinds:
        raise InputError(
            f"the campaign {campaign!r} has no structures {kind!r}",
            hint=f"it has {', '.join(kinds)}",
        )
    n_pages = -(-kinds[kind] // PER_PAGE)
    page = min(max(page, 1), n_pages)
    chosen = slice((page - 1) * PER_PAGE, page * PER_PAGE)
    header: tuple[str, ...]
    if kind == _SAMPLES:
        header = ("family", "sweeps", "e_IS (ε)", "P (GPa)", "order")
        rows = [
            (
                family,
                [
                    family,
                    f"{sample.n_sweeps:,}",
                    f"{sample.e_is_reduced:.3f}",
                    f"{sample.pressure_lj:.0f}",
                    "ordered" if sample.ordered else "glass",
                ],
            )
            for family, sample in list(database.samples(campaign).items())[chosen]
        ]
    elif kind == _QUENCHES:
        header = ("quench", "rate (K/ps)", "density (g/cm³)", "potential")
        rows = [
            (
                str(number),
                [str(number), f"{q.cooling_rate:g}", f"{q.density:.3f}", q.potential_id],
            )
            for number, q in list(enumerate(quenches, start=1))[chosen]
        ]
    else:
        header = ("family", "frame", "atoms", "E (eV/atom)", "P (GPa)", "largest F (eV/Å)")
        members = [frame for frame in frames if frame.subset == kind][chosen]
        rows = [(frame.frame_id, _frame_cells(frame)) for frame in members]
    return Listing(kinds, kind, header, rows, page, n_pages)


def load_structure(database: GlassDatabase, campaign: str, kind: str, key: str) -> ShownStructure:
    """Load one structure that :func:`list_structures` lists.

    Raises
    ------
    InputError
        If there is no such structure.
    """
    if kind == _SAMPLES:
        sample = database.samples(campaign).get(key)
        if sample is not None:
            facts = [
                ("cooling", f"{sample.n_sweeps:,} sweeps of swap Monte Carlo"),
                ("inherent-structure energy", f"{sample.e_is:.4f} eV/atom (surrogate)"),
                ("order", "ordered" if sample.ordered else "glass"),
            ]
            atoms = atoms_from_structure(sample.inherent_structure or sample.structure)
            return ShownStructure(f"Sample {key}, inherent structure", atoms, facts)
    elif kind == _QUENCHES:
        quenches = database.quenches(campaign)
        if key.isdecimal() and 1 <= int(key) <= len(quenches):
            quench = quenches[int(key) - 1]
            facts = [
                ("cooling", f"{quench.cooling_rate:g} K/ps to {quench.temperature_low:.0f} K"),
                ("density", f"{quench.density:.3f} g/cm³"),
                ("potential", quench.potential_id),
            ]
            return ShownStructure(f"Quench {key}", atoms_from_structure(quench.structure), facts)
    else:
        for frame in database.frames(campaign, subset=kind):
            if frame.frame_id == key:
                return _frame(database, frame)
    raise InputError(
        f"the campaign {campaign!r} has no structure {key!r} among its {kind}",
        hint="choose one in the list of structures",
    )


def xyz_text(atoms: Atoms) -> str:
    """Return a structure as extended XYZ, with its labels if it has them."""
    from ase.io import write

    stream = io.StringIO()
    write(stream, atoms, format="extxyz")
    return stream.getvalue()


def _frame_cells(frame: FrameRecord) -> list[str]:
    return [
        frame.family,
        frame.name or frame.frame_id,
        str(frame.n_atoms),
        f"{frame.energy_per_atom:.4f}",
        f"{frame.pressure:z.2f}",
        f"{frame.maximum_force:.2f}",
    ]


def _frame(database: GlassDatabase, frame: FrameRecord) -> ShownStructure:
    facts = [
        ("family", frame.family),
        ("energy", f"{frame.energy_per_atom:.4f} eV/atom"),
        ("pressure", f"{frame.pressure:z.2f} GPa"),
        ("largest force", f"{frame.maximum_force:.2f} eV/Å"),
        ("frame", frame.frame_id),
    ]
    if frame.volume is not None:
        facts.insert(3, ("density", f"{frame.density:.3f} g/cm³"))
    if frame.log10_time is not None:
        facts.append(("effective time of its family", f"10^{frame.log10_time:.1f} t*"))
    title = f"{frame.subset}, {frame.name or frame.family}"
    return ShownStructure(title, database.load([frame])[0], facts)
