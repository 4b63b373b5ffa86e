"""CP2K as a label method, with atomate2's input set and runner, and pymatgen's parser.

atomate2's ``StaticMaker`` cannot be used: in 0.1.5 its task document fails on every
spin-restricted calculation (``'int' object has no attribute 'upper'``), and pymatgen drops the
k-points if the first of them is Gamma.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import re
import shlex
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mgflows import units
from mgflows.errors import InputError, LabelError, MissingFileError, NotConvergedError
from mgflows.geometry import right_handed
from mgflows.methods.base import mesh_of_points
from mgflows.methods.programs import (
    ProgramCalculator,
    ProgramMethod,
    absolute_path,
    failure_of,
    fresh_directory,
    parallel_command,
    wrong_ranks,
)
from mgflows.schemas.labels import structure_from_atoms, symmetric_stress
from mgflows.schemas.quality import CalculationReport
from mgflows.settings import foreign_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from atomate2.cp2k.sets.core import StaticSetGenerator

__all__ = ["Cp2kCalculator", "Cp2kMethod", "read_output"]

_FUNCTIONALS = {"PBE": "GTH-PBE", "BLYP": "GTH-BLYP", "LDA": "GTH-PADE"}
"""The pseudopotentials of CP2K that were made with each functional."""
_ORBITALS_PER_ATOM = 5
"""Number of empty orbitals above the occupied ones, for the remainder of a d shell.

At 0.1 eV the occupation of the last one is far below 1e-6.
"""


@dataclass(frozen=True)
class Cp2kMethod(ProgramMethod):
    """Single points of CP2K: Gaussians and plane waves, without use of symmetry.

    Diagonalisation with Fermi-Dirac occupations on a Gamma-centred k-mesh.

    Parameters
    ----------
    cutoff
        Cutoff of the finest grid of the density, eV; 600 Ry.
    relative_cutoff
        Cutoff of the grid that a Gaussian is mapped to, eV; 60 Ry.
    functional
        ``PBE``, ``BLYP`` or ``LDA``, with the GTH pseudopotentials made with it.
    basis
        Name of the basis set in ``BASIS_MOLOPT``.
    smearing_width
        Electronic temperature of the Fermi-Dirac occupations times the Boltzmann constant, eV.
    k_spacing
        1/A, see :func:`mgflows.methods.base.k_mesh`; the paper's value.
    precision
        ``EPS_DEFAULT`` of CP2K.
    scf_tolerance
        Largest change of the density matrix at which to stop, ``EPS_SCF`` of CP2K.
    max_scf_steps
        Electronic steps of the first attempt; the second has twice as many.
    data_directory
        Directory of ``BASIS_MOLOPT`` and ``GTH_POTENTIALS``, made absolute; ``CP2K_DATA_DIR`` by
        default, and without it the one installed with the program.
    command, launcher, n_ranks, n_threads, keep_wave_functions
        See :class:`~mgflows.methods.programs.ProgramMethod`.
    """

    cutoff: float = 600.0 * units.RYDBERG
    relative_cutoff: float = 60.0 * units.RYDBERG
    functional: str = "PBE"
    basis: str = "DZVP-MOLOPT-SR-GTH"
    smearing_width: float = 0.1
    k_spacing: float = 0.162
    precision: float = 1e-10
    scf_tolerance: float = 1e-6
    max_scf_steps: int = 80
    data_directory: str | None = None
    command: str = field(default="cp2k.psmp", kw_only=True)

    code: ClassVar[str] = "cp2k"
    program: ClassVar[str] = "CP2K"
    install_hint: ClassVar[str] = (
        "load its module or apt-get install cp2k cp2k-data, or set `command`"
    )
    version_pattern: ClassVar[str] = r"CP2K version (\S+)"
    version_arguments: ClassVar[tuple[str, ...]] = ("--version",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "data_directory", absolute_path(self.data_directory))
        if self.functional not in _FUNCTIONALS:
            raise InputError(
                f"functional is {self.functional!r} but must be one of {', '.join(_FUNCTIONALS)}"
            )
        self._check_positive(
            "cutoff",
            "relative_cutoff",
            "smearing_width",
            "k_spacing",
            "precision",
            "scf_tolerance",
            "max_scf_steps",
        )

    @property
    def description(self) -> str:
        """One line for reports."""
        return (
            f"CP2K, {self.functional}, {self.basis}, {self.cutoff / units.RYDBERG:.0f} Ry, "
            f"k-spacing {self.k_spacing:g}/A, fermi-dirac {self.smearing_width:g} eV"
        )

    @property
    def full_command(self) -> str:
        """The command line, without the input file."""
        return parallel_command(
            self.command,
            self.launcher,
            self.n_ranks,
            self.n_threads,
            CP2K_DATA_DIR=str(self.data()),
        )

    @property
    def second_attempt(self) -> dict[str, Any]:
        """A smaller Broyden mixing and twice as many steps."""
        return {"mixing": 0.1, "max_scf_steps": 2 * self.max_scf_steps}

    def deciding_settings(self) -> dict[str, Any]:
        """The settings that determine a label."""
        return {
            "functional": self.functional,
            "basis": self.basis,
            "cutoff": self.cutoff,
            "relative_cutoff": self.relative_cutoff,
            "smearing": "fermi-dirac",
            "smearing_width": self.smearing_width,
            "k_spacing": self.k_spacing,
            "k_mesh": "Gamma-centred, rounded",
            "precision": self.precision,
            "scf_tolerance": self.scf_tolerance,
            "spin": "none",
        }

    def input_set(
        self,
        n_atoms: int,
        mesh: tuple[int, int, int],
        species: Sequence[str],
        *,
        mixing: float = 0.3,
        max_scf_steps: int = 0,
    ) -> StaticSetGenerator:
        """atomate2's generator of static inputs with these settings, in CP2K's units (Ry, K)."""
        from atomate2.cp2k.sets.core import StaticSetGenerator

        potential = _FUNCTIONALS[self.functional]
        settings: dict[str, Any] = {
            "basis_and_potential": {
                element: {
                    "basis": self.basis,
                    "potential": potential,
                    "basis_filename": "BASIS_MOLOPT",
                    "potential_filename": "GTH_POTENTIALS",
                }
                for element in species
            },
            "xc_functionals": self.functional,
            "ot": False,
            "cutoff": round(self.cutoff / units.RYDBERG, 6),
            "rel_cutoff": round(self.relative_cutoff / units.RYDBERG, 6),
            "eps_default": self.precision,
            "eps_scf": self.scf_tolerance,
            "smearing": True,
            "elec_temp": self.smearing_width / units.BOLTZMANN,
            "spin_polarized": False,
            "alpha": mixing,
            "beta": 1.5,
            "nbuffer": 8,
            **dict.fromkeys(
                ("print_dos", "print_pdos", "print_mo_cubes", "print_v_hartree", "print_e_density"),
                False,
            ),
            "override_default_params": {
                "FORCE_EVAL": {
                    "DFT": {
                        "BASIS_SET_FILE_NAME": "BASIS_MOLOPT",
                        "POTENTIAL_FILE_NAME": "GTH_POTENTIALS",
                        "SCF": {
                            "ADDED_MOS": _ORBITALS_PER_ATOM * n_atoms,
                            "MAX_SCF": max_scf_steps or self.max_scf_steps,
                        },
                    }
                }
            },
        }
        return StaticSetGenerator(
            sort_structure=False,
            user_kpoints_settings=_kpoints(mesh),
            # Not user_input_settings: atomate2 would write them into its process-wide defaults.
            config_dict={"KPOINTS": {}, "cp2k_input": settings},
        )

    def build(self, atoms: Atoms) -> Cp2kCalculator:
        """A new calculator for these atoms in a separate directory.

        The k-mesh is that of the given cell.

        Raises
        ------
        InputError
            If CP2K, the launcher, a basis set or a pseudopotential is missing, or the structure
            cannot be labelled.
        """
        self.check_ready(atoms)
        return Cp2kCalculator(self, self.mesh(atoms), fresh_directory(self.code))

    def data(self) -> Path:
        """The directory of basis sets and pseudopotentials.

        Raises
        ------
        MissingFileError
            If it is not found.
        """
        if named := self.data_directory or foreign_variables().get("CP2K_DATA_DIR"):
            candidates = [Path(named).expanduser().absolute()]
        else:
            program = shutil.which(shlex.split(self.command)[0])
            beside = Path(program).resolve().parents[:3] if program else []
            candidates = [
                parent / part
                for parent in beside
                for part in ("data", "share/cp2k", "share/cp2k/data")
            ] or [Path("/usr/share/cp2k")]
        for candidate in candidates:
            if (candidate / "GTH_POTENTIALS").is_file():
                return candidate
        raise MissingFileError(
            "GTH_POTENTIALS, CP2K's pseudopotential file, was not found in "
            f"{', '.join(map(str, candidates))}",
            hint="apt-get install cp2k-data, or set data_directory or CP2K_DATA_DIR",
        )

    def data_directory_or_none(self) -> Path | None:
        """The directory of basis sets and pseudopotentials; None if this machine has none."""
        try:
            return self.data()
        except InputError:
            return None

    def potential(self, element: str) -> str:
        """Pseudopotential and basis set of an element by name, with the sha256 of both.

        The hash is that of the two entries in CP2K's files.

        Raises
        ------
        MissingFileError
            If there is none of that name.
        """
        potential = _FUNCTIONALS[self.functional]
        entries = [
            _entry(self.data() / "GTH_POTENTIALS", element, potential),
            _entry(self.data() / "BASIS_MOLOPT", element, self.basis),
        ]
        for name, file, entry in zip(
            (potential, self.basis), ("GTH_POTENTIALS", "BASIS_MOLOPT"), entries, strict=True
        ):
            if not entry:
                raise MissingFileError(
                    f"{name} of {element} was not found in {self.data() / file}",
                    hint="set another basis or functional",
                )
        digest = hashlib.sha256("".join(entries).encode()).hexdigest()
        return f"{potential} {self.basis} sha256:{digest}"


class Cp2kCalculator(ProgramCalculator, Calculator):
    """An ASE calculator that runs CP2K as atomate2 does, once per geometry.

    Each run starts from the density of the last one.

    Attributes
    ----------
    report
        Report of CP2K on its last calculation.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, method: Cp2kMethod, mesh: tuple[int, int, int], directory: Path) -> None:
        super().__init__(directory=str(directory))
        self.method = method
        self.mesh = mesh
        self.report = CalculationReport()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Run CP2K.

        Raises
        ------
        LabelError
            If it ends without a result; the message has its error and the directory of its files.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        self.run(self.atoms)

    def attempt(self, atoms: Atoms, corrections: Mapping[str, Any]) -> CalculationReport:
        """Run CP2K once, with changed arguments of :meth:`Cp2kMethod.input_set`."""
        from atomate2.cp2k.files import write_cp2k_input_set
        from atomate2.cp2k.run import run_cp2k
        from custodian.custodian import CustodianError

        directory = Path(self.directory)
        generator = self.method.input_set(
            len(atoms), self.mesh, sorted(set(atoms.symbols)), **corrections
        )
        with contextlib.chdir(directory), warnings.catch_warnings():
            # pymatgen warns about every basis set that it has no record of; check_ready found it.
            warnings.filterwarnings("ignore", message="Unable to validate")
            # Updates from a user's atomate2.yaml would change the label without its fingerprint.
            write_cp2k_input_set(
                structure_from_atoms(right_handed(atoms)),
                generator,
                optional_files=False,
                apply_input_updates=False,
            )
            code = None
            try:
                run_cp2k(cp2k_cmd=self.method.full_command, handlers=(), validators=())
            except CustodianError as error:
                status = re.search(r"return code is (-?\d+)", str(error))
                if status is None:
                    raise LabelError(str(error)) from error
                code = int(status[1])
        output = directory / "cp2k.out"
        text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
        ranks = re.search(r"GLOBAL\| Total number of message passing processes\s+(\d+)", text)
        if wrong := wrong_ranks(ranks and ranks[1], self.method.n_ranks, self.method.launcher):
            raise wrong
        if code is not None and "SCF run NOT converged" not in text:
            raise failure_of(code, output, directory / "std_err.txt")
        self.results, report = read_output(output, len(atoms))
        self.method.remember_version(text)
        return report

    def delete_wave_functions(self) -> None:
        """Delete the restart files."""
        for path in Path(self.directory).glob("CP2K-RESTART.*"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def read_output(output: Path, n_atoms: int) -> tuple[dict[str, Any], CalculationReport]:
    """Read the results in an output of CP2K, and its report on the calculation.

    Energy in eV, forces in eV/A, stress in eV/A^3 with ASE's sign.

    pymatgen's parser converts the energy to eV and leaves forces in Hartree/bohr and the stress in
    the unit of its headline, positive when compressed. CP2K's total energy includes the electronic
    entropy: it is the free energy.

    Raises
    ------
    NotConvergedError
        If the electrons did not converge.
    LabelError
        If a result is missing.
    """
    from pymatgen.io.cp2k.outputs import Cp2kOutput

    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    if "SCF run NOT converged" in text:
        raise NotConvergedError(
            f"the electronic self-consistency did not converge in {_last_step(text)} steps",
            hint="raise max_scf_steps of Cp2kMethod, or check the structure",
        )
    unit = re.search(r"STRESS\| Analytical stress tensor \[(\w+)\]", text)
    if "ENERGY| Total FORCE_EVAL" not in text or "ATOMIC FORCES in" not in text or unit is None:
        raise LabelError("its output has no energy, no forces or no stress")
    parsed = Cp2kOutput(str(output), auto_load=False)
    parsed.parse_files()
    parsed.parse_energies()
    parsed.parse_forces()
    parsed.parse_stresses()
    forces = units.forces_from_atomic_units(parsed.data["forces"][-1])
    if forces.shape != (n_atoms, 3):
        raise LabelError(f"its output has forces on {len(forces)} atoms, not on {n_atoms}")
    pressure_tensor = (
        np.array(parsed.data["stress_tensor"][-1], dtype=float)
        * {"GPa": 1.0, "bar": units.BAR_IN_GPA}[unit[1]]
    )
    energy = float(parsed.final_energy)
    results = {
        "energy": energy,
        "free_energy": energy,
        "forces": forces,
        "stress": symmetric_stress(-units.gpa_to_ev_per_a3(pressure_tensor)),
    }
    rows = re.findall(r"BRILLOUIN\|\s+\d+" + 4 * r"\s+(-?[\d.]+)" + r"\s*\n", text)
    cutoff = re.search(r"QS\| Density cutoff \[a\.u\.\]:\s+([\d.]+)", text)
    steps = re.findall(r"SCF run converged in\s+(\d+) steps", text)
    report = CalculationReport(
        free_energy=True,
        scf_converged=bool(steps),
        scf_steps=int(steps[-1]) if steps else None,
        k_mesh=mesh_of_points([[float(value) for value in row[1:]] for row in rows])
        if rows
        else (1, 1, 1),
        cutoff=float(cutoff[1]) * units.HARTREE if cutoff else None,
    )
    return results, report


def _kpoints(mesh: tuple[int, int, int]) -> Any:
    """An explicit Gamma-centred mesh, one of each pair k and -k with the weight of both.

    The mesh is explicit because pymatgen reduces Gamma-centred meshes by the symmetry of the
    crystal, which CP2K does not restore in forces and stress. Gamma is last because pymatgen drops
    all points if it comes first.
    """
    from pymatgen.io.vasp.inputs import Kpoints, KpointsSupportedModes

    weights: dict[tuple[int, ...], int] = {}
    for point in itertools.product(*map(range, mesh)):
        opposite = tuple(-index % divisions for index, divisions in zip(point, mesh, strict=True))
        weights[min(point, opposite)] = weights.get(min(point, opposite), 0) + 1
    points = sorted(weights, reverse=True)
    return Kpoints(
        comment="Gamma-centred mesh",
        style=KpointsSupportedModes.Reciprocal,
        num_kpts=len(points),
        kpts=[
            tuple(
                round(index / divisions, 10) for index, divisions in zip(point, mesh, strict=True)
            )
            for point in points
        ],
        kpts_weights=[weights[point] for point in points],
    )


def _last_step(text: str) -> int:
    steps = re.findall(r"(?m)^\s+(\d+) \S+/Diag\.", text)
    return int(steps[-1]) if steps else 0


@functools.cache
def _entry(path: Path, element: str, name: str) -> str:
    """The lines of one element's basis set or potential in a file of CP2K; empty if it has none.

    An entry extends from its headline to the next one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MissingFileError(
            f"CP2K's data file {path} was not found or cannot be read: {error}",
            hint="set data_directory or CP2K_DATA_DIR",
        ) from error
    found: list[str] = []
    for line in lines:
        words = line.split()
        if found and (not words or words[0][0].isalpha() or words[0].startswith("#")):
            break
        if found or (words and words[0] == element and name in words[1:]):
            found.append(" ".join(words))
    return "\n".join(found)
