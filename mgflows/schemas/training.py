"""Datasets and potentials."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance

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

Split = Literal["family", "paper"]


class DatasetFrame(BaseModel):
    """One entry of a dataset: where the frame lies and on which side of each split it is."""

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


class CrystalSource(BaseModel):
    """A crystal that frames of a dataset descend from."""

    name: str = Field(description="name within the campaign")
    identifier: str = Field(
        description="of the entry, in the database it comes from, such as 'mp-2210'"
    )
    source: str = Field(description="database or literature")


class DatasetDocument(BaseModel):
    """A frozen, hashed list of frames with its train/test splits. The frames stay in the label documents."""

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
    held_out_families: list[str] = Field(description="families that are wholly in the test set")
    test_fraction: float = Field(description="fraction of test frames asked for")
    split_seed: int = Field(description="seed of the splits")
    fingerprint: MethodFingerprint = Field(description="the one method of all labels")
    fingerprint_digest: str = Field(description="its hash")
    missing: list[str] = Field(
        description="label jobs without an output, by uuid: they failed and were left out"
    )
    excluded_families: list[str] = Field(
        description="families left out because their sample is ordered"
    )
    duplicates: int = Field(0, description="frames met more than once and kept once")
    scaled_down: str = Field(
        "", description="in which way the campaign is smaller than the paper's; empty if it is not"
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
        description="coefficient of determination of the energies per atom; none for a single frame",
    )


class PotentialDocument(BaseModel):
    """A trained NEP with everything it came from."""

    potential_id: str = Field(description="hash of nep.txt")
    campaign: str = Field(description="campaign it was trained in")
    dataset_id: str = Field(description="dataset it was trained on")
    generation: int = Field(description="0 before the feedback step, 1 after it")
    split: Split = Field(description="which split of the dataset was the training set")
    species: list[str] = Field(description="element symbols in the order of its types")
    nep_txt: str = Field(description="the potential, as GPUMD, LAMMPS and calorine read it")
    nep_in: str = Field(description="the input of the trainer")
    parameters: dict[str, Any] = Field(description="NepParameters, as a dictionary")
    trainer: dict[str, Any] = Field(description="trainer with its settings and version")
    started_from: str | None = Field(None, description="potential_id of the warm start, if any")
    n_train: int = Field(description="frames in the training set")
    n_test: int = Field(description="frames in the test set")
    errors: dict[str, dict[str, ErrorStatistics]] = Field(
        description="'train' or 'test' to subset (or 'all') to errors, recomputed from nep.txt"
    )
    loss: dict[str, list[float | None]] = Field(
        description="loss table by column: step, total, energy_train, force_train, ..."
    )
    parity: dict[str, Any] = Field(
        description="for parity plots, stored in the additional store 'data': 'train' or 'test' to {'subset': one per frame, 'energy': {'reference', "
        "'predicted'} in eV/atom, 'virial': the same, (n, 6) xx yy zz xy yz zx in eV/atom, 'force': the same for a random choice of components in "
        "eV/A, with its own 'subset'}"
    )
    method: str = Field(description="what the labels are, in words")
    scaled_down: str = Field(
        "", description="in which way the training is smaller than the paper's"
    )
    provenance: Provenance
