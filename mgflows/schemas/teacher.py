"""Labels of a teacher, and the structures that are labelled again by the campaign's method."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pymatgen.core import Structure

from mgflows.schemas.provenance import Provenance

TEACHER = "teacher/"
"""Beginning of the subset of frames that a teacher has labelled."""


class ChosenFrame(BaseModel):
    """A structure that the method of the campaign labels again."""

    frame_id: str = Field(description="hash of the frame with the teacher's label")
    subset: str = Field(description="step of the paper it comes from")
    family: str = Field(description="the sample it descends from")
    is_test: bool = Field(description="whether it is a test frame, as with the teacher's label")
    disagreement: float = Field(
        description="root mean square difference of the forces of student and teacher, meV/A"
    )
    uncertainty: float = Field(
        description="calibrated spread of the students' forces, root mean square, meV/A"
    )


class TeacherChoiceDocument(BaseModel):
    """The structures for which student and teacher are uncertain or disagree most."""

    campaign: str = Field(description="campaign")
    teacher: str = Field(
        description="description of the teacher; its labels are not reference data"
    )
    dataset_id: str = Field(description="dataset of the teacher's labels")
    potential_id: str = Field(description="the student, trained on that dataset")
    n_members: int = Field(description="students of the committee")
    n_frames: int = Field(description="frames that the teacher has labelled")
    disagreement: float = Field(description="of all frames, root mean square, meV/A")
    chosen_disagreement: float = Field(description="of the chosen frames, likewise")
    chosen: list[ChosenFrame] = Field(description="the chosen structures")
    structures: list[Structure] = Field(
        description="the same, in the same order; stored in the additional store 'data'"
    )
    provenance: Provenance


class ChosenLabelsDocument(BaseModel):
    """The label jobs of the chosen structures."""

    teacher: str = Field(description="what the teacher is, in words")
    label_uuids: list[str] = Field(description="label jobs by the method of the campaign")
    held_out_families: list[str] = Field(
        description="families that the students were not trained on: they stay test families"
    )
    n_labels: int = Field(description="labels that succeeded")
    n_failed: int = Field(description="labels that failed")
    provenance: Provenance
