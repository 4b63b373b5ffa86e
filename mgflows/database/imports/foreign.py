"""Labelled structures of other programs in the units and signs of mgflows, before the checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows import units
from mgflows.errors import InputError
from mgflows.schemas.frames import symmetric_stress
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

__all__ = ["ForeignFrame", "Format", "Reading", "Units", "labelled_atoms"]

Format = Literal["extxyz", "ase-db", "vasp", "deepmd"]
QUANTITIES = ("energy", "forces", "stress", "virial")

_ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "Ry": units.RYDBERG,
    "Hartree": units.HARTREE,
    "kJ/mol": 1e3 / (units.ELEMENTARY_CHARGE * units.AVOGADRO),
    "kcal/mol": 4184.0 / (units.ELEMENTARY_CHARGE * units.AVOGADRO),
}
"""eV; the thermochemical calorie is 4.184 J by definition."""
_LENGTHS = {"A": 1.0, "nm": 10.0, "bohr": units.BOHR}
_STRESSES = {
    "eV/A^3": 1.0,
    "GPa": 1.0 / units.EV_PER_A3_IN_GPA,
    "kbar": units.KBAR_IN_GPA / units.EV_PER_A3_IN_GPA,
    "bar": units.BAR_IN_GPA / units.EV_PER_A3_IN_GPA,
}


@dataclass(frozen=True)
class Units:
    """Units and sign of a file that does not define them itself.

    Parameters
    ----------
    energy
        eV, meV, Ry, Hartree, kJ/mol or kcal/mol; virials have the same unit.
    length
        A, nm or bohr; forces are in the unit of energy over that of length.
    stress
        eV/A^3, GPa, kbar or bar.
    stress_sign
        ``tension``: positive when stretched, as in ASE; ``compression``: positive when compressed,
        as in VASP. A virial is always positive when compressed, as in GPUMD, MACE and DeePMD-kit.
    energy_per
        ``cell`` or ``atom``: what the energies are given for; virials are those of the cell. None
        is the cell, unless cells of different sizes show that it is the atom, which is an error.

    Raises
    ------
    InputError
        For another unit.
    """

    energy: str = "eV"
    length: str = "A"
    stress: str = "eV/A^3"
    stress_sign: Literal["tension", "compression"] = "tension"
    energy_per: Literal["cell", "atom"] | None = None

    def __post_init__(self) -> None:
        known = {
            "energy": tuple(_ENERGIES),
            "length": tuple(_LENGTHS),
            "stress": tuple(_STRESSES),
            "stress_sign": ("tension", "compression"),
            "energy_per": ("cell", "atom", None),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(
                    f"the unit of {name} is {getattr(self, name)!r}",
                    hint=f"give one of {', '.join(map(str, values))}",
                )

    @property
    def energy_in_ev(self) -> float:
        """The unit of energy in eV."""
        return _ENERGIES[self.energy]

    @property
    def length_in_a(self) -> float:
        """The unit of length in A."""
        return _LENGTHS[self.length]

    @property
    def stress_in_ev_per_a3(self) -> float:
        """The unit of stress in eV/A^3, negative where compression is positive."""
        sign = 1.0 if self.stress_sign == "tension" else -1.0
        return sign * _STRESSES[self.stress]


@dataclass(frozen=True)
class Reading:
    """Settings for reading and grouping files.

    Parameters
    ----------
    format
        Format of the files; recognised by name and content by default.
    keys
        Key of ``energy``, ``forces``, ``stress`` or ``virial`` in extended XYZ files and ASE
        databases; detected by default.
    units
        Units of extended XYZ files, ASE databases and DeePMD folders; VASP's are fixed.
    subset
        Name of the subset of all frames.
    subset_key
        Key of ``info`` by which frames are divided into subsets, instead; ``config_type`` or
        ``subset`` by default, where frames have it. ``folder`` is the topmost folder of a VASP
        calculation below those that contain all of them, ``file`` the name of the file and
        ``formula`` the composition.
    family_key
        Key of ``info`` whose value is the family: frames of one family are never on both sides of
        a family split. ``family`` by default; else the folder of a VASP calculation or a DeePMD
        system, and otherwise each frame is its own family. ``set`` is a set of a DeePMD system.
    """

    format: Format | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    units: Units = field(default_factory=Units)
    subset: str | None = None
    subset_key: str | None = None
    family_key: str | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.keys) - set(QUANTITIES)):
            raise InputError(
                f"{unknown[0]!r} is not a quantity of a label",
                hint=f"name the keys of {', '.join(QUANTITIES)}",
            )
        if self.subset and self.subset_key:
            raise InputError(
                f"the subset {self.subset!r} and a key of subsets, {self.subset_key!r}, are given",
                hint="give one of them",
            )


@dataclass(frozen=True)
class ForeignFrame:
    """One frame of a file.

    Attributes
    ----------
    where
        File and place, for messages.
    atoms
        Atoms with a single-point calculator in eV, eV/A and eV/A^3 (positive under tension); None
        if they cannot be read.
    problem
        Reason why they cannot be read.
    info
        Words and numbers of the frame by key.
    keys
        Quantity to the key that it was read from.
    settings
        What the file states about the method.
    potentials
        Element to its pseudopotential, where the file states it.
    report
        What the file states about the calculation.
    is_step
        Whether it is a step of molecular dynamics.
    """

    where: str
    atoms: Atoms | None = None
    problem: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    potentials: Mapping[str, str] = field(default_factory=dict)
    report: CalculationReport = field(default_factory=CalculationReport)
    is_step: bool = False


def labelled_atoms(
    atoms: Atoms,
    energy: float,
    forces: ArrayLike,
    stress: ArrayLike | None = None,
    virial: ArrayLike | None = None,
    given: Units | None = None,
) -> Atoms:
    """Return atoms in A with their label in eV, eV/A and eV/A^3, from values in other units.

    Parameters
    ----------
    atoms
        Species, positions, cell and periodicity, in the unit of length.
    energy, forces
        Energy of the cell or per atom, and (n, 3) forces.
    stress
        (3, 3), (9,) or (6,) in ASE's Voigt order; None without one.
    virial
        Likewise, in the unit of energy; where there is a stress as well, both must agree.
    given
        Their units.

    Raises
    ------
    InputError
        For a stress and a virial that disagree.
    """
    given = given or Units()
    length, unit = given.length_in_a, given.energy_in_ev
    converted = Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions * length,
        cell=atoms.cell.array * length,
        pbc=atoms.pbc,
    )
    energy = float(energy) * unit * (len(atoms) if given.energy_per == "atom" else 1)
    results: dict[str, Any] = {
        "energy": energy,
        "free_energy": energy,
        "forces": np.asarray(forces, dtype=float) * (unit / length),
    }
    tensors = []
    if stress is not None:
        tensors.append(_tensor(stress) * given.stress_in_ev_per_a3)
    if virial is not None and (volume := converted.cell.volume) > 0.0:
        tensors.append(units.stress_from_virial(_tensor(virial) * unit, volume))
    if tensors:
        results["stress"] = symmetric_stress(tensors[0])
    if len(tensors) == 2 and not np.allclose(tensors[0], tensors[1], rtol=1e-3, atol=1e-5):
        raise InputError(
            "its stress and its virial (positive when compressed) disagree",
            hint="name the right one with --key, or give the unit or the sign of the stress",
        )
    converted.calc = SinglePointCalculator(converted, **results)
    return converted


def _tensor(values: ArrayLike) -> np.ndarray:
    """The (3, 3) tensor of nine values, or of six in ASE's Voigt order."""
    array = np.asarray(values, dtype=float).ravel()
    if array.size == 9:
        return array.reshape(3, 3)
    if array.size == 6:
        return units.voigt_to_tensor(array)
    raise ValueError(f"a stress or virial has {array.size} values, not 9 or 6")
