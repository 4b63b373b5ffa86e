"""Extended XYZ files and ASE databases of other programs, and detection of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mgflows.database.imports.foreign import ForeignFrame, Reading, labelled_atoms
from mgflows.errors import InputError, MgflowsError
from mgflows.nep.extxyz import Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["read_ase_database", "read_extxyz"]

_ENERGY = ("REF_energy", "free_energy", "energy")
"""MACE's key, then the force-consistent energy of ASE, then the energy of ASE and GPUMD."""
_FORCES = ("REF_forces", "forces", "force")
_STRESS = ("REF_stress", "stress")
_VIRIAL = ("REF_virials", "REF_virial", "virials", "virial")
_LABELS = frozenset(key.lower() for key in (*_ENERGY, *_FORCES, *_STRESS, *_VIRIAL))
_STRUCTURE = frozenset(("lattice", "properties", "pbc", "species", "pos", "positions"))


def read_extxyz(path: Path, reading: Reading) -> Iterator[ForeignFrame]:
    """Yield the frames of an extended XYZ file, of which one is in memory at a time.

    Raises
    ------
    InputError
        If the file is not an extended XYZ file, or cut off.
    """
    for block in blocks(path):
        where = f"{path.name}, line {block.line}"
        try:
            yield _of_block(block, where, path, reading)
        except (ValueError, KeyError, IndexError, MgflowsError) as error:
            yield ForeignFrame(where, problem=_first_line(error))


def read_ase_database(path: Path, reading: Reading) -> Iterator[ForeignFrame]:
    """Yield the rows of an ASE database, with their key-value pairs as ``info``.

    The label is in the row itself, or under other names among its key-value pairs and data.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    from ase.db import connect

    try:
        rows = connect(path).select()
        for row in rows:
            where = f"{path.name}, row {row.id}"
            info = {key: value for key, value in row.key_value_pairs.items() if _is_plain(value)}
            found: dict[str, Any] = {**row.data, **row.key_value_pairs}
            for name in ("energy", "free_energy", "forces", "stress"):
                if row.get(name) is not None:
                    found[name] = row.get(name)
            try:
                atoms = Atoms(
                    numbers=row.numbers, positions=row.positions, cell=row.cell, pbc=row.pbc
                )
                yield _labelled(atoms, found, where, {**info, "file": path.stem}, reading)
            except (ValueError, KeyError, IndexError, MgflowsError) as error:
                yield ForeignFrame(where, problem=_first_line(error))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as an ASE database ({_first_line(error)})",
            hint="give the format of the file with --format",
        ) from error


def _of_block(block: Block, where: str, path: Path, reading: Reading) -> ForeignFrame:
    names = {name.lower(): name for name in block.columns}
    for name in ("species", "pos"):
        if name not in names:
            raise ValueError(f"the properties have no column {name}")
    entries = block.entries
    atoms = Atoms(
        block.symbols(names["species"]),
        positions=block.vectors(names["pos"]),
        cell=block.cell,
        pbc=block.periodic,
    )
    found: dict[str, Any] = {key: text for key, text in entries.items() if key not in _STRUCTURE}
    columns = {
        name: block.vectors(name)
        for name, columns in block.columns.items()
        if name.lower() not in _STRUCTURE and columns.stop - columns.start == 3
    }
    info = {**found} | {"file": path.name.partition(".")[0]}
    return _labelled(atoms, found | columns, where, info, reading)


def _labelled(
    atoms: Atoms,
    found: Mapping[str, Any],
    where: str,
    info: Mapping[str, Any],
    reading: Reading,
) -> ForeignFrame:
    keys = _choose_keys(found, reading)
    values = {quantity: _numbers(found[key]) for quantity, key in keys.items()}
    if values["energy"].size != 1:
        raise ValueError(f"{keys['energy']} has {values['energy'].size} values, not one")
    used = set(keys.values())
    return ForeignFrame(
        where,
        labelled_atoms(
            atoms,
            float(values["energy"].ravel()[0]),
            values["forces"].reshape(-1, 3),
            values.get("stress"),
            values.get("virial"),
            reading.units,
        ),
        info={key: value for key, value in info.items() if key not in used},
        keys=keys,
    )


def _choose_keys(found: Mapping[str, Any], reading: Reading) -> dict[str, str]:
    """Return the key of each quantity.

    If the energy has one of MACE's ``REF_`` keys, the forces must have one as well, since two
    labels must not be mixed.
    """
    names: dict[str, str] = {}
    for name in found:
        namesake = names.setdefault(name.lower(), name)
        if name.lower() in _LABELS and not _agree(found[namesake], found[name]):
            raise ValueError(f"{namesake} and {name} differ; remove one of them")

    def first(quantity: str, candidates: tuple[str, ...]) -> str | None:
        given = reading.keys.get(quantity)
        if given is not None:
            if given not in found:
                raise ValueError(f"there is no {given} (the key of {quantity})")
            return given
        return next((names[each.lower()] for each in candidates if each.lower() in names), None)

    energy, forces = first("energy", _ENERGY), first("forces", _FORCES)
    for quantity, key in (("energy", energy), ("forces", forces)):
        if key is None:
            raise ValueError(f"there is no {quantity} (keys: {', '.join(sorted(found)) or 'none'})")
    assert energy is not None
    assert forces is not None
    references = [key.upper().startswith("REF_") for key in (energy, forces)]
    if len(set(references)) == 2 and not {"energy", "forces"} & set(reading.keys):
        raise ValueError(f"{energy} and {forces} are of different labels; name both keys")
    keys = {"energy": energy, "forces": forces}
    # Forces and stress of the same label: MACE writes REF_ keys beside those of another model.
    stresses, virials = (
        tuple(key for key in candidates if key.startswith("REF_") == references[0])
        for candidates in (_STRESS, _VIRIAL)
    )
    named = {"stress", "virial"} & set(reading.keys)
    for quantity, candidates in (("stress", stresses), ("virial", virials)):
        # A key that is named for one of them replaces both.
        if (not named or quantity in named) and (key := first(quantity, candidates)):
            keys[quantity] = key
    return keys


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, str):
        return np.array(value.split(), dtype=float)
    return np.asarray(value, dtype=float)


def _agree(first: Any, second: Any) -> bool:
    one, other = _numbers(first), _numbers(second)
    return one.shape == other.shape and np.array_equal(one, other)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | np.integer | np.floating)


def _first_line(error: Exception) -> str:
    if isinstance(error, MgflowsError):
        return error.message
    message = error.args[0] if error.args else error
    return str(message).strip().partition("\n")[0] or type(error).__name__
