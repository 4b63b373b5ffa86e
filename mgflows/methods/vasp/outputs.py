"""The outputs of VASP: comparison with the requested settings, and conversion to labels.

Everything is read from VASP's outputs through the parser of atomate2 and emmet. Nothing is taken
from the input structure, whose order of atoms may differ.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mgflows import units
from mgflows.errors import LabelError, WrongSettingsError
from mgflows.methods.vasp.settings import NEUTRAL_TAGS, STEPPING_TAGS
from mgflows.schemas.labels import MethodFingerprint, atoms_from_structure, symmetric_stress
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from emmet.core.tasks import TaskDoc

    from mgflows.methods.vasp.settings import VaspSettings

__all__ = ["VaspRun", "naming_files"]

_PARAMETER_OF_TAG = {"ENCUT": "ENMAX"}
"""Tags that have another name among VASP's parameters."""


@dataclass
class VaspRun:
    """One finished calculation.

    Attributes
    ----------
    task
        The document that emmet made of its files.
    directory
        Their directory.
    method
        The settings that were requested.
    """

    task: TaskDoc
    directory: Path
    method: VaspSettings

    @classmethod
    def from_directory(cls, directory: str | Path, method: VaspSettings) -> VaspRun:
        """Read the files of a calculation, as atomate2 does after it has run one.

        Raises
        ------
        LabelError
            If they cannot be read, such as those of a run that was cut off.
        """
        from atomate2.vasp.jobs.base import get_vasp_task_document

        directory = Path(directory).resolve()
        try:
            task = get_vasp_task_document(directory)
        except Exception as error:
            # The type of the error depends on the place where a file is cut off.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise LabelError(
                f"VASP's outputs cannot be read, as those of a run that was cut off ({reason}); "
                f"its files are in {directory}"
            ) from error
        return cls(task, directory, method)

    @property
    def calculation(self) -> Any:
        """The calculation within the document.

        An :class:`emmet.core.vasp.calculation.Calculation`, complete after reading.
        """
        return cast("Any", self.task.calcs_reversed)[0]

    @cached_property
    def steps(self) -> list[Any]:
        """The structures that VASP visited, with their labels.

        Each is an :class:`emmet.core.vasp.calculation.IonicStep`.
        """
        return list(self.calculation.output.ionic_steps)

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings that VASP used, defaults included."""
        return cast("dict[str, Any]", self.calculation.input.parameters)

    def atoms(self, step: int = -1) -> Atoms:
        """Atoms of a step with their label in ASE's units and signs.

        The energy is the free energy, of which forces and stress are derivatives
        (``e_fr_energy``). ``TaskDoc.output.energy`` is extrapolated to zero smearing.
        """
        from ase.calculators.singlepoint import SinglePointCalculator

        record = self.steps[step]
        if record.e_fr_energy is None or record.forces is None or record.stress is None:
            raise LabelError(
                f"VASP wrote no energy, forces or stress for step {step % len(self.steps) + 1}"
            )
        atoms = atoms_from_structure(record.structure)
        stress = symmetric_stress(units.stress_from_vasp(record.stress))
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=record.e_fr_energy,
            free_energy=record.e_fr_energy,
            forces=record.forces,
            stress=stress,
        )
        return atoms

    def scf_steps(self, step: int = -1) -> int:
        """Electronic steps of an ionic step."""
        return len(self.steps[step].electronic_steps or [])

    def scf_converged(self, step: int = -1) -> bool:
        """Whether the electrons of an ionic step converged.

        VASP stops at EDIFF, or after NELM steps without a message in its outputs.
        """
        return 0 < self.scf_steps(step) < int(self.parameters["NELM"])

    @property
    def corrections(self) -> list[str]:
        """Changes by custodian, one phrase each."""
        found = []
        for record in self.task.custodian or []:
            for correction in record.corrections or []:
                errors = ", ".join(map(str, correction.get("errors") or ["unknown error"]))
                actions = (
                    "; ".join(_words(action) for action in correction.get("actions") or [])
                    or "nothing"
                )
                found.append(f"{errors}: {actions}")
        return found

    def report(self, requested: Atoms, step: int = -1) -> CalculationReport:
        """Report of VASP on a step, for the gate of :mod:`mgflows.schemas.quality`.

        Parameters
        ----------
        requested
            The input structure, whose cell determines the k-mesh.
        step
            Index of the ionic step.
        """
        kpoints = self.calculation.input.kpoints
        divisions = (
            tuple(int(number) for number in kpoints.kpts[0])
            if kpoints is not None and kpoints.num_kpts == 0
            else None
        )
        return CalculationReport(
            free_energy=True,
            scf_converged=self.scf_converged(step),
            scf_steps=self.scf_steps(step),
            k_mesh=cast("tuple[int, int, int] | None", divisions),
            k_mesh_requested=self.method.k_mesh(requested.cell.array),
            cutoff=self.parameters.get("ENMAX"),
            cutoff_requested=self.method.tags.get("ENCUT"),
            corrections=self.corrections,
        )

    def check(self) -> None:
        """Compare the settings of the run with those of the method.

        Raises
        ------
        WrongSettingsError
            If a tag that determines a label differs from the method, the INCAR has a tag that the
            method does not have, or a POTCAR is another one.
        """
        found = [*self._other_settings(), *self._additional_tags(), *self._other_potentials()]
        if found:
            raise WrongSettingsError(
                f"VASP ran with other settings than those requested: {'; '.join(found)}",
                hint="remove these tags from atomate2's settings (~/.atomate2.yaml), or set them "
                "in VaspMethod(incar=...)",
            )

    def fingerprint(self) -> MethodFingerprint:
        """The method with VASP's version, and the POTCARs of the run."""
        species = [str(element) for element in self.steps[-1].structure.composition.elements]
        requested = self.method.fingerprint()
        singles = {single.element: single for single in self._potcar()}
        potentials = {
            element: self.method.describe_potential(element, singles.get(element))
            for element in sorted(species)
        }
        return requested.model_copy(
            update={"version": str(self.calculation.vasp_version), "potentials": potentials}
        )

    def _other_settings(self) -> Iterator[str]:
        incar = self.calculation.input.incar or {}
        for tag, requested in self.method.deciding_tags.items():
            used = incar.get(tag, self.parameters.get(_PARAMETER_OF_TAG.get(tag, tag)))
            # Electrons that converged further give the same label.
            better = tag == "EDIFF" and used is not None and float(used) <= float(requested)
            if used is not None and not better and not _same(used, requested):
                yield f"{tag} is {used} and not {requested}"
        kpoints = self.calculation.input.kpoints
        if kpoints is not None and not str(kpoints.style).startswith("Gamma"):
            yield f"the k-mesh is {kpoints.style} and not Gamma-centred"

    def _additional_tags(self) -> Iterator[str]:
        """Tags of the INCAR file that the method does not have.

        The INCAR in VASP's output has additional tags.
        """
        from pymatgen.io.vasp import Incar

        path = self._file("INCAR")
        if path is None:
            return
        incar = Incar.from_file(path)
        for tag in sorted(set(incar) - set(self.method.tags) - NEUTRAL_TAGS - STEPPING_TAGS):
            yield f"{tag} is {incar[tag]} and was not requested"
        if float(incar.get("PSTRESS", 0.0)) != 0.0:
            yield f"PSTRESS is {incar['PSTRESS']} and not 0"

    def _other_potentials(self) -> Iterator[str]:
        for record in self.calculation.input.potcar_spec or []:
            # POTCAR.spec, where there is no POTCAR, has the symbol only.
            words = str(record.titel).split()
            kind, symbol = words[:2] if len(words) > 1 else ("", words[0])
            element = symbol.partition("_")[0]
            requested = self.method.potcar_symbol(element)
            if symbol != requested:
                yield f"the POTCAR of {element} is {symbol} and not {requested}"
            if self.method.tags.get("GGA") == "PE" and kind not in {"", "PAW_PBE"}:
                yield f"the POTCAR of {element} is of {kind} and not of PAW_PBE"

    def _potcar(self) -> list[Any]:
        from pymatgen.io.vasp import Potcar

        path = self._file("POTCAR")
        return [] if path is None else list(Potcar.from_file(path))

    def _file(self, name: str) -> Path | None:
        """A file of the calculation, which atomate2 may have compressed."""
        return next(
            (
                path
                for path in (self.directory / name, self.directory / f"{name}.gz")
                if path.is_file()
            ),
            None,
        )


@contextmanager
def naming_files(directory: Path) -> Iterator[None]:
    """Add the directory of the calculation to each :class:`~mgflows.errors.LabelError`."""
    try:
        yield
    except LabelError as error:
        raise type(error)(
            f"{error.message}; its files are in {directory}", hint=error.hint
        ) from error


def _same(used: Any, requested: Any) -> bool:
    if isinstance(used, bool) or isinstance(requested, bool):
        return used is requested
    if isinstance(used, int | float) and isinstance(requested, int | float):
        return abs(used - requested) <= 1e-6 * max(abs(used), abs(requested))
    # VASP reads the first letters of a word and writes five of them.
    one, other = str(used).strip().lower(), str(requested).strip().lower()
    return one == other or (
        min(len(one), len(other)) >= 5 and (one.startswith(other) or other.startswith(one))
    )


def _words(action: dict[str, Any]) -> str:
    """One of custodian's actions, such as ``INCAR ALGO = All``."""
    where = action.get("dict") or action.get("file") or ""
    return f"{where} " + ", ".join(
        f"{key} = {value}"
        for change in (action.get("action") or {}).values()
        for key, value in dict(change).items()
    )
