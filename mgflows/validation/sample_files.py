"""Samples of a validation in a folder, so that an interrupted one loses no finished sample."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import InputError
from mgflows.files import digest_of_arrays, digest_of_text, read_text, write_text
from mgflows.validation.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from mgflows.md.potentials import Potential
    from mgflows.validation.plan import SampleTask, SuiteProtocol

__all__ = ["SampleFiles"]


class SampleFiles:
    """One JSON file per finished sample.

    The name of a file ends with a digest of the inputs of the sample: the potential, the numbers of
    the suite, the glass and the seed. Samples of other settings may share the folder.

    Parameters
    ----------
    folder
        Made with the first sample.
    glasses, protocol
        Those of the validation.
    potentials
        What tasks name to the potential and its name in the validation.
    """

    def __init__(
        self,
        folder: str | Path,
        glasses: Sequence[Atoms],
        protocol: SuiteProtocol,
        potentials: Mapping[str, tuple[Potential, str]],
    ) -> None:
        self.folder = Path(folder)
        self._protocol = json.dumps(asdict(protocol), sort_keys=True)
        self._glasses = [
            digest_of_arrays(
                [(glass.numbers, 0), (glass.cell.array, 6), (glass.get_positions(), 6)]
            )
            for glass in glasses
        ]
        self._potentials = potentials

    def path(self, task: SampleTask) -> Path:
        """File of a sample."""
        potential, name = self._potentials[task.potential]
        digest = digest_of_text(
            potential.digest,
            self._protocol,
            self._glasses[task.index % len(self._glasses)],
            str(task.seed),
            str(task.n_atoms),
            length=8,
        )
        title = re.sub(r"[^\w.-]+", "-", f"{name} {task.key}")
        return self.folder / f"{title}-{digest}.json"

    def checkpoint(self, task: SampleTask) -> Path:
        """Checkpoint of the dynamics of a sample that is being measured."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.path(task).with_suffix(".npz")

    def read(self, task: SampleTask) -> Sample | None:
        """The sample, None if it is not finished.

        Raises
        ------
        InputError
            If its file is damaged.
        """
        path = self.path(task)
        if not path.exists():
            return None
        try:
            stored = json.loads(read_text(path))
            if not isinstance(stored.get("values"), dict):
                raise ValueError("it has no values")
            return Sample(**stored)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is not a sample of a validation ({error})",
                hint="remove the file; the sample is then measured again",
            ) from error

    def write(self, task: SampleTask, sample: Sample) -> None:
        """Store a finished sample and remove its checkpoints."""
        path = self.path(task)
        write_text(path, json.dumps(asdict(sample)))
        for suffix in (".npz", ".melt.npz"):
            path.with_suffix(suffix).unlink(missing_ok=True)
