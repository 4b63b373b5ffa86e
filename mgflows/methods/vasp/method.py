"""VASP as a method of labelling: one dictionary of settings for every label, whatever the calculation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError
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
    "VaspMethod",
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
"""The INCAR that all labels share; None keeps a tag out that atomate2 would set.

From the paper (Methods, "DFT Calculations"): GGA, ENCUT and EDIFF. It is silent on the others, which are our choice: Methfessel-Paxton smearing of
order 1 and 0.1 eV for metals, no spin, projectors in reciprocal space, and aspherical gradient corrections within the spheres. ISYM = 0, because a
glass has no symmetry and a crystal must not gain by its own.
"""

GLASS_POTCAR: dict[str, str] = {"Cu": "Cu", "Zr": "Zr_sv", "Al": "Al"}
"""POTCAR of each element of the paper's alloy. The paper does not name them: these are those of atomate2's own table."""

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
"""Tags that change how fast a calculation converges, on how many cores, or what it writes, but not what it converges to."""

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
"""Tags that decide which structures a calculation visits, not what their labels are. They belong to the Makers, not to the method."""

_RECIPE = "Gamma-centred, each reciprocal vector over k_spacing, rounded"


@dataclass(frozen=True)
class VaspMethod:
    """What decides a VASP label.

    Parameters
    ----------
    k_spacing
        1/A, turned into a mesh by :func:`mgflows.methods.base.k_mesh`; the paper's 0.162.
    incar
        Changes to :data:`GLASS_INCAR`, for every kind of calculation; None removes a tag. Parallel settings such as NCORE and KPAR go here, too.
    potcar
        POTCAR symbol of an element, such as ``{"Zr": "Zr"}``. An element that is neither here nor in :data:`GLASS_POTCAR` has atomate2's.
    potcar_functional
        Release of the POTCARs, in pymatgen's words.
    description
        One line for reports; made of the settings by default.
    n_cores
        Cores that one calculation uses, for the ledger of costs; ``vasp_command`` in mgflows.yaml decides how many it really is.

    Raises
    ------
    InputError
        For an INCAR tag that does not belong to the method.
    """

    k_spacing: float = 0.162
    incar: dict[str, Any] = field(default_factory=dict)
    potcar: dict[str, str] = field(default_factory=dict)
    potcar_functional: str = "PBE_54"
    description: str = ""
    n_cores: int = 1

    def __post_init__(self) -> None:
        for tag in self.incar:
            if tag in {"KSPACING", "KGAMMA"}:
                raise InputError(
                    f"VaspMethod has {tag} in incar, but VASP rounds KSPACING up (4x4x4 where the paper has 3x3x3); set k_spacing"
                )
            if tag in STEPPING_TAGS:
                raise InputError(
                    f"VaspMethod has {tag} in incar, but that belongs to one kind of calculation; set it in the Maker"
                )
            if tag != tag.upper():
                raise InputError(
                    f"VaspMethod has {tag!r} in incar, but INCAR tags are written in capitals"
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
        """The INCAR of every calculation, without what its kind adds."""
        return {
            tag: value for tag, value in (GLASS_INCAR | self.incar).items() if value is not None
        }

    @property
    def removed_tags(self) -> list[str]:
        """Tags that must not be in the INCAR."""
        return [tag for tag, value in (GLASS_INCAR | self.incar).items() if value is None]

    @property
    def deciding_tags(self) -> dict[str, Any]:
        """Those of the tags that decide a label."""
        return {tag: value for tag, value in self.tags.items() if tag not in NEUTRAL_TAGS}

    def k_mesh(self, cell: ArrayLike) -> tuple[int, int, int]:
        """Divisions of the Gamma-centred mesh of a cell (rows in A)."""
        return k_mesh(cell, self.k_spacing)

    def potcar_symbol(self, element: str) -> str:
        """Symbol of the POTCAR of an element.

        Raises
        ------
        InputError
            If nothing is known for the element.
        """
        known = GLASS_POTCAR | self.potcar
        if element in known:
            return known[element]
        from atomate2.vasp.sets.base import _BASE_VASP_SET

        if element not in _BASE_VASP_SET["POTCAR"]:
            raise InputError(
                f"no POTCAR is known for {element}; name one in VaspMethod(potcar={{{element!r}: ...}})"
            )
        return str(_BASE_VASP_SET["POTCAR"][element])

    def find_potentials(self, species: Sequence[str]) -> dict[str, PotcarSingle | None]:
        """The POTCAR of each element as it lies on this machine; None where it does not."""
        from pymatgen.io.vasp import PotcarSingle

        found: dict[str, PotcarSingle | None] = {}
        for element in species:
            try:
                found[element] = PotcarSingle.from_symbol_and_functional(
                    self.potcar_symbol(element), self.potcar_functional
                )
            except (OSError, ValueError, KeyError):
                # No directory, no release of that name in it, or no such file: pymatgen says each in its own way.
                found[element] = None
        return found

    def describe_potential(self, element: str, potential: PotcarSingle | None = None) -> str:
        """Release, symbol and, for a POTCAR at hand, the hash of its text."""
        name = f"{self.potcar_functional} {self.potcar_symbol(element)}"
        return name if potential is None else f"{name} sha256:{potential_digest(potential)}"

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """What decides the labels, before anything has run: without VASP's version, with the hash of each POTCAR that lies on this machine."""
        return MethodFingerprint(
            code="vasp",
            version="",
            settings={**self.deciding_tags, "k_spacing": self.k_spacing, "k_mesh": _RECIPE},
            potentials={
                element: self.describe_potential(element, single)
                for element, single in self.find_potentials(species).items()
            },
            is_dft=True,
            description=self.description,
        )


def potential_digest(potential: PotcarSingle) -> str:
    """Sha256 of the text of one POTCAR, whether it is a file of its own or part of another; only spaces around its lines do not count."""
    text = "\n".join(line.strip() for line in potential.data.strip().splitlines())
    return hashlib.sha256(text.encode()).hexdigest()
