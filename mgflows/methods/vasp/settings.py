"""One dictionary of settings for the labels of all calculations by VASP."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError, MissingFileError
from mgflows.methods.base import k_mesh
from mgflows.schemas.labels import MethodFingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from pymatgen.io.vasp import PotcarSingle

__all__ = [
    "GLASS_INCAR",
    "GLASS_POTCAR",
    "NEUTRAL_TAGS",
    "STEPPING_TAGS",
    "VaspSettings",
    "potential_digest",
]

GLASS_INCAR: dict[str, Any] = {
    "GGA": "PE",
    "ENCUT": 450,
    "PREC": "Accurate",
    "EDIFF": 1e-6,
    "ISMEAR": 1,
    "SIGMA": 0.1,
    "ISPIN": 1,
    "ISYM": 0,
    "LREAL": False,
    "LASPH": True,
    "ALGO": "Normal",
    "NELM": 200,
    "LMAXMIX": 4,
    "LWAVE": False,
    "LCHARG": False,
    "LAECHG": False,
    "LVTOT": False,
    "LORBIT": None,
}
"""The INCAR that all labels share; None removes a tag that atomate2 would set.

GGA, ENCUT and EDIFF are the paper's (Methods, "DFT Calculations"). It does not state the others,
which are our choice: Methfessel-Paxton smearing of order 1 and 0.1 eV for metals, no spin,
projectors in reciprocal space, and aspherical gradient corrections within the spheres. ISYM = 0,
because a glass has no symmetry and crystals are to be labelled in the same way.
"""

GLASS_POTCAR: dict[str, str] = {"Cu": "Cu", "Zr": "Zr_sv", "Al": "Al"}
"""POTCAR of each element of the paper's alloy, which it does not name; as in atomate2's table."""

NEUTRAL_TAGS = frozenset(
    [
        "ALGO",
        "IALGO",
        "AMIN",
        "AMIX",
        "AMIX_MAG",
        "BMIX",
        "BMIX_MAG",
        "IMIX",
        "INIMIX",
        "ISTART",
        "ICHARG",
        "INIWAV",
        "ISEARCH",
        "LMAXMIX",
        "MAXMIX",
        "MIXPRE",
        "NELM",
        "NELMDL",
        "NELMIN",
        "TIME",
        "WC",
        "KPAR",
        "NBANDS",
        "NCORE",
        "NPAR",
        "NSIM",
        "LPLANE",
        "LSCALAPACK",
        "LSCALU",
        "LSCAAWARE",
        "LASYNC",
        "LWAVE",
        "LCHARG",
        "LAECHG",
        "LELF",
        "LVTOT",
        "LVHAR",
        "LORBIT",
        "NEDOS",
        "EMIN",
        "EMAX",
        "NWRITE",
        "SYSTEM",
        "SYMPREC",
        "LH5",
    ]
)
"""Tags that change convergence, parallel execution or output, but not the converged result."""

STEPPING_TAGS = frozenset(
    [
        "IBRION",
        "ISIF",
        "NSW",
        "POTIM",
        "EDIFFG",
        "NFREE",
        "SMASS",
        "MDALGO",
        "TEBEG",
        "TEEND",
        "NBLOCK",
        "KBLOCK",
        "LANGEVIN_GAMMA",
        "LANGEVIN_GAMMA_L",
        "PMASS",
        "PSTRESS",
        "RANDOM_SEED",
    ]
)
"""Tags that determine which structures a calculation visits, not their labels.

They belong to the Makers, not to the method.
"""

_RECIPE = "Gamma-centred, each reciprocal vector over k_spacing, rounded"
_VERSIONS: dict[str, str] = {}
"""Version of VASP, read from the output of the last calculation in this process."""


@dataclass(frozen=True)
class VaspSettings:
    """Settings of :class:`mgflows.methods.vasp.method.VaspMethod`, which describes them.

    Input sets, runs and outputs take them; only the method builds calculators.
    """

    k_spacing: float = 0.162
    incar: dict[str, Any] = field(default_factory=dict)
    potcar: dict[str, str] = field(default_factory=dict)
    potcar_functional: str = "PBE_54"
    description: str = ""
    n_cores: int = 1

    def __post_init__(self) -> None:
        for name in ("k_spacing", "n_cores"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name):g} but must be positive")
        for tag in self.incar:
            if tag in {"KSPACING", "KGAMMA"}:
                raise InputError(
                    f"VaspMethod has {tag} in incar, but VASP rounds KSPACING up (4x4x4 where the "
                    "paper has 3x3x3)",
                    hint="set k_spacing",
                )
            if tag in STEPPING_TAGS:
                raise InputError(
                    f"VaspMethod has {tag} in incar, but that belongs to one kind of calculation",
                    hint="set it in the Maker",
                )
            if tag != tag.upper():
                raise InputError(
                    f"VaspMethod has {tag!r} in incar, but INCAR tags are written in capitals",
                    hint=f"write {tag.upper()}",
                )
        if not self.description:
            functional = (
                "PBE"
                if self.tags.get("GGA") == "PE"
                else f"GGA = {self.tags.get('GGA', 'of the POTCARs')}"
            )
            object.__setattr__(
                self,
                "description",
                f"VASP, {functional}, {self.tags.get('ENCUT', 'default')} eV, {self.k_spacing:g}/A",
            )

    @property
    def tags(self) -> dict[str, Any]:
        """The INCAR of every calculation, without the tags of its kind."""
        return {
            tag: value for tag, value in (GLASS_INCAR | self.incar).items() if value is not None
        }

    @property
    def removed_tags(self) -> list[str]:
        """Tags that must not be in the INCAR."""
        return [tag for tag, value in (GLASS_INCAR | self.incar).items() if value is None]

    @property
    def deciding_tags(self) -> dict[str, Any]:
        """The tags that determine a label."""
        return {tag: value for tag, value in self.tags.items() if tag not in NEUTRAL_TAGS}

    def k_mesh(self, cell: ArrayLike) -> tuple[int, int, int]:
        """Divisions of the Gamma-centred mesh of a cell (rows in A)."""
        return k_mesh(cell, self.k_spacing)

    def potcar_symbol(self, element: str) -> str:
        """Symbol of the POTCAR of an element.

        Raises
        ------
        InputError
            If no POTCAR is known for the element.
        """
        known = GLASS_POTCAR | self.potcar
        if element in known:
            return known[element]
        from atomate2.vasp.sets.base import _BASE_VASP_SET

        if element not in _BASE_VASP_SET["POTCAR"]:
            raise InputError(
                f"no POTCAR is known for {element}",
                hint=f"name one in VaspMethod(potcar={{{element!r}: ...}})",
            )
        return str(_BASE_VASP_SET["POTCAR"][element])

    def find_potentials(self, species: Sequence[str]) -> dict[str, PotcarSingle | None]:
        """The POTCAR of each element on this machine; None where it is missing."""
        from pymatgen.io.vasp import PotcarSingle

        found: dict[str, PotcarSingle | None] = {}
        for element in species:
            try:
                found[element] = PotcarSingle.from_symbol_and_functional(
                    self.potcar_symbol(element), self.potcar_functional
                )
            except (OSError, ValueError, KeyError):
                # No directory, no release of that name, or no such file.
                found[element] = None
        return found

    def describe_potential(self, element: str, potential: PotcarSingle | None = None) -> str:
        """Release, symbol and, for an available POTCAR, the hash of its text."""
        name = f"{self.potcar_functional} {self.potcar_symbol(element)}"
        return name if potential is None else f"{name} sha256:{potential_digest(potential)}"

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """Everything that determines the labels.

        It has the hash of each POTCAR that this machine has. The version is that of the last
        calculation in this process; it is empty before the first one.
        """
        return MethodFingerprint(
            code="vasp",
            version=_VERSIONS.get("vasp", ""),
            settings={**self.deciding_tags, "k_spacing": self.k_spacing, "k_mesh": _RECIPE},
            potentials={
                element: self.describe_potential(element, single)
                for element, single in self.find_potentials(species).items()
            },
            is_dft=True,
            description=self.description,
        )

    def check_species(self, species: Sequence[str]) -> None:
        """Check that there is a POTCAR of each element.

        A machine without POTCARs, which only submits jobs, accepts every element whose POTCAR has
        a known name.

        Raises
        ------
        InputError
            If no POTCAR is known for an element.
        MissingFileError
            If it is missing although others are found.
        """
        found = self.find_potentials(species)
        missing = [element for element, single in found.items() if single is None]
        if missing and len(missing) < len(found):
            names = ", ".join(self.potcar_symbol(element) for element in missing)
            raise MissingFileError(
                f"no POTCAR of {', '.join(missing)} ({self.potcar_functional}: {names}) was found "
                "among those of this machine",
                hint="add it to the directory PMG_VASP_PSP_DIR, or name another one in "
                "VaspMethod(potcar=...)",
            )

    def remember_version(self, version: str) -> None:
        """Take the version from the output of a calculation."""
        _VERSIONS["vasp"] = version


def potential_digest(potential: PotcarSingle) -> str:
    """Sha256 of the text of one POTCAR, which may be part of a file with several.

    Spaces around its lines do not count.
    """
    text = "\n".join(line.strip() for line in potential.data.strip().splitlines())
    return hashlib.sha256(text.encode()).hexdigest()
