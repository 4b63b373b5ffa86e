"""DeePMD-kit systems: folders of numpy arrays.

Format: https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html. A system has
``type.raw`` and ``type_map.raw``, and sets of frames in ``set.*/coord.npy`` (A), ``box.npy`` (A),
``energy.npy`` (eV), ``force.npy`` (eV/A) and ``virial.npy`` (eV, positive when compressed). In a
mixed system ``set.*/real_atom_types.npy`` has the types of each frame. The format is simple enough
to be read without dpdata and its dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mgflows.database.imports.foreign import ForeignFrame, Reading, labelled_atoms
from mgflows.errors import InputError, MgflowsError
from mgflows.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["find_systems", "read_deepmd"]

_KEYS = {"energy": "energy.npy", "forces": "force.npy", "virial": "virial.npy"}


def find_systems(folder: Path) -> list[Path]:
    """Return the systems in a folder, which may itself be one, in the order of their names."""
    return sorted(path.parent for path in folder.rglob("type.raw"))


def read_deepmd(folder: Path, reading: Reading) -> Iterator[ForeignFrame]:
    """Yield the frames of all systems in a folder, without loading whole arrays.

    Raises
    ------
    InputError
        If there is no system, or one has no names of its types.
    """
    systems = find_systems(folder)
    if not systems:
        raise InputError(
            f"{folder} holds no DeePMD system", hint="give a folder with type.raw and set.000"
        )
    for system in systems:
        name = system.relative_to(folder).as_posix() if system != folder else folder.name
        yield from _read_system(system, name, reading)


def _read_system(system: Path, name: str, reading: Reading) -> Iterator[ForeignFrame]:
    types = np.loadtxt(system / "type.raw", dtype=int, ndmin=1)
    if not (system / "type_map.raw").is_file():
        raise InputError(
            f"the DeePMD system {system} has no type_map.raw with the elements of its types",
            hint="write one: one symbol per line, in the order of the types",
        )
    elements = read_text(system / "type_map.raw").split()
    periodic = not (system / "nopbc").exists()
    for folder in sorted(system.glob("set.*")):
        where = f"{name}/{folder.name}"
        try:
            arrays = _arrays(folder)
        except (OSError, EOFError, ValueError) as error:
            yield ForeignFrame(where, problem=f"its arrays cannot be read: {error}")
            continue
        for number in range(len(arrays["coord"])):
            info = {"folder": name, "file": name, "system": name, "set": where}
            try:
                kinds = arrays["real_atom_types"][number] if "real_atom_types" in arrays else types
                # A negative type is a place without an atom.
                real = np.asarray(kinds) >= 0
                atoms = Atoms(
                    [elements[kind] for kind in np.asarray(kinds)[real]],
                    positions=arrays["coord"][number].reshape(-1, 3)[real],
                    cell=arrays["box"][number].reshape(3, 3) if periodic else None,
                    pbc=periodic,
                )
                labelled = labelled_atoms(
                    atoms,
                    float(np.ravel(arrays["energy"][number])[0]),
                    arrays["force"][number].reshape(-1, 3)[real],
                    virial=arrays["virial"][number] if "virial" in arrays else None,
                    given=reading.units,
                )
                keys = {key: each for key, each in _KEYS.items() if each[:-4] in arrays}
                yield ForeignFrame(f"{where}, frame {number}", labelled, info=info, keys=keys)
            except (KeyError, IndexError, ValueError, MgflowsError) as error:
                message = error.message if isinstance(error, MgflowsError) else error
                yield ForeignFrame(f"{where}, frame {number}", problem=str(message))


def _arrays(folder: Path) -> dict[str, Any]:
    """The arrays of a set, mapped from disk."""
    arrays = {
        path.stem: np.load(path, mmap_mode="r")
        for path in sorted(folder.glob("*.npy"))
        if path.stem in ("coord", "box", "energy", "force", "virial", "real_atom_types")
    }
    missing = [name for name in ("coord", "energy", "force") if name not in arrays]
    if missing:
        raise ValueError(f"there is no {missing[0]}.npy")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the arrays have different numbers of frames: {listing}")
    return arrays
