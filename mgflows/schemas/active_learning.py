"""Active learning: the members of a committee and the rounds of a campaign."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from mgflows.nep.committee import Quantity, Scale
from mgflows.nep.targets import GroupErrors, TargetResult
from mgflows.schemas.provenance import Provenance

Outcome = Literal["continue", "target", "budget", "rounds", "exhausted"]
"""Decision after a round: further labels, or the end with its reason."""


class CommitteeMemberDocument(BaseModel):
    """One potential of a committee, trained on families drawn with replacement."""

    nep_txt: str = Field(description="the potential")
    dataset_id: str = Field(description="dataset whose training frames were drawn from")
    number: int = Field(description="number of the member, from 0")
    n_frames: int = Field(description="different frames that were drawn")
    n_families: int = Field(description="different families that were drawn")
    provenance: Provenance


class SelectedFrame(BaseModel):
    """A configuration that was selected for labelling."""

    family: str = Field(description="the quench it comes from")
    number: int = Field(description="position among the configurations of the quench")
    temperature: float = Field(description="K, of the thermostat")
    force_error: float = Field(description="estimated error of its forces, meV/A")


class LabelCandidates(BaseModel):
    """Configurations along melts and quenches with the potential of a round."""

    n_quenches: int = Field(description="melts and quenches that were started")
    n_failed: int = Field(description="of these, those that ended without a glass")
    n_refused: int = Field(
        description="configurations outside the limits of density, distance, force and pressure"
    )
    n_candidates: int = Field(description="configurations within the limits")
    out_of_range: float = Field(
        description="fraction of their atoms with a descriptor outside the range of the training "
        "frames"
    )
    n_discarded: int = Field(
        description="candidates with an estimated error above the window, which are not labelled"
    )
    n_known: int = Field(description="of these, those with an estimated error below the window")
    force_error: float = Field(
        description="estimated root mean square force error of those that were not discarded, meV/A"
    )
    force_error_error: float | None = Field(
        None, description="its standard error: of the calibration and between the quenches"
    )
    largest_force_error: float = Field(description="largest estimated error of an atom, meV/A")


class RoundDocument(BaseModel):
    """One round of active learning: the quality of the potential, and the labels that follow.

    The rounds of a campaign are outputs of one job that replaces itself: index 1 is round 0, which
    evaluates the potential before any further label.
    """

    campaign: str = Field(description="campaign")
    round: int = Field(description="number of earlier rounds of labels, 0 for the first potential")
    selection: str = Field(description="how candidates are selected: committee, farthest or random")
    potential_id: str = Field(description="the potential that is evaluated")
    nep_txt: str = Field(description="the same, as text")
    dataset_id: str = Field(description="dataset it was trained on")
    dataset_uuid: str = Field(description="job that froze the dataset")
    n_labels: int = Field(description="labels that all rounds so far have added")
    n_failed_labels: int = Field(description="labels that were requested and failed")
    label_uuids: list[str] = Field(description="label jobs of all rounds so far")
    by_subset: list[GroupErrors] = Field(
        description="errors of the test frames by subset, and the estimates of the committee"
    )
    by_decade: list[GroupErrors] = Field(
        description="the same by decade of the effective time in t*; empty without a clock"
    )
    scales: dict[Quantity, Scale] = Field(
        description="error over spread of the committee for the test frames, by quantity"
    )
    rank_correlation: float | None = Field(
        None, description="Spearman's coefficient of spread and error of the forces of test frames"
    )
    n_members: int = Field(description="potentials of the committee that were trained")
    candidates: LabelCandidates = Field(description="configurations that the potential visits")
    targets: list[TargetResult] = Field(description="errors and their targets")
    selected: list[SelectedFrame] = Field(description="configurations that are labelled next")
    outcome: Outcome = Field(description="what follows")
    passed: bool = Field(
        description="whether the rounds have ended, so that the campaign continues"
    )
    reason: str = Field(description="the verdict in words")
    cpu_seconds: dict[str, float] = Field(
        description="processor time of this round in s: labels, training, committee, candidates"
    )
    provenance: Provenance
