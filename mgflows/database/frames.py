"""Labelled frames as answers to a query: light records first, atoms on demand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.jobs.store import load_frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from jobflow import JobStore

__all__ = ["FrameRecord", "load_atoms", "records_of"]


@dataclass(frozen=True)
class FrameRecord:
    """One labelled frame, without its arrays.

    Parameters
    ----------
    frame_id
        Hash of the frame.
    campaign, subset, family
        Where it belongs.
    name
        Which member of its set: a deformation or a time step.
    n_atoms
        Number of atoms.
    energy_per_atom
        eV per atom.
    pressure
        GPa.
    maximum_force
        eV/A.
    log10_time
        log10 of the effective time of its family in t*; None where the family has none.
    fingerprint_digest
        Hash of the method.
    uuid, number
        Job whose output holds it, and the position there.
    """

    frame_id: str
    campaign: str
    subset: str
    family: str
    name: str
    n_atoms: int
    energy_per_atom: float
    pressure: float
    maximum_force: float
    log10_time: float | None
    fingerprint_digest: str
    uuid: str
    number: int


def records_of(document: dict[str, Any], times: dict[str, float]) -> list[FrameRecord]:
    """The frames of one label document as it lies in the store, given the effective times of the families."""
    tags = document["metadata"]["mgflows"]
    return [
        FrameRecord(
            frame_id=summary["frame_id"],
            campaign=tags.get("campaign", ""),
            subset=tags["subset"],
            family=tags["family"],
            name=summary["name"],
            n_atoms=summary["n_atoms"],
            energy_per_atom=summary["energy_per_atom"],
            pressure=summary["pressure"],
            maximum_force=summary["maximum_force"],
            log10_time=times.get(tags["family"]),
            fingerprint_digest=document["output"]["fingerprint_digest"],
            uuid=document["uuid"],
            number=number,
        )
        for number, summary in enumerate(document["output"]["summaries"])
    ]


def load_atoms(store: JobStore, records: Iterable[FrameRecord]) -> list[Atoms]:
    """ASE atoms with single-point results, in the order of the records; ``info`` has frame_id, campaign, subset, family and log10_time."""
    records = list(records)
    by_uuid = defaultdict(list)
    for position, record in enumerate(records):
        by_uuid[record.uuid].append((position, record))
    atoms: dict[int, Atoms] = {}
    for uuid, members in by_uuid.items():
        frames = load_frames(store, uuid)
        for position, record in members:
            info: dict[str, Any] = {
                "frame_id": record.frame_id,
                "campaign": record.campaign,
                "subset": record.subset,
                "family": record.family,
            }
            if record.log10_time is not None:
                info["log10_time"] = record.log10_time
            atoms[position] = frames[record.number].to_atoms(**info)
    return [atoms[position] for position in range(len(records))]
