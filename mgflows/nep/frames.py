"""Labelled structures in GPUMD's extended XYZ: the files ``train.xyz`` and ``test.xyz``.

A frame is an :class:`ase.Atoms` with a :class:`~ase.calculators.singlepoint.SinglePointCalculator` that holds the force-consistent free
energy (eV per cell), forces (eV/A) and stress (eV/A^3, ASE sign: positive when stretched), and with ``subset``, ``family`` and
``frame_id`` in ``info``.

The stress is written as ``stress=``: it means the same to GPUMD, ASE, calorine and neppo, and a symmetric tensor reads the same by rows
and by columns. ``virial=`` (eV per cell, positive when compressed) is read as well.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "find_duplicates",
    "frame_labels",
    "frames_text",
    "read_frames",
    "structure_hash",
    "write_frames",
]

_ASYMMETRY_TOLERANCE = 1e-4
"""Relative asymmetry of a stress tensor that rounding in files explains."""
_KEY_VALUE = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')


def write_frames(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write frames as GPUMD's extended XYZ, atomically: an interrupted call leaves no half file.

    Parameters
    ----------
    path
        File to write.
    frames
        Labelled structures; ``info["subset"]`` is written as ``config_type``, which GPUMD ignores and other tools group by.

    Raises
    ------
    InputError
        For no frames at all, a frame without energy, forces or stress, a value that is not finite, an open cell, or a structure given
        twice.
    """
    path = Path(path)
    text = frames_text(frames)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def frames_text(frames: Sequence[Atoms]) -> str:
    """The contents of the file that :func:`write_frames` writes."""
    if not frames:
        raise InputError("there is no frame to write; give at least one labelled structure")
    duplicates = find_duplicates(frames)
    if duplicates:
        first, second = duplicates[0]
        raise InputError(
            f"{_describe(frames[first], first)} and {_describe(frames[second], second)} are the same structure; keep one "
            f"({len(duplicates)} duplicates in {len(frames)} frames)"
        )
    return "".join(_to_text(frame, index) for index, frame in enumerate(frames))


def read_frames(path: str | Path) -> list[Atoms]:
    """Read frames from GPUMD's extended XYZ.

    Parameters
    ----------
    path
        File to read. ``subset``, ``family`` and ``frame_id`` are empty strings where the file has none.

    Returns
    -------
    frames
        Periodic structures with a single-point calculator each, as described at the top of this module.

    Raises
    ------
    InputError
        For a file that cannot be read: names the line and the reason.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the frames {path} cannot be read: {error}") from error
    frames = []
    start = 0
    while start < len(lines) and lines[start].strip():
        try:
            n_atoms = int(lines[start])
        except ValueError as error:
            raise InputError(
                f"line {start + 1} of {path} is {lines[start][:60]!r} but must be the number of atoms of a frame"
            ) from error
        end = start + 2 + n_atoms
        if n_atoms < 1 or end > len(lines):
            raise InputError(
                f"line {start + 1} of {path} announces {n_atoms} atoms, but {max(0, len(lines) - start - 2)} lines are left; the file is cut off"
            )
        try:
            frames.append(_from_text(lines[start + 1], lines[start + 2 : end]))
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(
                f"the frame at line {start + 1} of {path} cannot be read: {error}"
            ) from error
        start = end
    if not frames:
        raise InputError(f"{path} holds no frame")
    return frames


def structure_hash(atoms: Atoms) -> str:
    """Hash of species, cell and positions to 1e-6 A; the same for a structure and its copy, labels and info apart."""
    digest = hashlib.sha256(np.asarray(atoms.numbers, dtype=np.int64).tobytes())
    for lengths in (atoms.cell.array, atoms.positions):
        # Adding zero turns -0.0 into 0.0, which have different bytes.
        digest.update((np.round(lengths, 6) + 0.0).astype(np.float64).tobytes())
    return digest.hexdigest()


def find_duplicates(frames: Sequence[Atoms]) -> list[tuple[int, int]]:
    """Pairs (first, later) of frames with the same ``frame_id`` or the same structure, as indices into ``frames``."""
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


def frame_labels(
    frame: Atoms, index: int = 0
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Energy (eV), forces (n, 3) in eV/A and stress (3, 3) in eV/A^3 of a frame, checked.

    Raises
    ------
    InputError
        If one is missing, not finite or of the wrong shape, or the stress is not symmetric.
    """
    results = getattr(frame.calc, "results", {})
    missing = [name for name in ("energy", "forces", "stress") if results.get(name) is None]
    if missing:
        raise InputError(
            f"{_describe(frame, index)} has no {' and no '.join(missing)}; label it before it goes into a data set"
        )
    energy = float(results["energy"])
    forces = np.asarray(results["forces"], dtype=float)
    stress = np.asarray(results["stress"], dtype=float)
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
                f"{_describe(frame, index)} has a value in its {name} that is not a finite number; remove the frame or label it again"
            )
    return energy, forces, _symmetric(stress, "stress", _describe(frame, index))


def _symmetric(tensor: NDArray[np.float64], name: str, what: str) -> NDArray[np.float64]:
    asymmetry = float(np.abs(tensor - tensor.T).max())
    if asymmetry > _ASYMMETRY_TOLERANCE * max(1e-3, float(np.abs(tensor).max())):
        raise InputError(
            f"{what} has a {name} that is not symmetric (off by {asymmetry:.2g}); a stress that exerts a torque is a mistake in its source"
        )
    return (tensor + tensor.T) / 2


def _to_text(frame: Atoms, index: int) -> str:
    energy, forces, stress = frame_labels(frame, index)
    if not frame.cell.volume > 0.0:
        raise InputError(
            f"{_describe(frame, index)} has no volume; a NEP is trained on periodic cells"
        )
    keys = {
        "config_type": frame.info.get("subset", ""),
        "family": frame.info.get("family", ""),
        "frame_id": frame.info.get("frame_id", ""),
    }
    for key, value in keys.items():
        if re.search(r'[\s"=]', str(value)):
            raise InputError(
                f"{_describe(frame, index)} has the {key} {value!r}, which the file format cannot hold; use no blanks, quotes or '='"
            )
    comment = (
        f'Lattice="{_row(frame.cell.array)}" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy:.10f} stress="{_row(stress)}" pbc="T T T" '
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


def _from_text(comment: str, rows: list[str]) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    pairs = {key.lower(): quoted or plain for key, quoted, plain in _KEY_VALUE.findall(comment)}
    for key in ("lattice", "properties", "energy"):
        if key not in pairs:
            raise ValueError(f"its second line has no {key}=")
    columns: dict[str, tuple[str, slice]] = {}
    parts = pairs["properties"].split(":")
    offset = 0
    for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        columns[name.lower()] = (kind, slice(offset, offset + int(width)))
        offset += int(width)
    forces_name = "forces" if "forces" in columns else "force"
    for name in ("species", "pos", forces_name):
        if name not in columns:
            raise ValueError(f"its properties have no column {name}")
    table = [row.split() for row in rows]
    uneven = next((number for number, row in enumerate(table) if len(row) != offset), None)
    if uneven is not None:
        raise ValueError(f"atom {uneven} has {len(table[uneven])} columns instead of {offset}")
    symbols = [row[columns["species"][1]][0] for row in table]
    positions, forces = (
        np.array([row[columns[name][1]] for row in table], dtype=float)
        for name in ("pos", forces_name)
    )
    cell = np.array(pairs["lattice"].split(), dtype=float).reshape(3, 3)
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    stress = _stress_of(pairs, atoms.cell.volume)
    results = {"energy": float(pairs["energy"]), "forces": forces}
    if stress is not None:
        results["stress"] = units.tensor_to_voigt(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info = {
        "subset": pairs.get("config_type", ""),
        "family": pairs.get("family", ""),
        "frame_id": pairs.get("frame_id", ""),
    }
    return atoms


def _stress_of(pairs: dict[str, str], volume: float) -> NDArray[np.float64] | None:
    """Stress (3, 3) in eV/A^3 from ``stress=`` or ``virial=``; None where a frame has neither."""
    tensors = {}
    for key in ("stress", "virial"):
        if key in pairs:
            tensors[key] = _symmetric(
                np.array(pairs[key].split(), dtype=float).reshape(3, 3), key, "the frame"
            )
    if "virial" in tensors:
        tensors["virial"] = units.stress_from_virial(tensors["virial"], volume)
    if len(tensors) == 2 and not np.allclose(
        tensors["stress"], tensors["virial"], rtol=1e-3, atol=1e-5
    ):
        raise ValueError(
            "its stress= (positive when stretched) and virial= (positive when compressed) disagree; remove the wrong one"
        )
    return tensors.get("stress", tensors.get("virial"))
