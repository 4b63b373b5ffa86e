"""The file from which an interrupted heating goes on."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.langevin import LangevinNPT

__all__ = ["HeatingCheckpoint"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 10.0
_FRAME = ("positions", "cell", "momenta", "energy", "free_energy", "forces", "stress")


class HeatingCheckpoint:
    """State of the dynamics, samples and frames of :func:`mgflows.md.quench.heat` so far, in one file.

    Parameters
    ----------
    path
        The file.
    atoms, protocol
        What the run begins with; a file of another run is not taken.
    """

    def __init__(self, path: Path, atoms: Atoms, protocol: tuple[float, ...]) -> None:
        self.path = path
        self._atoms = atoms
        values = (atoms.numbers, atoms.positions, atoms.cell.array, np.array(protocol, dtype=float))
        self._run = hashlib.sha256(
            b"".join(np.ascontiguousarray(value).tobytes() for value in values)
        ).hexdigest()
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, NDArray[Any]], list[list[float]], list[Atoms]] | None:
        """State, samples and frames of the interrupted run; None if there was none."""
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                found = dict(file)
            if str(found["run"]) != self._run:
                logger.warning("%s is of another run; the heating begins anew", self.path)
                return None
            state = {
                name.removeprefix("state_"): value
                for name, value in found.items()
                if name.startswith("state_")
            }
            columns = [found[f"frame_{name}"] for name in _FRAME]
            return (
                state,
                found["rows"].tolist(),
                [self._frame(*values) for values in zip(*columns, strict=True)],
            )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read (%s); the heating begins anew", self.path, error)
            return None

    def write(
        self, dynamics: LangevinNPT, rows: Sequence[Sequence[float]], frames: Sequence[Atoms]
    ) -> None:
        """Save, unless the last time was a moment ago."""
        if time.monotonic() - self._written < _SECONDS_BETWEEN_WRITES:
            return
        content: dict[str, Any] = {"run": self._run, "rows": rows}
        content |= {f"state_{name}": value for name, value in dynamics.state().items()}
        content |= {
            f"frame_{name}": values
            for name, values in zip(_FRAME, zip(*map(_values, frames), strict=True), strict=True)
        }
        partial = self.path.with_suffix(f".{os.getpid()}")
        with open(partial, "wb") as stream:
            np.savez(stream, **content)
        partial.replace(self.path)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the run is over."""
        self.path.unlink(missing_ok=True)

    def _frame(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        momenta: NDArray[np.float64],
        energy: float,
        free_energy: float,
        forces: NDArray[np.float64],
        stress: NDArray[np.float64],
    ) -> Atoms:
        from ase.calculators.singlepoint import SinglePointCalculator

        frame = self._atoms.copy()
        frame.set_constraint()
        frame.set_cell(cell)
        frame.positions = positions
        frame.set_momenta(momenta)
        frame.calc = SinglePointCalculator(
            frame,
            energy=float(energy),
            free_energy=float(free_energy),
            forces=forces,
            stress=stress,
        )
        return frame


def _values(frame: Atoms) -> tuple[Any, ...]:
    """A frame as `HeatingCheckpoint` keeps it, in the order of `_FRAME`."""
    results = frame.calc.results
    return (
        frame.positions,
        frame.cell.array,
        frame.get_momenta(),
        *(results[name] for name in _FRAME[3:]),
    )
