"""Run VASP as atomate2 does, with our inputs, and read its outputs."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mgflows.errors import (
    InputError,
    LabelError,
    MissingFileError,
    MissingProgramError,
    NotConvergedError,
)
from mgflows.geometry import right_handed
from mgflows.methods.base import check_geometry
from mgflows.methods.programs import fresh_directory
from mgflows.methods.vasp.outputs import VaspRun, naming_files
from mgflows.methods.vasp.settings import NEUTRAL_TAGS, VaspSettings
from mgflows.schemas.labels import Frame, atoms_from_structure, structure_from_atoms
from mgflows.schemas.quality import CalculationReport, violations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from jobflow import Maker
    from pymatgen.core import Structure

__all__ = ["VaspCalculator", "check_ready", "run_static", "run_vasp_maker", "sort_structure"]


class VaspCalculator(Calculator):
    """An ASE calculator that runs a single point of VASP per geometry, through atomate2.

    Parameters
    ----------
    method
        The settings.

    Attributes
    ----------
    report
        Report of VASP on its last calculation.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, method: VaspSettings) -> None:
        super().__init__()
        self.method = method
        self.report = CalculationReport()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Run VASP in a new directory.

        Raises
        ------
        InputError
            If VASP or the POTCAR of an element is missing; nothing has run then.
        LabelError
            If VASP did not finish or converge, or ran with other settings than requested. The
            message has the directory of its files.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        requested = right_handed(self.atoms)
        structure = sort_structure(structure_from_atoms(requested))
        with contextlib.chdir(fresh_directory("vasp")):
            run = run_static(self.method, structure, {})
        with naming_files(run.directory):
            labelled = run.atoms()
            run.check()
            if not run.scf_converged():
                raise NotConvergedError(
                    "the electronic self-consistency did not converge after "
                    f"{run.scf_steps()} steps",
                    hint="raise NELM in VaspMethod(incar=...) or check the structure",
                )
            report = run.report(requested)
            if found := violations(Frame.from_atoms(labelled), CalculationReport(), requested):
                raise LabelError("; ".join(found))
            # Both orders keep the order within each species.
            forces = np.empty((len(requested), 3))
            forces[_grouped(requested)] = labelled.get_forces()[_grouped(labelled)]
            self.results = {**labelled.calc.results, "forces": forces}
            self.report = report
            self.method.remember_version(str(run.calculation.vasp_version))


def _grouped(atoms: Atoms) -> np.ndarray:
    return np.argsort(atoms.numbers, kind="stable")


def sort_structure(structure: Structure | None) -> Structure:
    """The structure grouped by species and with a right-handed cell.

    atomate2 0.1.5 does not group: an alloy in random order would have one POTCAR per change of
    species.

    Raises
    ------
    InputError
        If there is no structure, or one that cannot be labelled.
    """
    # Through atoms, because oxidation states, spins and site properties would change the inputs.
    atoms = right_handed(atoms_from_structure(structure))
    return structure_from_atoms(atoms).get_sorted_structure()


def run_static(
    method: VaspSettings, structure: Structure, run_vasp_kwargs: dict[str, Any]
) -> VaspRun:
    """A single point in the current directory."""
    from atomate2.vasp.jobs.core import StaticMaker

    from mgflows.methods.vasp.inputs import GlassStaticSetGenerator, static_handlers

    return run_vasp_maker(
        StaticMaker,
        GlassStaticSetGenerator(method=method),
        method,
        structure,
        {"handlers": static_handlers(), **run_vasp_kwargs},
    )


def run_vasp_maker(
    maker_class: type[Maker],
    generator: Any,
    method: VaspSettings,
    structure: Structure,
    run_vasp_kwargs: dict[str, Any],
    **maker_kwargs: Any,
) -> VaspRun:
    """Write the inputs, run VASP under custodian and read its outputs, as atomate2 does.

    Everything happens in the current directory.

    Raises
    ------
    InputError
        If VASP or the POTCAR of an element is missing.
    LabelError
        If custodian stopped without success, or the outputs cannot be read.
    """
    check_geometry(atoms_from_structure(structure))
    check_ready(
        method, [str(element) for element in structure.composition.elements], run_vasp_kwargs
    )
    maker = maker_class(
        input_set_generator=generator,
        run_vasp_kwargs=run_vasp_kwargs,
        # Unconverged calculations are refused by our gate, which gives the reason.
        stop_children_kwargs={"handle_unsuccessful": False},
        **maker_kwargs,
    )
    directory = Path.cwd()
    try:
        with _ending_children():
            response = maker.make.original(maker, structure)
    except Exception as error:
        # Custodian, atomate2 and the parsers of pymatgen and emmet have errors of many types.
        failure = _failure(error, directory, method)
        raise type(failure)(
            f"{failure.message}; its files are in {directory}", hint=failure.hint
        ) from error
    return VaspRun(response.output, directory, method)


def _failure(error: Exception, directory: Path, method: VaspSettings) -> LabelError:
    """The reason why a calculation gave no document; custodian only reports its attempts."""
    reported = f"{type(error).__name__}: {' '.join(str(error).split())}"
    try:
        run = VaspRun.from_directory(directory, method)
    except LabelError:
        return LabelError(f"VASP gave no usable result ({reported})")
    if not run.scf_converged():
        tried = f", also not with {'; '.join(run.corrections)}" if run.corrections else ""
        return NotConvergedError(
            "the electronic self-consistency did not converge after "
            f"{run.scf_steps()} steps{tried} ({reported})",
            hint="raise NELM in VaspMethod(incar=...) or check the structure",
        )
    return LabelError(f"custodian stopped the VASP calculation ({reported})")


def check_ready(
    method: VaspSettings, species: Sequence[str], run_vasp_kwargs: dict[str, Any]
) -> None:
    """Check that a calculation can start.

    Raises
    ------
    InputError
        If VASP's command or a POTCAR is missing, or atomate2's settings would change a label.
    """
    from atomate2 import SETTINGS as ATOMATE2
    from pymatgen.core import SETTINGS as PYMATGEN

    command = str(run_vasp_kwargs.get("vasp_cmd") or ATOMATE2.VASP_CMD)
    program = next(iter(shlex.split(command)), "")
    # A variable is expanded by the shell only.
    if "$" not in program and shutil.which(program) is None:
        raise MissingProgramError(
            f"the command {program} was not found, so that VASP cannot start (vasp_command is "
            f"{command!r})",
            hint="set vasp_command in mgflows.yaml to the command of VASP on this machine, or load "
            "its module",
        )
    missing = [
        element for element, single in method.find_potentials(species).items() if single is None
    ]
    if missing:
        names = ", ".join(method.potcar_symbol(element) for element in missing)
        where = PYMATGEN.get("PMG_VASP_PSP_DIR") or "not set"
        raise MissingFileError(
            f"no POTCAR of {', '.join(missing)} ({method.potcar_functional}: {names}) was found; "
            f"PMG_VASP_PSP_DIR is {where}",
            hint="set it to the directory that `pmg config -p` made of VASP's potentials",
        )
    foreign = sorted(set(ATOMATE2.VASP_INCAR_UPDATES) - NEUTRAL_TAGS)
    if foreign:
        raise InputError(
            f"VASP_INCAR_UPDATES in atomate2's settings changes {', '.join(foreign)}, which "
            "determines labels",
            hint="remove it there and set it in VaspMethod(incar=...)",
        )


@contextlib.contextmanager
def _ending_children() -> Iterator[None]:
    """End VASP if the job is interrupted.

    Custodian starts it in a separate session, which signals to the job do not reach.
    """
    import psutil

    this = psutil.Process()
    before = set(this.children(recursive=True))
    try:
        yield
    except BaseException:
        for child in set(this.children(recursive=True)) - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        raise
