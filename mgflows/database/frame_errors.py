"""Errors of a potential for single frames, to find those that it predicts worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.database.frames import load_atoms
from mgflows.database.planned import batches
from mgflows.nep.results import parity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobflow import JobStore

    from mgflows.schemas.frames import FrameRecord
    from mgflows.schemas.training import DatasetFrame, ParityTable, PotentialDocument

__all__ = ["ErrorKind", "FrameError", "frame_errors"]

ErrorKind = Literal["energy", "force", "largest_force", "virial"]

_FRAMES_PER_BATCH = 500
"""Frames in memory at a time."""


@dataclass(frozen=True)
class FrameError:
    """Errors of a potential for one frame.

    Attributes
    ----------
    frame_id
        Hash of the frame.
    energy
        Absolute error of the energy, meV per atom.
    force
        Root mean square over the force components, meV/A.
    largest_force
        Largest error of the force on an atom, meV/A.
    virial
        Root mean square over the six components of the virial, meV per atom.
    """

    frame_id: str
    energy: float
    force: float
    largest_force: float
    virial: float


def frame_errors(
    store: JobStore, potential: PotentialDocument, frames: Sequence[FrameRecord | DatasetFrame]
) -> dict[str, FrameError]:
    """Return the errors of a potential for frames, by frame id.

    Those of its own training and test set are stored with it; others are computed, about 15
    microseconds per atom, a few hundred frames at a time.

    Parameters
    ----------
    store
        The documents.
    potential
        The potential with its parity values.
    frames
        Frames of a query or a dataset.
    """
    known = {error.frame_id: error for table in potential.parity.values() for error in _of(table)}
    found = {frame.frame_id: known[frame.frame_id] for frame in frames if frame.frame_id in known}
    missing = [frame for frame in frames if frame.frame_id not in found]
    for some in batches(missing, _FRAMES_PER_BATCH):
        atoms = load_atoms(store, some)
        table = parity(potential.nep_txt, atoms)
        for number, frame in enumerate(some):
            rows, columns = np.triu_indices(3)
            virial = table.predictions.virials[number] - table.labels.virials[number]
            energy = table.predictions.energies[number] - table.labels.energies[number]
            found[frame.frame_id] = FrameError(
                frame.frame_id,
                energy=1e3 * abs(float(energy)),
                force=1e3 * float(table.force_errors[number]),
                largest_force=1e3 * float(table.largest_force_errors[number]),
                virial=1e3 * float(np.sqrt(np.mean(virial[rows, columns] ** 2))),
            )
    return found


def _of(table: ParityTable) -> Iterator[FrameError]:
    energies = np.abs(np.subtract(table.energy.predicted, table.energy.reference))
    virials = np.subtract(table.virial.predicted, table.virial.reference).reshape(-1, 6)
    # Frames of potentials trained before frame ids were stored are unknown.
    for number, frame_id in enumerate(table.frame_id):
        yield FrameError(
            frame_id,
            energy=1e3 * float(energies[number]),
            force=1e3 * table.force_error[number],
            largest_force=1e3 * table.largest_force_error[number],
            virial=1e3 * float(np.sqrt(np.mean(virials[number] ** 2))),
        )
