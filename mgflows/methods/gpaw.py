"""GPAW as a label method: plane waves, PBE, Fermi-Dirac smearing, a k-mesh by spacing."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mgflows import subprocesses
from mgflows.errors import (
    InputError,
    LabelError,
    MissingDependencyError,
    MissingFileError,
    MissingProgramError,
    NotConvergedError,
    OutOfMemoryError,
    install_command,
    require,
)
from mgflows.files import sha256_of_file
from mgflows.geometry import right_handed
from mgflows.methods.base import check_geometry, k_mesh
from mgflows.methods.gpaw_process import MARK
from mgflows.methods.programs import ParallelMethod, absolute_command
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

__all__ = ["GpawCalculator", "GpawMethod", "mpi_launcher"]

logger = logging.getLogger(__name__)

_PURPOSE = "labels with GPAW"
_FUNCTIONALS = {"PBE": "PBE", "LDA": "LDA", "RPBE": "RPBE", "revPBE": "revPBE"}
"""Functionals in GPAW's own code (not libxc), with the PAW data sets made with them."""
_ERRORS: dict[str, type[LabelError]] = {
    "not-converged": NotConvergedError,
    "out-of-memory": OutOfMemoryError,
}
"""Errors that GPAW's process reports, by category."""


@dataclass(frozen=True)
class GpawMethod(ParallelMethod):
    """Settings of a calculation with GPAW.

    Parameters
    ----------
    cutoff
        Plane-wave cutoff in eV. The paper's 450 eV for VASP are too low here: the pressure of
        CuZrAl cells is then 1.7 to 2.4 GPa too low; at 600 eV it is within 0.2 GPa of 800 eV.
    functional
        ``"PBE"``, ``"LDA"``, ``"RPBE"`` or ``"revPBE"``.
    smearing_width
        k_B T of the Fermi-Dirac occupations in eV.
    k_spacing
        1/A, see :func:`mgflows.methods.base.k_mesh`. The paper's value: its cell of 12.9 A gets a
        3x3x3 mesh, and every smaller cell an equally dense one.
    energy_tolerance
        Change of the energy in eV per valence electron below which the electrons count as
        self-consistent.
    density_tolerance
        Likewise the change of the density, in electrons per valence electron. 1e-5 leaves errors of
        1e-5 eV/A in forces and 1e-3 GPa in the stress.
    max_iterations
        Electronic steps after which a calculation has not converged. A second attempt has a tenth
        of the mixing and twice as many steps.
    n_ranks, n_threads
        MPI processes, and threads of the linear algebra in each.
    mpi_command
        Command that starts them, with ``{n_ranks}``; by default the ``mpiexec`` of the MPI library
        that GPAW was built with.

    Notes
    -----
    GPAW runs in a separate process, also without MPI. A process that is killed for its memory
    then fails one job and not the worker, and the number of threads can be set. The process runs
    as long as the calculator, so that relaxations and dynamics start from the last wave functions.

    Symmetry is used as far as the structure has any; the label is the same to numerical accuracy.

    Examples
    --------
    >>> GpawMethod(n_ranks=16).description
    'PBE, GPAW, plane waves to 600 eV, k-spacing 0.162/A, Fermi-Dirac 0.1 eV'
    """

    cutoff: float = 600.0
    functional: str = "PBE"
    smearing_width: float = 0.1
    k_spacing: float = 0.162
    energy_tolerance: float = 1e-6
    density_tolerance: float = 1e-5
    max_iterations: int = 150
    mpi_command: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mpi_command", absolute_command(self.mpi_command))
        self._check_positive(
            "cutoff",
            "smearing_width",
            "k_spacing",
            "energy_tolerance",
            "density_tolerance",
            "max_iterations",
        )
        if self.functional not in _FUNCTIONALS:
            raise InputError(
                f"the functional {self.functional!r} is not one of {', '.join(_FUNCTIONALS)}"
            )

    @property
    def description(self) -> str:
        """One line for reports."""
        return (
            f"{self.functional}, GPAW, plane waves to {self.cutoff:g} eV, "
            f"k-spacing {self.k_spacing:g}/A, Fermi-Dirac {self.smearing_width:g} eV"
        )

    def check_species(self, species: Sequence[str]) -> None:
        """Check that GPAW has a data set of each element.

        A machine without GPAW, which only submits jobs, accepts all.

        Raises
        ------
        MissingFileError
            If a data set is missing.
        """
        if util.find_spec("gpaw") is not None:
            _data_sets(self.functional, sorted(set(species)))

    def build(self, atoms: Atoms) -> GpawCalculator:
        """A calculator whose k-mesh is that of these atoms; its log is in the working directory.

        Raises
        ------
        MissingDependencyError
            If GPAW is not installed.
        InputError
            If the PAW data set of an element, or MPI, is missing, or the structure cannot be
            labelled.
        """
        check_geometry(atoms)
        require("gpaw", "gpaw", _PURPOSE)
        _data_sets(self.functional, sorted(set(atoms.symbols)))
        return GpawCalculator(self, k_mesh(atoms.cell.array, self.k_spacing), self._command())

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """Everything that determines the labels, with name and sha256 of the PAW data sets.

        Version and data sets are left out if GPAW is not installed, for example on a machine that
        only submits jobs.

        Raises
        ------
        InputError
            If GPAW is installed but has no data set of one of the species.
        """
        installed = util.find_spec("gpaw") is not None
        return MethodFingerprint(
            code="gpaw",
            version=metadata.version("gpaw") if installed else "not installed",
            settings={
                "basis": "plane waves",
                "cutoff": float(self.cutoff),
                "functional": self.functional,
                "smearing": "Fermi-Dirac",
                "smearing_width": float(self.smearing_width),
                "k_spacing": float(self.k_spacing),
                "k_mesh": "Gamma-centred, rounded",
                "energy_tolerance": float(self.energy_tolerance),
                "density_tolerance": float(self.density_tolerance),
                "spin": "none",
            },
            potentials=_data_sets(self.functional, sorted(set(species))) if installed else {},
            is_dft=True,
            description=self.description,
        )

    def report(self, calculator: Calculator) -> CalculationReport:
        """Report of GPAW on the last calculation.

        Raises
        ------
        InputError
            For a calculator of another method.
        """
        if not isinstance(calculator, GpawCalculator):
            raise InputError(
                f"a {type(calculator).__name__} does not come from this method",
                hint="use the calculator that build() returns",
            )
        return calculator.report

    def parameters(self, mesh: tuple[int, int, int]) -> dict[str, Any]:
        """The arguments of ``gpaw.GPAW``, as JSON values."""
        return {
            "mode": {"name": "pw", "ecut": self.cutoff},
            "xc": self.functional,
            "kpts": {"size": list(mesh), "gamma": True},
            "occupations": {"name": "fermi-dirac", "width": self.smearing_width},
            "convergence": {"energy": self.energy_tolerance, "density": self.density_tolerance},
            "maxiter": self.max_iterations,
        }

    def _command(self) -> list[str]:
        launcher: list[str] = []
        if self.mpi_command:
            launcher = shlex.split(self.mpi_command.format(n_ranks=self.n_ranks))
            if shutil.which(launcher[0]) is None:
                raise MissingProgramError(
                    f"the program {launcher[0]} of mpi_command was not found",
                    hint="load its module or correct mpi_command",
                )
        elif self.n_ranks > 1:
            launcher = [str(mpi_launcher()), "-n", str(self.n_ranks)]
        return [*launcher, sys.executable, "-m", "mgflows.methods.gpaw_process"]


class GpawCalculator(Calculator):
    """GPAW in a separate process, as an ASE calculator; :meth:`close` ends the process.

    Parameters
    ----------
    method
        The settings.
    mesh
        Divisions of the k-mesh.
    command
        Command that starts the process, or all ranks.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, method: GpawMethod, mesh: tuple[int, int, int], command: list[str]) -> None:
        super().__init__()
        self.report = CalculationReport(k_mesh_requested=mesh, cutoff_requested=method.cutoff)
        self._method = method
        self._mesh = mesh
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self.log_file = _unused(Path.cwd(), "gpaw", ".txt")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy, free energy, forces and stress of the atoms.

        Raises
        ------
        NotConvergedError
            If the electrons do not become self-consistent.
        LabelError
            If GPAW ends without an answer.
        """
        super().calculate(atoms, properties, system_changes)
        if self._process is None:
            self._start()
        geometry = right_handed(self.atoms)
        self._send({"cell": geometry.cell.tolist(), "positions": geometry.positions.tolist()})
        answer = self._receive()
        if "error" in answer:
            kind = _ERRORS.get(answer["category"], LabelError)
            raise kind(f"{answer['error']} ({self._where})")
        self.results = {
            "energy": answer["energy"],
            "free_energy": answer["free_energy"],
            "forces": np.array(answer["forces"]),
            "stress": np.array(answer["stress"]),
        }
        for correction in answer["corrections"]:
            logger.warning("%s: %s", self.atoms.get_chemical_formula(), correction)
        self.report = self.report.model_copy(
            update={
                "free_energy": True,
                "scf_converged": True,
                "scf_steps": answer["scf_steps"],
                "k_mesh": tuple(answer["k_mesh"]),
                "cutoff": answer["cutoff"],
                "corrections": list(
                    dict.fromkeys([*self.report.corrections, *answer["corrections"]])
                ),
            }
        )

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        # The process ends with its input. Only one that is still computing, because its job was
        # interrupted, must be killed.
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    logger.debug("GPAW ended before its input was closed")
        try:
            process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def _where(self) -> str:
        return f"its log is {self.log_file}"

    def _start(self) -> None:
        threads = str(self._method.n_threads)
        environment = {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "GPAW_MPI_BACKEND": "cgpaw" if self._method.n_ranks > 1 else "serial",
        }
        if os.geteuid() == 0:
            # Open MPI refuses to run as root, which may be the only user of a container.
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        with self.log_file.with_suffix(".err").open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                subprocesses.tied_command(self._command),
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        self._send(
            {
                "parameters": self._method.parameters(self._mesh),
                "symbols": list(self.atoms.symbols),
                "log_file": str(self.log_file),
            }
        )
        ranks = self._receive()["ranks"]
        if ranks != self._method.n_ranks:
            self.close()
            raise LabelError(
                f"{shlex.join(self._command)} should start {self._method.n_ranks} ranks of GPAW, "
                f"but each process sees {ranks}: this launcher does not belong to the MPI library "
                "that GPAW was built with",
                hint="name the right one in mpi_command",
            )

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error

    def _receive(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # MPI libraries and their launchers print warnings between the answers.
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise self._death()

    def _death(self) -> LabelError:
        """The error of a process that ended without an answer."""
        assert self._process is not None
        status = self._process.wait()
        self.close()
        # Shells and launchers report a signal as 128 plus its number.
        number = -status if status < 0 else status - 128 if 128 < status < 160 else 0
        if number == signal.SIGKILL:
            return OutOfMemoryError(
                "GPAW was killed (SIGKILL), as happens when a machine or a batch job is out of "
                f"memory ({self._where})",
                hint="give it more memory or more nodes",
            )
        if number:
            reason = f"GPAW was ended by the signal {signal.Signals(number).name}"
        else:
            errors = self.log_file.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
            lines = [line.strip() for line in errors.splitlines() if line.strip(" -")]
            reason = (
                f"GPAW ended with status {status}: {lines[-1] if lines else 'it printed no error'}"
            )
        return LabelError(f"{reason} ({self._where})")


def _data_sets(functional: str, species: Sequence[str]) -> dict[str, str]:
    """Name and sha256 of the PAW data set of each element in GPAW's search path."""
    if not species:
        return {}
    paths = [Path(path) for path in require("gpaw", "gpaw", _PURPOSE).setup_paths]
    found = {}
    for element in species:
        name = f"{element}.{_FUNCTIONALS[functional]}"
        file = next(
            (
                file
                for path in paths
                for suffix in ("", ".gz")
                if (file := path / f"{name}{suffix}").is_file()
            ),
            None,
        )
        if file is None:
            where = ", ".join(map(str, paths)) or "no directory"
            raise MissingFileError(
                f"GPAW finds no PAW data set {name} of {element} (searched {where})",
                hint="install them with: pip install gpaw-data, or name their directory in "
                "GPAW_SETUP_PATH",
            )
        found[element] = f"{file.name} sha256:{sha256_of_file(file)}"
    return found


def mpi_launcher() -> Path:
    """The ``mpiexec`` of the MPI library that GPAW is linked to.

    The launcher of another library would start the same calculation several times.

    Raises
    ------
    MissingDependencyError
        If GPAW is not installed, or only its Python part.
    InputError
        If GPAW was built without MPI.
    MissingProgramError
        If the launcher was not found.
    """
    extension = util.find_spec("_gpaw")
    if extension is None or extension.origin is None:
        raise MissingDependencyError(
            "GPAW has no compiled part and therefore no MPI",
            hint=f"install it with: {install_command('gpaw')}",
        )
    linked = subprocess.run(
        ["ldd", extension.origin],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    ).stdout
    library = next(
        (
            line.split()[2]
            for line in linked.splitlines()
            if line.strip().startswith("libmpi.so") and "/" in line
        ),
        None,
    )
    if library is None:
        raise InputError(
            "GPAW was built without MPI and cannot use more than one rank",
            hint="set n_ranks=1 (n_threads may be more), or reinstall it where mpicc is on PATH: "
            "pip install --force-reinstall --no-cache-dir --no-binary gpaw gpaw",
        )
    # Resolved, because Open MPI derives its own directory from the path of its launcher: where /lib
    # is a link, /bin/mpiexec would make it search the root directory.
    candidates = [folder / "bin" / "mpiexec" for folder in Path(library).resolve().parents]
    launcher = next(
        (path for path in candidates if os.access(path, os.X_OK)), None
    ) or shutil.which("mpiexec")
    if launcher is None:
        raise MissingProgramError(
            f"the mpiexec of the MPI library {library} was not found",
            hint="install it (Debian: openmpi-bin) or set mpi_command",
        )
    return Path(launcher)


def _unused(directory: Path, stem: str, suffix: str) -> Path:
    """A file name that does not exist yet: each label of a set has its own log."""
    path, number = directory / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = directory / f"{stem}-{number}{suffix}"
    return path
