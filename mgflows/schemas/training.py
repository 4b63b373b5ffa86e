"""Datasets and potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from mgflows.nep.parameters import NepParameters
from mgflows.schemas.acceptance import AcceptanceRecord
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance

if TYPE_CHECKING:
    from mgflows.schemas.frames import FrameSummary

SUBSETS = (
    "lj_surrogate",
    "dft_minimized",
    "expanded_compressed",
    "distorted",
    "aimd",
    "crystal",
    "mlip_feedback",
)
"""The subsets (i) to (vii) of the paper's section II, "DFT database overview", in its order."""


def subset_order(subset: str) -> tuple[int, str]:
    """Return a sort key: the subsets of the paper in their order, then others by name."""
    return (SUBSETS.index(subset) if subset in SUBSETS else len(SUBSETS), subset)


Split = Literal["family", "paper"]


class DatasetFrame(BaseModel):
    """One entry of a dataset: the location of a frame and its side of each split."""

    frame_id: str = Field(description="hash of the frame")
    uuid: str = Field(description="job whose output holds it")
    number: int = Field(description="position within that output")
    subset: str = Field(description="step of the paper it comes from")
    family: str = Field(description="the sample it descends from")
    n_atoms: int = Field(description="atoms in the frame")
    energy_per_atom: float = Field(description="eV per atom")
    log10_time: float | None = Field(
        None, description="log10 of the family's effective time in t*, where it has one"
    )
    test: dict[str, bool] = Field(
        description="split scheme to true where the frame is a test frame"
    )
    structure_id: str = Field("", description="hash of the structure without its label")
    formula: str = Field("", description="chemical formula of the cell in Hill's order")

    @classmethod
    def from_summary(
        cls,
        summary: FrameSummary,
        *,
        uuid: str,
        number: int,
        subset: str,
        family: str,
        log10_time: float | None,
    ) -> Self:
        """Make the entry of a frame that is on no side of a split yet.

        Parameters
        ----------
        summary
            Summary of the frame.
        uuid, number, subset, family, log10_time
            As in the fields.
        """
        return cls(
            frame_id=summary.frame_id,
            uuid=uuid,
            number=number,
            subset=subset,
            family=family,
            n_atoms=summary.n_atoms,
            energy_per_atom=summary.energy_per_atom,
            log10_time=log10_time,
            test={},
            structure_id=summary.structure_id,
            formula=summary.formula,
        )


class CrystalSource(BaseModel):
    """A crystal from which frames of a dataset descend."""

    name: str = Field(description="name within the campaign")
    identifier: str = Field(description="identifier in the database of origin, such as 'mp-2210'")
    source: str = Field(description="database or literature")


class ElementReferences(BaseModel):
    """Energies of the elements, the zero of energy of a dataset."""

    fitted: dict[str, float] = Field(
        description="element to its energy in eV in a least-squares fit of the energies of all "
        "frames by their composition alone"
    )
    is_unique: bool = Field(
        description="false where the compositions do not determine the energies of all elements, "
        "as for one composition; the smallest solution is given then"
    )
    spread: float = Field(
        description="root mean square residual of the fit, meV per atom: the energy that depends "
        "on the structures"
    )
    isolated_atoms: dict[str, float] = Field(
        default_factory=dict,
        description="element to the energy of its isolated atom in eV, where one was imported",
    )


class DatasetDocument(BaseModel):
    """A frozen, hashed list of frames with its train/test splits.

    The frames stay in the label documents.
    """

    dataset_id: str = Field(description="hash of the frames, the splits and the settings")
    campaign: str = Field(description="campaign it was collected for")
    species: list[str] = Field(description="element symbols in the order of the potential's types")
    n_frames: int = Field(description="number of frames")
    counts: dict[str, dict[str, int]] = Field(
        description="subset to {'frames', 'families', 'family_test', 'paper_test'}"
    )
    frames: list[DatasetFrame] = Field(
        description="the frames, sorted by hash; stored in the additional store 'data'"
    )
    crystals: list[CrystalSource] = Field(
        default_factory=list, description="the crystals whose frames are in it"
    )
    held_out_families: list[str] = Field(description="families that are entirely in the test set")
    test_fraction: float = Field(description="requested fraction of test frames")
    split_seed: int = Field(description="seed of the splits")
    fingerprint: MethodFingerprint = Field(description="the method of all labels")
    fingerprint_digest: str = Field(description="its hash")
    mixed_methods: list[str] = Field(
        default_factory=list,
        description="settings that differ among the labels, where the user declared the methods to "
        "be the same; empty otherwise",
    )
    references: ElementReferences | None = Field(
        None, description="energies of the elements; none in datasets of version 0.1"
    )
    missing: list[str] = Field(
        description="label jobs without an output, by uuid: they failed and were left out"
    )
    excluded_families: list[str] = Field(
        description="families left out because their sample is ordered"
    )
    duplicates: int = Field(0, description="repeated frames that were left out")
    relabelled: list[str] = Field(
        default_factory=list,
        description="further labels of a structure that is in the dataset, by frame id: left out",
    )
    provenance: Provenance


class ErrorStatistics(BaseModel):
    """Errors of a potential over a group of frames, recomputed from nep.txt."""

    n_frames: int = Field(description="frames in the group")
    energy_rmse: float = Field(description="meV per atom")
    force_rmse: float = Field(description="meV/A, over Cartesian components")
    virial_rmse: float = Field(description="meV per atom, over the six components")
    energy_mae: float = Field(description="meV per atom")
    force_mae: float = Field(description="meV/A")
    virial_mae: float = Field(description="meV per atom")
    energy_r2: float | None = Field(
        None,
        description="coefficient of determination of the energies per atom; none for a single "
        "frame",
    )


class TrainerRecord(BaseModel):
    """The trainer of a potential."""

    trainer: str = Field(description="class of the trainer")
    version: str = Field("", description="version of the program that trained")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the fields of the trainer, which differ by class"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 stored the settings with the name and the version."""
        if not isinstance(values, dict) or "settings" in values:
            return values
        known = {key: values[key] for key in ("trainer", "version") if key in values}
        settings = {key: value for key, value in values.items() if key not in known}
        return known | {"settings": settings}


class EnergyParity(BaseModel):
    """Labels and predictions of the energy of each frame."""

    reference: list[float] = Field(description="(n,) labels, eV per atom")
    predicted: list[float] = Field(description="(n,) predictions, eV per atom")


class VirialParity(BaseModel):
    """Labels and predictions of the virial of each frame."""

    reference: list[list[float]] = Field(
        description="(n, 6) labels xx, yy, zz, xy, yz, zx, eV per atom"
    )
    predicted: list[list[float]] = Field(description="(n, 6) predictions, eV per atom")


class ForceParity(BaseModel):
    """Labels and predictions of a random choice of force components."""

    reference: list[float] = Field(description="(m,) labels, eV/A")
    predicted: list[float] = Field(description="(m,) predictions, eV/A")
    subset: list[str] = Field(description="(m,) subset of the frame of each component")


class ParityTable(BaseModel):
    """Labels and predictions of the frames of one side of a split, for parity plots."""

    subset: list[str] = Field(description="(n,) subset of each frame")
    frame_id: list[str] = Field(
        default_factory=list, description="(n,) hash of each frame; empty in version 0.1"
    )
    force_error: list[float] = Field(
        default_factory=list,
        description="(n,) root mean square error of the force components of each frame, eV/A",
    )
    largest_force_error: list[float] = Field(
        default_factory=list, description="(n,) largest error of the force on an atom, eV/A"
    )
    energy: EnergyParity
    virial: VirialParity
    force: ForceParity


class PotentialDocument(BaseModel):
    """A trained NEP with its complete history."""

    potential_id: str = Field(description="hash of nep.txt")
    campaign: str = Field(description="campaign it was trained in")
    dataset_id: str = Field(description="dataset it was trained on")
    generation: int = Field(
        description="0 before the feedback step, 1 after it; -1 of the student of a teacher"
    )
    split: Split = Field(description="which split of the dataset was the training set")
    species: list[str] = Field(description="element symbols in the order of its types")
    nep_txt: str = Field(description="the potential, as GPUMD, LAMMPS and calorine read it")
    nep_in: str = Field(description="the input of the trainer")
    parameters: NepParameters = Field(description="the model and its loss function")
    trainer: TrainerRecord = Field(description="the trainer with its settings and version")
    started_from: str | None = Field(None, description="potential_id of the warm start, if any")
    n_train: int = Field(description="frames in the training set")
    n_test: int = Field(description="frames in the test set")
    errors: dict[str, dict[str, ErrorStatistics]] = Field(
        description="'train' or 'test' to subset (or 'all') to errors, recomputed from nep.txt"
    )
    acceptance: AcceptanceRecord | None = Field(
        None, description="whether it passed its tests; none if it was not tested"
    )
    loss: dict[str, list[float | None]] = Field(
        description="loss table by column: step, total, energy_train, force_train, ..."
    )
    parity: dict[str, ParityTable] = Field(
        description="'train' or 'test' to labels and predictions, stored in the additional "
        "store 'data'"
    )
    method: str = Field(description="method of the labels, in words")
    teacher: str | None = Field(
        None,
        description="cheap model whose labels it was first trained on, in words; none without one",
    )
    scaled_down: str = Field("", description="how the training is smaller than the paper's")
    provenance: Provenance

    @property
    def accepted(self) -> bool | None:
        """Whether it passed its tests; None if it was not tested."""
        return None if self.acceptance is None else self.acceptance.passed

    @property
    def is_student(self) -> bool:
        """Whether it was trained on the labels of a teacher alone."""
        return self.generation < 0
