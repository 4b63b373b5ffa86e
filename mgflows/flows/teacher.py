"""A teacher: a cheap model that labels everything first, so that few labels of the method remain.

The teacher, such as a NEP of a foundation model, an embedded-atom potential or any ASE calculator,
relaxes, heats and labels the samples. Students are trained on its labels. The method of the
campaign then labels the structures for which the students are uncertain or differ from the teacher.
The training of the student continues with these labels only: labels of two methods never mix in a
dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import CURRENT_JOB, Flow, JobConfig, Maker, Response, job
from monty.json import MSONable

from mgflows.errors import InputError
from mgflows.flows.tags import all_jobs, set_campaign, tag
from mgflows.flows.training import DatasetInputs
from mgflows.jobs.committee import CommitteeMemberMaker
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.store import current_store, read_summaries
from mgflows.jobs.teacher import ChosenLabelsMaker, TeacherChoiceMaker
from mgflows.nep.training.trainer import NepTrainer
from mgflows.schemas.teacher import TEACHER, ChosenFrame, ChosenLabelsDocument

if TYPE_CHECKING:
    from jobflow import OutputReference

    from mgflows.alloy import Alloy
    from mgflows.flows.labels import LabelFlowMaker
    from mgflows.flows.outputs import LabelOutput, SamplingOutput
    from mgflows.flows.training import TrainingFlowMaker
    from mgflows.methods.base import LabelMethod

__all__ = ["TEACHER_PREFIX", "TeacherFlowMaker", "TeacherOutput"]

TEACHER_PREFIX = "teacher: "
"""Beginning of the names of a teacher's jobs."""

_STAGE = "labels"


@dataclass(frozen=True)
class TeacherOutput(MSONable):
    """Output of the teacher's stage.

    Parameters
    ----------
    labels
        The teacher's labels: relaxed samples and held-out families are used further.
    student
        The potential that was trained on them.
    chosen
        The :class:`~mgflows.schemas.teacher.ChosenLabelsDocument` of the labels that replace the
        teacher's.
    """

    labels: LabelOutput
    student: OutputReference
    chosen: OutputReference


@dataclass
class TeacherFlowMaker(StoredMaker):
    """Label with a teacher, and choose structures for the method of the campaign to label again.

    Parameters
    ----------
    method
        The teacher, such as ``AseMethod(calculator="module.function")`` or one of a ``nep.txt``.
    name
        Name of the flow.
    choice_maker
        Chooses the structures whose labels are replaced, and how many.
    n_members
        Students of the committee.
    committee_maker
        Their training; by default with the trainer of the campaign.
    label_maker
        The label of the campaign's method for one structure; the campaign sets it.

    Examples
    --------
    >>> from mgflows import CampaignMaker
    >>> from mgflows.flows.teacher import TeacherFlowMaker
    >>> from mgflows.methods.ase import AseMethod
    >>> from mgflows.methods.gpaw import GpawMethod
    >>> teacher = TeacherFlowMaker(method=AseMethod.stand_in())
    >>> campaign = CampaignMaker(teacher=teacher).labelled_by(GpawMethod())
    """

    method: LabelMethod | None = None
    name: str = "teacher"
    choice_maker: TeacherChoiceMaker = field(default_factory=TeacherChoiceMaker)
    n_members: int = 4
    committee_maker: CommitteeMemberMaker | None = None
    label_maker: Maker | None = None

    @property
    def description(self) -> str:
        """The teacher in words."""
        return "" if self.method is None else self.method.description

    def make(
        self,
        alloy: Alloy,
        campaign: str,
        glasses: SamplingOutput,
        label_maker: LabelFlowMaker,
        training_maker: TrainingFlowMaker,
    ) -> Flow:
        """Make a flow whose output is a :class:`TeacherOutput`.

        Parameters
        ----------
        alloy, campaign
            Alloy and name of the campaign.
        glasses
            Output of the sampling.
        label_maker
            The label stage of the campaign, whose method is replaced by the teacher.
        training_maker
            Training of the student.
        """
        assert self.method is not None
        taught = replace(label_maker.labelled_by(self.method), fitness_maker=None)
        labelling = taught.make(alloy, glasses.samples, glasses.n_sweeps)
        labels: LabelOutput = labelling.output
        # The subset names the teacher wherever these frames are listed.
        for each in all_jobs(labelling):
            tags = each.metadata["mgflows"]
            if "subset" in tags:
                tags["subset"] = f"{TEACHER}{tags['subset']}"
            each.name = f"{TEACHER_PREFIX}{each.name}"
        training = _with_free_zero(training_maker).make(
            alloy,
            campaign,
            DatasetInputs(
                labels=[*labels.labels, *labels.crystal_labels],
                samples=list(glasses.samples.values()),
                held_out_families=labels.held_out_families,
                trajectory_checks=labels.trajectory_checks,
            ),
            stage=_STAGE,
            generation=-1,
        )
        for each in all_jobs(training):
            each.name = f"{TEACHER_PREFIX}{each.name.removesuffix(' -1')}"
        trained = training.output
        used = training_maker.training_maker
        committee = self.committee_maker or CommitteeMemberMaker(parameters=used.parameters)
        members = []
        for number in range(self.n_members):
            member = committee.make(trained.dataset, number, self.choice_maker.seed)
            member.name = f"{TEACHER_PREFIX}student {number}"
            members.append(tag(member, stage=_STAGE, category="training"))
        choice = self.choice_maker.make(
            campaign,
            self.description,
            trained.dataset,
            trained.potential,
            [member.output for member in members],
        )
        tag(choice, stage=_STAGE, category="sampling")
        chosen = self.label(choice.output, campaign)
        chosen.name = "label what was chosen"
        tag(chosen, stage=_STAGE, category="sampling")
        return Flow(
            [labelling, training, *members, choice, chosen],
            output=TeacherOutput(labels, trained.potential, chosen.output),
            name=self.name,
        )

    @job(
        output_schema=ChosenLabelsDocument,
        # The label jobs have their own tags and workers.
        config=JobConfig(resolve_references=False, expose_store=True, pass_manager_config=False),
    )
    def label(self, choice: OutputReference, campaign: str) -> Response[ChosenLabelsDocument]:
        """Make the label jobs of the chosen structures.

        Parameters
        ----------
        choice
            Reference to the :class:`~mgflows.schemas.teacher.TeacherChoiceDocument`.
        campaign
            Name of the campaign.
        """
        assert self.label_maker is not None
        (_, document) = next(read_summaries(current_store(), [choice], ["chosen", "teacher"]))
        if document is None:
            raise InputError(
                "the choice of the labels is not in the database",
                hint="compute it again with: mgflows heal --yes",
            )
        chosen = [ChosenFrame.model_validate(each) for each in document["output"]["chosen"]]
        labels = []
        for number, frame in enumerate(chosen):
            label = self.label_maker.make(choice.structures[number])
            label.name = f"label chosen {number:03d}"
            labels.append(
                tag(
                    label,
                    stage=_STAGE,
                    category="dft",
                    subset=frame.subset,
                    family=frame.family,
                    after_failure=True,
                )
            )
        collected = ChosenLabelsMaker().make(
            document["output"]["teacher"],
            [label.output for label in labels],
            sorted({frame.family for frame in chosen if frame.is_test}),
        )
        tag(collected, stage=_STAGE, category="sampling")
        present = CURRENT_JOB.job
        collected.set_uuid(present.uuid)
        collected.index = present.index + 1
        following = Flow([*labels, collected], name="chosen labels")
        set_campaign(following, campaign)
        return Response(replace=following)


def _with_free_zero(maker: TrainingFlowMaker) -> TrainingFlowMaker:
    """Give the student the energies of the elements in a neuron of its own.

    The labels of the campaign's method, with which it is trained further, may have another zero for
    each element, as those of CP2K and Quantum ESPRESSO have.
    """
    training = maker.training_maker
    trainer = training.trainer
    if not isinstance(trainer, NepTrainer) or trainer.settings.energy_reference is not None:
        return maker
    settings = replace(trainer.settings, energy_reference=True)
    return replace(
        maker, training_maker=replace(training, trainer=replace(trainer, settings=settings))
    )
