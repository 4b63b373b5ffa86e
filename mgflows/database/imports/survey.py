"""Check frames of other programs, and describe them before anything is stored."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.formula import Formula

from mgflows.errors import InputError, MgflowsError
from mgflows.geometry import right_handed
from mgflows.md.condensed import volume_ratio
from mgflows.methods.base import check_geometry
from mgflows.nep.label_units import UnitComparison
from mgflows.schemas.frames import Frame, FrameSummary
from mgflows.schemas.imports import Range
from mgflows.schemas.quality import violations
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from mgflows.database.imports.foreign import ForeignFrame, Reading, Units
    from mgflows.schemas.labels import MethodFingerprint

__all__ = ["CheckedFrame", "RefusedFrameError", "Survey", "check_frame"]

_DEFAULT_SUBSET = "imported"
_SUBSET_KEYS = ("config_type", "subset")
_ISOLATED = "isolatedatom"
"""MACE's ``config_type`` of a frame that defines the energy of an atom."""
_OWN_KEYS = frozenset(
    (
        "config_type",
        "subset",
        "family",
        "frame_id",
        "file",
        "folder",
        "path",
        "set",
        "step",
        "system",
    )
) | {"calculation", "log10_time", "pbc"}
_USUAL_VOLUME = (0.3, 4.0)
"""Range of the volume of a cell over that of the solid elements: 6.7 if it is in bohr. Atoms of a
cell in nm overlap, and are refused."""
_LARGEST_MEAN_FORCE = 0.01
"""eV/A. The mean force on the atoms of a cell is zero; plane-wave codes leave less than this."""
_LARGEST_TYPICAL_PRESSURE = 150.0
"""GPa; stresses in GPa that are taken for eV/A^3 are 160 times too large."""
_CONDENSED_VOLUME = (0.5, 2.0)
"""Range of the same ratio in which cells of one composition have similar energies per atom."""
_SIZE_RATIO, _SMALLEST_ENERGY = 1.5, 1.0
"""Smallest ratio of two sizes whose energies are compared, and energy in eV that is far from 0."""
_MINIMUM_SPREAD, _MINIMUM_FRAMES = 0.02, 20
"""Smallest relative spread of the volumes, and number of frames, to check the pressure's sign."""


class RefusedFrameError(InputError):
    """A frame does not pass the checks of every label."""


@dataclass(frozen=True)
class CheckedFrame:
    """A frame that passed the checks.

    Attributes
    ----------
    frame, summary
        The label, grouped by species, and its summary with its family.
    subset
        Its subset.
    """

    frame: Frame
    summary: FrameSummary
    subset: str


def check_frame(foreign: ForeignFrame, reading: Reading, *, geometry: bool = True) -> CheckedFrame:
    """Apply the checks of computed labels to an imported frame, and group its atoms by species.

    Parameters
    ----------
    foreign, reading
        The frame and how it is grouped.
    geometry
        Whether to check distances and the cell, which takes most of the time.

    Raises
    ------
    RefusedFrameError
        If the frame must not enter a database; the message is the reason.
    """
    if foreign.atoms is None:
        raise RefusedFrameError(foreign.problem)
    if "stress" not in foreign.atoms.calc.results:
        raise RefusedFrameError("it has no stress and no virial")
    try:
        if geometry:
            check_geometry(foreign.atoms)
        frame = Frame.from_atoms(_grouped(foreign.atoms), _name(foreign))
    except MgflowsError as error:
        raise RefusedFrameError(error.message) from error
    if found := violations(frame, foreign.report):
        raise RefusedFrameError("; ".join(found))
    summary = FrameSummary.from_frame(frame)
    return CheckedFrame(
        frame,
        summary.model_copy(update={"family": _family(foreign, reading, summary.structure_id)}),
        _subset(foreign, reading),
    )


def _grouped(atoms: Atoms) -> Atoms:
    """The atoms with their label, grouped by species in a right-handed cell."""
    order = np.argsort(atoms.numbers, kind="stable")
    grouped = right_handed(atoms)[order]
    results: dict[str, Any] = dict(atoms.calc.results)
    results["forces"] = np.asarray(results["forces"])[order]
    grouped.calc = SinglePointCalculator(grouped, **results)
    return grouped


def _name(foreign: ForeignFrame) -> str:
    step = foreign.info.get("step")
    return f"step {step}" if step is not None else foreign.where


def _subset(foreign: ForeignFrame, reading: Reading) -> str:
    if reading.subset is not None:
        return _word(reading.subset)
    if reading.subset_key is not None:
        return _word(_value(foreign, reading.subset_key))
    for key in _SUBSET_KEYS:
        if foreign.info.get(key):
            return _word(foreign.info[key])
    return _DEFAULT_SUBSET


def _family(foreign: ForeignFrame, reading: Reading, structure_id: str) -> str:
    if reading.family_key is not None:
        return _word(_value(foreign, reading.family_key))
    for key in ("family", "calculation", "system"):
        if foreign.info.get(key):
            return _word(foreign.info[key])
    return f"frame-{structure_id[:12]}"


def _value(foreign: ForeignFrame, key: str) -> Any:
    if key == "formula" and foreign.atoms is not None:
        return foreign.atoms.get_chemical_formula()
    value = foreign.info.get(key)
    if value in (None, ""):
        known = ", ".join(sorted(foreign.info)) or "none"
        raise RefusedFrameError(f"it has no key {key} to group by (keys: {known})")
    return value


def _word(value: Any) -> str:
    """A name that files, queries and documents can hold."""
    return re.sub(r"[^\w+-]", "_", str(value).strip()) or _DEFAULT_SUBSET


@dataclass
class Survey:
    """Summary of the frames read so far; it contains their hashes but no frames.

    Parameters
    ----------
    declared
        The method that the user declares.
    known_frames, known_structures
        Hashes of the frames and structures that are already in the campaign.
    refused_before
        Places of the frames that an earlier survey of the same files refused; the geometry of the
        others is not checked again.
    """

    declared: MethodFingerprint
    known_frames: set[str] = field(default_factory=set)
    known_structures: set[str] = field(default_factory=set)
    refused_before: set[str] | None = None
    n_read: int = 0
    n_accepted: int = 0
    n_new: int = 0
    n_known: int = 0
    n_repeated: int = 0
    n_relabelled: int = 0
    n_steps: int = 0
    keys: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    refused_places: set[str] = field(default_factory=set)
    subsets: Counter[str] = field(default_factory=Counter)
    formulas: Counter[str] = field(default_factory=Counter)
    ranges: dict[str, Range] = field(default_factory=dict)
    isolated_atoms: dict[str, float] = field(default_factory=dict)
    unusual_volumes: list[float] = field(default_factory=list)
    mean_forces: list[float] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    fingerprint: MethodFingerprint | None = None
    _families: set[str] = field(default_factory=set)
    _frames: set[str] = field(default_factory=set)
    _structures: set[str] = field(default_factory=set)
    _volumes: defaultdict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _energies: defaultdict[tuple[str, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _units: UnitComparison = field(default_factory=UnitComparison)

    def add(self, foreign: ForeignFrame, reading: Reading) -> CheckedFrame | None:
        """Check a frame and count it.

        Returns
        -------
        CheckedFrame or None
            The frame, if it is to be stored; None if it is refused or known.

        Raises
        ------
        InputError
            If its file states another method than that of the frames before.
        """
        self.n_read += 1
        if self._is_isolated_atom(foreign):
            return None
        try:
            if foreign.where in (self.refused_before or ()):
                raise RefusedFrameError("it was refused before")
            checked = check_frame(foreign, reading, geometry=self.refused_before is None)
        except RefusedFrameError as error:
            reason = _reason(error.message)
            self.refused[reason] += 1
            self.refused_places.add(foreign.where)
            self.examples.setdefault(reason, f"{foreign.where}: {error.message}")
            return None
        self._check_method(foreign)
        summary = checked.summary
        if summary.frame_id in self._frames:
            self.n_repeated += 1
            return None
        self._frames.add(summary.frame_id)
        self._count(foreign, checked)
        if summary.frame_id in self.known_frames:
            self.n_known += 1
            return None
        if (
            summary.structure_id in self._structures
            or summary.structure_id in self.known_structures
        ):
            self.n_relabelled += 1
        self._structures.add(summary.structure_id)
        self.n_new += 1
        return checked

    @property
    def n_families(self) -> int:
        """Number of families."""
        return len(self._families)

    def warnings(self) -> Iterator[str]:
        """Points that the user should check, one sentence each."""
        if self.refused:
            number = sum(self.refused.values())
            yield f"{number} of {self.n_read} frames or calculations are left out, as listed"
        if self.n_relabelled:
            yield (
                f"{plural(self.n_relabelled, 'further label')} of a structure that has one; a "
                "dataset takes one of them"
            )
        if self.n_steps:
            yield (
                f"{self.n_steps} frames are steps of molecular dynamics; make sure that their "
                "stress does not contain the kinetic part, with a single point of one of them"
            )
        if self.n_accepted and self.n_families == self.n_accepted and self.n_accepted > 1:
            yield (
                "every frame is its own family, so that frames of one trajectory may lie on both "
                "sides of a split; give the key of their origin with --family-by"
            )
        if self.n_families == 1 < self.n_accepted:
            yield (
                "all frames are one family, so that nothing is left to test with in a family "
                "split; give a key that divides them with --family-by"
            )
        if len(self.keys["energy"]) > 1:
            listing = ", ".join(f"{key} ({n})" for key, n in self.keys["energy"].items())
            yield f"the energy is under several keys: {listing}; make sure that all mean the same"
        if self.unusual_volumes:
            low, high = min(self.unusual_volumes), max(self.unusual_volumes)
            yield (
                f"the cells of {plural(len(self.unusual_volumes), 'frame')} have {low:.2g} to "
                f"{high:.2g} times the volume of their solid elements: they are in "
                "another unit (see --length-unit) or contain vacuum"
            )
        if self.mean_forces:
            yield (
                f"the forces of {plural(len(self.mean_forces), 'frame')} do not add up to zero "
                f"(mean force on an atom: up to {max(self.mean_forces):.2g} eV/A), as those of a "
                "periodic cell must; a column may be missing or an external force included"
            )
        yield from self._suspicious_pressures()

    def check_units(self, given: Units) -> None:
        """Refuse energies per atom and labels of different units, as far as the frames show them.

        Energies of similar frames are compared with the work of their forces
        (:mod:`mgflows.nep.label_units`), and energies of cells of one composition with their sizes.

        Parameters
        ----------
        given
            The units in which the frames were read.

        Raises
        ------
        InputError
            If the labels contradict each other or the energies are per atom; the hint names the
            options.
        """
        if given.energy_per == "atom" and (found := self._energies_growing_as(2.0)):
            raise InputError(
                f"the energies are not per atom: multiplied by the number of atoms, {found}",
                hint="leave out --energy-per atom",
            )
        if given.energy_per is None and (found := self._energies_growing_as(0.0)):
            raise InputError(
                f"the energies seem to be per atom: {found}",
                hint="add --energy-per atom, or --energy-per cell if they are those of the cells",
            )
        try:
            self._units.check()
        except InputError as error:
            if "per atom" in error.message:
                hint = "add --energy-per atom"
            else:
                hint = (
                    f"{error.hint}, or give those of the file with --energy-per, --energy-unit, "
                    "--length-unit, --stress-unit and --stress-sign"
                )
            raise InputError(error.message, hint=hint) from None

    def _energies_growing_as(self, power: float) -> str:
        """Two cells of one composition whose energies grow as a power of their number of atoms.

        Parameters
        ----------
        power
            The power, which is 1 for energies of cells; 0 if they were given per atom, 2 if they
            were multiplied by the number of atoms once too often.

        Returns
        -------
        The cells and their energies, or an empty string if there are none, or if the energies of
        other cells grow in another way.
        """
        sizes: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for (formula, n_atoms), energies in self._energies.items():
            reduced = str(Formula(formula).reduce()[0].format("hill"))
            sizes[reduced][n_atoms] = float(np.median(energies))
        found = ""
        for formula, energy_of in sizes.items():
            small, large = min(energy_of), max(energy_of)
            first, last = energy_of[small], energy_of[large]
            if large < _SIZE_RATIO * small or min(abs(first), abs(last)) < _SMALLEST_ENERGY:
                continue
            ratio = last / first
            growth = math.log(ratio) / math.log(large / small) if ratio > 0.0 else math.inf
            if abs(growth - power) > 0.5:
                return ""
            if abs(growth - power) < 0.2:
                found = found or (
                    f"{formula} has {first:.5g} eV in cells of {small} atoms and {last:.5g} eV in "
                    f"cells of {large}"
                )
        return found

    def _suspicious_pressures(self) -> Iterator[str]:
        """Check the unit of the stress, and compare its sign with volumes of equal composition.

        Compression raises the pressure of every stable solid or liquid; labels of the opposite sign
        would train a potential that explodes.
        """
        everything = [abs(pressure) for pairs in self._volumes.values() for _, pressure in pairs]
        if everything and (typical := float(np.median(everything))) > _LARGEST_TYPICAL_PRESSURE:
            yield (
                f"half of the frames have pressures above {typical:.0f} GPa: the stress is "
                "probably in another unit; see --stress-unit"
            )
        for formula, pairs in self._volumes.items():
            volumes, pressures = np.array(pairs).T
            spread = (volumes.max() - volumes.min()) / volumes.mean()
            if len(pairs) < _MINIMUM_FRAMES or spread < _MINIMUM_SPREAD:
                continue
            correlation = float(np.corrcoef(volumes, pressures)[0, 1])
            if correlation > 0.5:
                yield (
                    f"the pressure of {formula} rises with its volume (correlation "
                    f"{correlation:.2f} over {len(pairs)} frames): the sign of the stress is "
                    "probably wrong; see --stress-sign"
                )

    def _is_isolated_atom(self, foreign: ForeignFrame) -> bool:
        if foreign.atoms is None or len(foreign.atoms) != 1:
            return False
        if str(foreign.info.get("config_type", "")).lower().replace("_", "") != _ISOLATED:
            return False
        energy = foreign.atoms.calc.results["energy"]
        self.isolated_atoms[foreign.atoms.get_chemical_symbols()[0]] = float(energy)
        return True

    def _check_method(self, foreign: ForeignFrame) -> None:
        found = self.declared.model_copy(
            update={
                "settings": {**self.declared.settings, **foreign.settings},
                "potentials": {**self.declared.potentials, **foreign.potentials},
            }
        )
        if self.fingerprint is None:
            self.fingerprint = found
        elif differences := self.fingerprint.differences(found):
            raise InputError(
                f"{foreign.where} was computed with other settings than the frames before "
                f"({'; '.join(differences)})",
                hint="import the calculations of each method separately, each with its own "
                "--method; extract an archive first, and give its folders",
            )
        else:
            self.fingerprint = self.fingerprint.merge(found)

    def _count(self, foreign: ForeignFrame, checked: CheckedFrame) -> None:
        summary = checked.summary
        self.n_accepted += 1
        self.n_steps += foreign.is_step
        self.subsets[checked.subset] += 1
        self.formulas[summary.formula] += 1
        self._families.add(summary.family)
        for quantity, key in foreign.keys.items():
            self.keys[quantity][key] += 1
        self.unused.update(set(foreign.info) - _OWN_KEYS)
        volume = (summary.volume or math.nan) / summary.n_atoms
        values = {
            "atoms": float(summary.n_atoms),
            "energy_per_atom": summary.energy_per_atom,
            "maximum_force": summary.maximum_force,
            "pressure": summary.pressure,
            "density": summary.density,
            "volume_per_atom": volume,
        }
        for name, value in values.items():
            known = self.ranges.get(name)
            self.ranges[name] = (
                Range(smallest=value, largest=value) if known is None else known.including(value)
            )
        self._volumes[summary.formula].append((volume, summary.pressure))
        ratio = volume_ratio(foreign.atoms) if foreign.atoms else math.nan
        if foreign.atoms is not None and self.refused_before is None:
            self._units.add(foreign.atoms)
        if _CONDENSED_VOLUME[0] < ratio < _CONDENSED_VOLUME[1]:
            self._energies[summary.formula, summary.n_atoms].append(
                summary.energy_per_atom * summary.n_atoms
            )
        if ratio < _USUAL_VOLUME[0] or ratio > _USUAL_VOLUME[1]:
            self.unusual_volumes.append(ratio)
        mean_force = float(np.linalg.norm(np.mean(checked.frame.forces, axis=0)))
        if mean_force > _LARGEST_MEAN_FORCE:
            self.mean_forces.append(mean_force)


def _reason(message: str) -> str:
    """The reason without formulas and numbers, which is then the same for several frames."""
    without_formulas = re.sub(r"\b(?:[A-Z][a-z]?\d*)*[A-Z][a-z]?\d+\w*", "a cell", message)
    return re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "N", without_formulas)
