"""Choice of the labels of a teacher that are replaced by the method of a campaign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.store import current_store, iterate_frames, read_summaries
from mgflows.nep.committee import Committee
from mgflows.nep.frames import frame_labels
from mgflows.nep.results import predict
from mgflows.nep.selection import select_frames
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.teacher import (
    TEACHER,
    ChosenFrame,
    ChosenLabelsDocument,
    TeacherChoiceDocument,
)
from mgflows.schemas.training import DatasetDocument

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import OutputReference
    from numpy.typing import NDArray

    from mgflows.schemas.training import DatasetFrame

__all__ = ["ChosenLabelsMaker", "TeacherChoiceMaker"]


@dataclass
class TeacherChoiceMaker(StoredMaker):
    """Choose the structures for which students and teacher are uncertain or disagree most.

    Frames are ranked by the larger of two errors: the calibrated spread of the students' forces,
    and the difference between student and teacher. Among the worst frames, those that differ most
    from each other are chosen. A fifth is taken from the test frames of the students.

    Parameters
    ----------
    name
        Name of the job.
    n_labels
        Structures to choose.
    test_fraction
        Fraction of test frames among them.
    seed
        Seed of the calibration's bootstrap.
    """

    name: str = "choose labels"
    n_labels: int = 60
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_labels < 5:
            raise InputError(f"n_labels is {self.n_labels} but must be at least 5")

    @job(
        data="structures",
        output_schema=TeacherChoiceDocument,
        config=JobConfig(
            resolve_references=False, expose_store=True, on_missing_references=OnMissing.NONE
        ),
    )
    def make(
        self,
        campaign: str,
        teacher: str,
        dataset: OutputReference,
        potential: OutputReference,
        members: list[OutputReference],
    ) -> TeacherChoiceDocument:
        """Choose from the frames that the teacher has labelled.

        Parameters
        ----------
        campaign, teacher
            The campaign, and its teacher in words.
        dataset, potential
            The dataset of the teacher's labels, and the student that was trained on it.
        members
            Further students, of which failed ones are left out.

        Raises
        ------
        InputError
            If fewer than two members, or no student, succeeded.
        """
        store = current_store()
        with record_provenance(
            seed=self.seed,
            settings=maker_settings(self),
            parents=[dataset.uuid, potential.uuid, *(member.uuid for member in members)],
            packages=("nep-adapters",),
        ) as provenance:
            texts = [
                document["output"]["nep_txt"]
                for _, document in read_summaries(store, members, ["nep_txt"])
                if document is not None
            ]
            (_, student) = next(read_summaries(store, [potential], ["nep_txt", "potential_id"]))
            if student is None or len(texts) < 2:
                raise InputError(
                    f"{len(texts)} of {len(members)} students of the committee were trained, but "
                    "two are needed, and the student itself",
                    hint="rerun the failed trainings: mgflows heal",
                )
            nep_txt = student["output"]["nep_txt"]
            listed = DatasetDocument.model_validate(store.get_output(dataset.uuid, load=True))
            entries: list[DatasetFrame] = []
            frames: list[Atoms] = []
            for _, entry, frame in iterate_frames(store, listed.frames):
                entries.append(entry)
                frames.append(frame.to_atoms(subset=entry.subset, family=entry.family))
            disagreement = _force_differences(nep_txt, frames)
            is_test = np.array([entry.test["family"] for entry in entries])
            test = [frame for frame, held_out in zip(frames, is_test, strict=True) if held_out]
            committee = Committee(tuple(texts)).calibrated(test, potential=nep_txt, seed=self.seed)
            assert committee.calibration is not None
            scale = committee.calibration.scales["force"].value
            uncertainty = scale * committee.predict(frames).force_spread
            n_test = max(1, round(self.test_fraction * self.n_labels))
            chosen: list[int] = []
            for number, side in ((self.n_labels - n_test, ~is_test), (n_test, is_test)):
                where = np.flatnonzero(side)
                selection = select_frames(
                    [frames[index] for index in where],
                    number,
                    committee=committee,
                    potential=nep_txt,
                    further_errors=disagreement[where],
                )
                chosen += [int(where[index]) for index in selection.chosen]
        return TeacherChoiceDocument(
            campaign=campaign,
            teacher=teacher,
            dataset_id=listed.dataset_id,
            potential_id=student["output"]["potential_id"],
            n_members=len(texts),
            n_frames=len(frames),
            disagreement=_root_mean_square(disagreement),
            chosen_disagreement=_root_mean_square(disagreement[chosen]),
            chosen=[
                ChosenFrame(
                    frame_id=entries[index].frame_id,
                    subset=entries[index].subset.removeprefix(TEACHER),
                    family=entries[index].family,
                    is_test=bool(is_test[index]),
                    disagreement=1e3 * float(disagreement[index]),
                    uncertainty=1e3 * float(uncertainty[index]),
                )
                for index in chosen
            ],
            structures=[structure_from_atoms(frames[index]) for index in chosen],
            provenance=provenance,
        )


@dataclass
class ChosenLabelsMaker(StoredMaker):
    """Collect the labels of chosen structures; failed ones are counted.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "collect labels"

    @job(
        output_schema=ChosenLabelsDocument,
        config=JobConfig(
            resolve_references=False, expose_store=True, on_missing_references=OnMissing.NONE
        ),
    )
    def make(
        self, teacher: str, labels: list[OutputReference], held_out_families: list[str]
    ) -> ChosenLabelsDocument:
        """Collect labels.

        Parameters
        ----------
        teacher
            The teacher in words.
        labels
            Outputs of the label jobs.
        held_out_families
            Families that the students were not trained on.
        """
        uuids = [label.uuid for label in labels]
        with record_provenance(settings=maker_settings(self), parents=uuids) as provenance:
            found = list(read_summaries(current_store(), labels, ["fingerprint_digest"]))
        n_labels = sum(document is not None for _, document in found)
        return ChosenLabelsDocument(
            teacher=teacher,
            label_uuids=uuids,
            held_out_families=held_out_families,
            n_labels=n_labels,
            n_failed=len(uuids) - n_labels,
            provenance=provenance,
        )


def _force_differences(nep_txt: str, frames: list[Atoms]) -> NDArray[np.float64]:
    """(n_frames,) root mean square difference of the forces of a potential and the labels, eV/A."""
    predicted = predict(nep_txt, frames)
    return np.array(
        [
            np.sqrt(
                np.mean(
                    (predicted.forces[index] - frame_labels(frame, index, needs_stress=False)[1])
                    ** 2
                )
            )
            for index, frame in enumerate(frames)
        ]
    )


def _root_mean_square(errors: NDArray[np.float64]) -> float:
    return 1e3 * float(np.sqrt(np.mean(errors**2)))
