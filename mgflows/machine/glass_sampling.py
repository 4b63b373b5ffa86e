"""Sample glasses on this machine without a database, in parallel processes and resumable.

Every finished glass, and a checkpoint of every unfinished cooling, is a file in a folder next to
the output. The output is assembled from them at the end, and also when the run is interrupted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.checkpoints import only_process
from mgflows.errors import InputError, ServiceError
from mgflows.files import atomic_write, write_text
from mgflows.structures.order import analyse_order
from mgflows.surrogate.glasses import batches, sample_glass, sample_replicas
from mgflows.surrogate.processes import run_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.cooling import CoolingProgress
    from mgflows.surrogate.glasses import GlassProtocol, SampledGlass

__all__ = ["GlassRequest", "finished_glasses", "sample_glasses", "unfinished_folder"]

_SETTINGS = "settings.json"
_CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class GlassRequest:
    """All parameters that determine the glasses.

    Parameters
    ----------
    lj, alloy, protocol
        Surrogate, composition with number of atoms and density, and the cooling.
    n_glasses
        Number of glasses; it determines which of them are cooled side by side.
    seed
        Seed of all glasses; glass i uses stream i of it.
    inherent
        Whether the minimised structures are written instead of the glasses.
    """

    lj: LennardJones
    alloy: Alloy
    protocol: GlassProtocol
    n_glasses: int
    seed: int
    inherent: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The request as JSON values."""
        return {
            "surrogate": self.lj.as_dict(),
            "alloy": self.alloy.as_dict(),
            "protocol": asdict(self.protocol),
            "n_glasses": self.n_glasses,
            "seed": self.seed,
            "inherent": self.inherent,
        }


def unfinished_folder(output: Path) -> Path:
    """Folder of the unfinished run that writes `output`."""
    return output.with_name(f"{output.name}.unfinished")


def finished_glasses(request: GlassRequest, output: Path) -> int:
    """Number of glasses that an interrupted run of the same request has finished.

    Raises
    ------
    InputError
        If the unfinished run next to `output` has other settings.
    """
    folder = unfinished_folder(output)
    if not folder.exists():
        return 0
    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if settings != json.loads(json.dumps(request.settings)):
        raise InputError(
            f"{folder} holds an unfinished run with other settings",
            hint="run its command again, choose another --output, or discard it with --force",
        )
    return len(_glass_files(folder))


def sample_glasses(
    request: GlassRequest,
    output: Path,
    *,
    n_workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Cool glasses and write them to an extended XYZ file, in the order of their streams.

    An interrupted run (by KeyboardInterrupt, a kill or a crash) leaves its finished glasses in
    `output` and resumes when this function is called again with the same request.

    Parameters
    ----------
    request
        The glasses to sample.
    output
        The file; an existing one is replaced.
    n_workers
        Processes; the result does not depend on their number.
    progress
        Called several times a second with the number of sweeps done, summed over the glasses.

    Raises
    ------
    InputError
        If the unfinished run next to `output` has other settings, or is running.
    ServiceError
        If a process was killed.
    """
    finished_glasses(request, output)
    folder = unfinished_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with only_process(folder, "sampling into", hint="choose another --output"):
        write_text(folder / _SETTINGS, json.dumps(request.settings, indent=2))
        try:
            _cool_all(request, folder, n_workers, progress)
        finally:
            files = _glass_files(folder)
            if files:
                with atomic_write(output) as stream:
                    stream.writelines(file.read_text(encoding="utf-8") for file in files)
        shutil.rmtree(folder)


def _cool_all(
    request: GlassRequest,
    folder: Path,
    n_workers: int,
    progress: Callable[[int], None] | None,
) -> None:
    unfinished = [
        streams
        for streams in batches(request.lj, request.alloy, request.n_glasses)
        if not all(_glass_file(folder, stream).exists() for stream in streams)
    ]
    n_finished = request.n_glasses - sum(len(streams) for streams in unfinished)

    def report(sweeps: Sequence[int]) -> None:
        assert progress is not None
        done = sum(n * len(streams) for n, streams in zip(sweeps, unfinished, strict=True))
        progress(done + n_finished * request.protocol.n_sweeps)

    tasks = run_in_processes(
        partial(_cool, request, folder), unfinished, n_workers, report if progress else None
    )
    for _ in tasks:
        pass


def _cool(request: GlassRequest, folder: Path, streams: range, note: Callable[[int], None]) -> None:
    """Cool one glass, or several side by side, and write them."""

    def follow(state: CoolingProgress) -> None:
        note(state.sweeps_done)

    settings: dict[str, Any] = {
        "progress": follow,
        "checkpoint": folder / f"cooling-{streams[0]:06d}.npz",
        "checkpoint_interval": _CHECKPOINT_SECONDS,
    }
    common = request.lj, request.alloy, request.protocol
    glasses: Sequence[SampledGlass | None] | None
    if len(streams) == 1:
        glasses = [sample_glass(*common, request.seed, stream=streams[0], **settings)]
    else:
        seeds = [_seed(request.seed, stream) for stream in streams]
        glasses = sample_replicas(*common, seeds, **settings)
    for stream, glass in zip(streams, glasses or [None] * len(streams), strict=True):
        if glass is None:
            raise ServiceError("the cooling was stopped by a signal", hint="run the command again")
        _write(request, glass, stream, len(streams), _glass_file(folder, stream))
    settings["checkpoint"].unlink(missing_ok=True)


def _seed(seed: int, stream: int) -> int:
    """Return the seed of one of several replicas."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])


def _write(
    request: GlassRequest, glass: SampledGlass, stream: int, n_replicas: int, file: Path
) -> None:
    """Write a glass with its energy, its seed and its order parameters."""
    from ase.io import write

    order = analyse_order(glass.inherent_structure)
    atoms = glass.inherent_structure if request.inherent else glass.atoms
    atoms.calc = request.lj.calculator()
    atoms.get_forces()
    atoms.get_stress()
    atoms.info |= {
        "e_is": glass.e_is,
        "n_sweeps": request.protocol.n_sweeps,
        "seed": request.seed,
        "stream": stream,
        "replicas": n_replicas,
        "ordered": order.ordered,
        "q6_solid_fraction": order.q6_solid_fraction,
        "cna_555_fraction": order.cna_555_fraction,
        "frank_kasper_fraction": order.frank_kasper_fraction,
    }
    with atomic_write(file) as stream_of_file:
        write(stream_of_file, atoms, format="extxyz")


def _glass_file(folder: Path, stream: int) -> Path:
    return folder / f"glass-{stream:06d}.xyz"


def _glass_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("glass-*.xyz"))
