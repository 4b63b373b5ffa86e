"""Labelled structures in GPUMD's extended XYZ: the files ``train.xyz`` and ``test.xyz``.

A frame is an :class:`ase.Atoms` with a :class:`~ase.calculators.singlepoint.SinglePointCalculator`
that holds the force-consistent free energy (eV per cell), forces (eV/A) and stress (eV/A^3, ASE
sign: positive when stretched), and with ``subset``, ``family`` and ``frame_id`` in ``info``.
Weights and other numbers in ``info``, such as ``weight`` and ``energy_weight``, are kept in files.

The stress is written as ``stress=``: it means the same to GPUMD, ASE, calorine and neppo, and a
symmetric tensor reads the same by rows and by columns. ``virial=`` or ``virials=`` (eV per cell,
positive when compressed) is read as well.

ASE's reader is not used because it converts identifiers that look like numbers (``123e45``), and
takes three times as long.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.files import atomic_write, digest_of_arrays
from mgflows.geometry import check_distances, check_geometry
from mgflows.nep.extxyz import Block, add_entry, blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "families_of",
    "find_duplicates",
    "frame_labels",
    "frame_text",
    "frames_text",
    "iter_frames",
    "read_frames",
    "structure_hash",
    "write_frames",
]

_ASYMMETRY_TOLERANCE, _SMALLEST_ASYMMETRY = 1e-3, 1e-5
"""Largest asymmetry of a stress tensor that is attributed to rounding and single precision:
relative, and in eV/A^3 (2 MPa)."""
_READ_ELSEWHERE = frozenset(
    ("lattice", "properties", "pbc", "energy", "free_energy", "stress", "virial", "virials")
)
_WEIGHTS = frozenset(("weight", "energy_weight"))
_TAGS = {"config_type": "subset", "family": "family", "frame_id": "frame_id"}
"""Keys of the file and of ``info``. GPUMD ignores ``config_type``; other tools group by it."""


def write_frames(path: str | Path, frames: Sequence[Atoms], *, needs_stress: bool = True) -> None:
    """Write frames as GPUMD's extended XYZ, atomically: a crash leaves no incomplete file.

    Parameters
    ----------
    path
        File to write.
    frames
        Labelled structures; ``info["subset"]`` is written as ``config_type``, and every number or
        word in ``info`` by its name.
    needs_stress
        Whether a frame without stress is an error; if not, it has none in the file.

    Raises
    ------
    InputError
        For no frames, a frame without energy, forces or stress, a value that is not finite, an
        open cell, or a structure given twice.
    """
    with atomic_write(path) as stream:
        stream.writelines(_frame_texts(frames, needs_stress=needs_stress))


def frames_text(frames: Sequence[Atoms], *, needs_stress: bool = True) -> str:
    """The contents of the file that :func:`write_frames` writes.

    Parameters
    ----------
    frames
        As for :func:`write_frames`.
    needs_stress
        Whether a frame without stress is an error; if not, it has none in the file.
    """
    return "".join(_frame_texts(frames, needs_stress=needs_stress))


def _frame_texts(frames: Sequence[Atoms], *, needs_stress: bool) -> Iterator[str]:
    if not frames:
        raise InputError("there is no frame to write", hint="give at least one labelled structure")
    duplicates = find_duplicates(frames)
    if duplicates:
        first, second = duplicates[0]
        raise InputError(
            f"{_describe(frames[first], first)} and {_describe(frames[second], second)} are the "
            "same structure",
            hint=f"keep one ({len(duplicates)} duplicates in {len(frames)} frames)",
        )
    for index, frame in enumerate(frames):
        yield frame_text(frame, index, needs_stress=needs_stress)


def read_frames(path: str | Path) -> list[Atoms]:
    """Read frames from GPUMD's extended XYZ.

    ``free_energy=``, which ASE writes for density functionals, is preferred to ``energy=``, because
    forces and stress are its derivatives. Keys are case-insensitive, as in GPUMD; if a key is given
    twice, both values must agree. Other keys are kept in ``info``, numbers as
    numbers.

    Parameters
    ----------
    path
        File to read; blank lines between frames are skipped. ``subset``, ``family`` and
        ``frame_id`` are empty strings if the file has none.

    Returns
    -------
    frames
        Periodic structures with a single-point calculator each, as described at the top of this
        module.

    Raises
    ------
    InputError
        For a file that cannot be read, a frame that is not a periodic structure of elements, a
        value that is not finite, or atoms at the same place: names the line and the reason.
    """
    frames = list(iter_frames(path))
    if not frames:
        raise InputError(f"{path} holds no frame", hint="give a file with at least one frame")
    return frames


def iter_frames(path: str | Path) -> Iterator[Atoms]:
    """Read frames one by one, as :func:`read_frames` does, for files larger than the memory."""
    path = Path(path)
    for block in blocks(path):
        with block.naming(path):
            frame = _from_block(block)
        yield frame


def structure_hash(atoms: Atoms) -> str:
    """Hash of species, cell and positions to 1e-6 A; labels and ``info`` do not matter."""
    return digest_of_arrays(
        [(atoms.numbers, 0), (atoms.cell.array, 6), (atoms.positions, 6)], length=64
    )


def find_duplicates(frames: Iterable[Atoms]) -> list[tuple[int, int]]:
    """Pairs (first, later) of frames with the same ``frame_id`` or structure, as indices."""
    seen: dict[str, int] = {}
    duplicates = []
    for index, frame in enumerate(frames):
        keys = ["structure " + structure_hash(frame)]
        if frame.info.get("frame_id"):
            keys.append(f"id {frame.info['frame_id']}")
        earlier = [seen[key] for key in keys if key in seen]
        if earlier:
            duplicates.append((earlier[0], index))
        for key in keys:
            seen.setdefault(key, index)
    return duplicates


def _describe(frame: Atoms, index: int) -> str:
    identity = ", ".join(
        str(frame.info[key]) for key in ("frame_id", "subset", "family") if frame.info.get(key)
    )
    return f"frame {index} ({identity})" if identity else f"frame {index}"


def families_of(frames: Sequence[Atoms]) -> list[str]:
    """The family of each frame; a frame without one is a separate family."""
    return [str(frame.info.get("family") or f"frame {i}") for i, frame in enumerate(frames)]


def frame_labels(
    frame: Atoms, index: int = 0, *, needs_stress: bool = True
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Energy (eV), forces (n, 3) in eV/A and stress (3, 3) in eV/A^3 of a frame, checked.

    The energy is the free energy if the frame has one: forces and stress are its derivatives.

    Parameters
    ----------
    frame, index
        The frame, and its number for messages.
    needs_stress
        Whether a missing stress is an error; if not, it is returned as NaN.

    Raises
    ------
    InputError
        If one is missing, not finite or of the wrong shape, or the stress is not symmetric.
    """
    results = getattr(frame.calc, "results", {})
    needed = ("energy", "forces", "stress") if needs_stress else ("energy", "forces")
    missing = [name for name in needed if results.get(name) is None]
    if missing:
        raise InputError(
            f"{_describe(frame, index)} has no {' and no '.join(missing)}",
            hint="label it before it goes into a dataset",
        )
    free_energy = results.get("free_energy")
    energy = float(results["energy"] if free_energy is None else free_energy)
    forces = np.asarray(results["forces"], dtype=float)
    has_stress = results.get("stress") is not None
    stress = np.asarray(results["stress"] if has_stress else np.zeros((3, 3)), dtype=float)
    if stress.shape == (6,):
        stress = units.voigt_to_tensor(stress)
    for name, values, shape in (("forces", forces, (len(frame), 3)), ("stress", stress, (3, 3))):
        if values.shape != shape:
            raise InputError(
                f"{_describe(frame, index)} has {name} of shape {values.shape} instead of {shape}"
            )
    numbers = {
        "energy": energy,
        "forces": forces,
        "stress": stress,
        "positions": frame.positions,
        "cell": frame.cell.array,
    }
    for name, values in numbers.items():
        if not np.all(np.isfinite(values)):
            raise InputError(
                f"{_describe(frame, index)} has a value in its {name} that is not a finite number",
                hint="remove the frame or label it again",
            )
    if not has_stress:
        return energy, forces, np.full((3, 3), np.nan)
    return energy, forces, _symmetric(stress, "stress", _describe(frame, index))


def _symmetric(
    tensor: NDArray[np.float64], name: str, what: str, volume: float = 1.0
) -> NDArray[np.float64]:
    """The symmetric part of a stress, or of a virial of the given volume."""
    asymmetry = float(np.abs(tensor - tensor.T).max())
    largest = float(np.abs(tensor).max())
    if asymmetry > max(_ASYMMETRY_TOLERANCE * largest, _SMALLEST_ASYMMETRY * volume):
        raise InputError(
            f"{what} has a {name} that is not symmetric (off by {asymmetry:.2g}); a stress that "
            "exerts a torque is a mistake in its source",
            hint="correct it where it was calculated, or leave the frame out",
        )
    return (tensor + tensor.T) / 2


def frame_text(frame: Atoms, index: int = 0, *, needs_stress: bool = True) -> str:
    """The text of one frame in a file that :func:`write_frames` writes.

    Parameters
    ----------
    frame
        Labelled structure.
    index
        Its number, for messages.
    needs_stress
        Whether a frame without stress is an error.
    """
    energy, forces, stress = frame_labels(frame, index, needs_stress=needs_stress)
    name = _describe(frame, index)
    check_geometry(frame, name, periodic=True)
    check_distances(frame, name)
    if not frame.numbers.all():
        raise InputError(f"{name} contains the species 'X', which is not an element")
    for key in sorted(_WEIGHTS & frame.info.keys()):
        _check_weight(frame.info[key], f"{name} has the {key} {frame.info[key]!r}, which")
    keys = {name: frame.info.get(key, "") for name, key in _TAGS.items()}
    for key, value in keys.items():
        if re.search(r'[\s"=]|^[\'{\[]', str(value)):
            raise InputError(
                f"{name} has the {key} {value!r}, which the file format cannot hold",
                hint="use no blanks, quotes or '=', and no bracket in the first place",
            )
    keys |= _other_info(frame)
    tensor = f'stress="{_row(stress)}" ' if np.all(np.isfinite(stress)) else ""
    comment = (
        f'Lattice="{_row(frame.cell.array)}" Properties=species:S:1:pos:R:3:forces:R:3 '
        f'energy={energy:.10f} {tensor}pbc="T T T" '
        + " ".join(f"{key}={value}" for key, value in keys.items() if value != "")
    ).rstrip()
    atoms = "\n".join(
        f"{symbol:<2} {x:.10f} {y:.10f} {z:.10f} {fx:.10f} {fy:.10f} {fz:.10f}"
        for symbol, (x, y, z), (fx, fy, fz) in zip(
            frame.get_chemical_symbols(), frame.positions.tolist(), forces.tolist(), strict=True
        )
    )
    return f"{len(frame)}\n{comment}\n{atoms}\n"


def _row(tensor: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.10f}" for value in np.ravel(tensor))


def _other_info(frame: Atoms) -> dict[str, object]:
    """Numbers and words of ``info`` with names that the format allows."""
    taken = {*_TAGS, *_TAGS.values(), *_READ_ELSEWHERE, "forces", "force"}
    found: dict[str, object] = {}
    for key, value in frame.info.items():
        if not re.fullmatch(r"[\w.-]+", str(key)) or str(key).lower() in taken:
            continue
        if isinstance(value, (bool, np.bool_)):
            found[key] = "T" if value else "F"
        elif isinstance(value, (int, float, np.integer, np.floating)):
            found[key] = value.item() if isinstance(value, np.generic) else value
        elif isinstance(value, str) and re.fullmatch(r"[^\s\"'={}\[\]]+", value):
            found[key] = value
    return found


def _from_block(block: Block) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    pairs = _entries(block)
    if "energy" not in pairs and "free_energy" not in pairs:
        others = [key for key in pairs if key.lower().endswith("energy")]
        known = (
            f"; rename {others[0]}= and the columns beside it if it is the label" if others else ""
        )
        raise ValueError(f"its second line has no energy={known}")
    columns = {name.lower(): name for name in block.columns}
    if "forces" in columns and "force" in columns:
        raise ValueError("its properties have both forces and force; remove one of the columns")
    forces_name = "forces" if "forces" in columns else "force"
    for name in ("species", "pos", forces_name):
        if name not in columns:
            raise ValueError(f"its properties have no column {name}")
    symbols = block.symbols(columns["species"])
    positions, forces = (block.vectors(columns[name]) for name in ("pos", forces_name))
    if not all(block.periodic):
        raise ValueError(
            "it is not periodic in three directions, and a NEP is trained on periodic cells; write "
            'pbc="T T T" if its vacuum is wider than the cutoff'
        )
    atoms = Atoms(symbols, positions=positions, cell=block.cell, pbc=True)
    check_geometry(atoms, "it")
    check_distances(atoms, "it")
    stress = _stress_of(pairs, atoms.cell.volume)
    energy = float(pairs["free_energy"] if "free_energy" in pairs else pairs["energy"])
    results = {"energy": energy, "forces": forces}
    for name, finite in (("energy", np.isfinite(energy)), ("forces", np.isfinite(forces).all())):
        if not finite:
            raise ValueError(f"a value of its {name} is not finite; label it again or remove it")
    if stress is not None:
        results["stress"] = units.tensor_to_voigt(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info = {key: pairs.get(name, "") for name, key in _TAGS.items()}
    for key, text in pairs.items():
        if key not in _READ_ELSEWHERE and key not in _TAGS:
            atoms.info.setdefault(key, _number(text))
    for key in _WEIGHTS & atoms.info.keys():
        _check_weight(atoms.info[key], f"its {key} is {pairs[key]!r} but")
    return atoms


def _check_weight(value: object, what: str) -> None:
    if not isinstance(value, float | int | np.number) or not 0.0 <= value < np.inf:
        raise InputError(f"{what} must be a number that is not negative")


def _entries(block: Block) -> dict[str, str]:
    """Values of a comment line by key, the keys of labels and tags in lower case."""
    entries: dict[str, str] = {}
    for key, value in block.entries.items():
        if key.lower() in _READ_ELSEWHERE | _WEIGHTS or key.lower() in _TAGS:
            key = key.lower()
        add_entry(entries, key, value)
    return entries


def _number(text: str) -> float | str:
    """Numbers of ``info`` as numbers, everything else as text."""
    try:
        return float(text)
    except ValueError:
        return text


def _stress_of(pairs: dict[str, str], volume: float) -> NDArray[np.float64] | None:
    """Stress (3, 3) in eV/A^3 from ``stress=`` or a virial; None if a frame has neither."""
    tensors = {}
    for key in ("stress", "virial", "virials"):
        if key in pairs:
            values = np.array(pairs[key].split(), dtype=float)
            if values.size != 9 or not np.all(np.isfinite(values)):
                raise ValueError(
                    f"its {key}= has {values.size} numbers but must have nine finite ones, a "
                    "tensor by rows"
                )
            tensors[key] = _symmetric(
                values.reshape(3, 3),
                key,
                "the frame",
                1.0 if key == "stress" else volume,
            )
    for key in tensors.keys() - {"stress"}:
        tensors[key] = units.stress_from_virial(tensors[key], volume)
    names = list(tensors)
    for name in names[1:]:
        if not np.allclose(tensors[names[0]], tensors[name], rtol=1e-3, atol=1e-5):
            raise ValueError(
                f"its {names[0]}= and {name}= disagree (a stress is positive when stretched, a "
                "virial when compressed); remove the wrong one"
            )
    return tensors[names[0]] if names else None
