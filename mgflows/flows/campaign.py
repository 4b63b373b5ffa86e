"""The whole method for one alloy: sampling, labels, training, feedback and validation."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Maker

import mgflows
from mgflows.alloy import Alloy
from mgflows.errors import InputError
from mgflows.flows.active_learning import ActiveLearningFlowMaker
from mgflows.flows.campaign_settings import encode_settings, settings_digest
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.tags import all_jobs, set_campaign
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.flows.validation import ValidationFlowMaker
from mgflows.jobs.committee import CommitteeMemberMaker
from mgflows.methods.base import check_species
from mgflows.nep.training.trainer import NepTrainer
from mgflows.schemas.campaign import STAGES, CampaignDocument, check_campaign_name
from mgflows.surrogate import LennardJones
from mgflows.text import listed
from mgflows.validation.suite_settings import FEWEST_ATOMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import OutputReference

    from mgflows.flows.outputs import LabelOutput, SamplingOutput, TrainingOutput
    from mgflows.flows.teacher import TeacherFlowMaker
    from mgflows.jobs.training import TrainingMaker
    from mgflows.methods.base import LabelMethod
    from mgflows.nep.selection import SelectionStrategy
    from mgflows.nep.targets import ErrorTarget

__all__ = ["CampaignMaker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labelled:
    """The label stage of a campaign: its flow, the inputs of a dataset, and all labels."""

    flow: Flow
    labels: LabelOutput
    inputs: DatasetInputs
    everything: list[OutputReference]
    student: OutputReference | None = None


@dataclass
class CampaignMaker(Maker):
    """One campaign: a flow of jobs that ends with a validated potential.

    The flow is static: every job is known when it is made, and structures that do not exist yet are
    references. It runs with jobflow's ``run_locally``, and as FireWorks workflows after
    :func:`mgflows.launch.to_workflows`.

    Parameters
    ----------
    name
        Name of the campaign, unique in a database; the alloy's name by default.
    alloy
        The alloy.
    sampling_maker, label_maker, training_maker
        The first three stages.
    feedback_maker, retraining_maker
        The feedback stage and the training after it; without a feedback maker the campaign has
        one training.
    validation_maker
        The last stage; None leaves it out.
    selection
        Label uncertain configurations in rounds, instead of a fixed number of configurations
        (:class:`~mgflows.flows.active_learning.ActiveLearningFlowMaker`): ``"committee"``, or
        ``"farthest"`` and ``"random"`` for comparison. None: the paper's single feedback stage.
    target, label_budget, maximum_rounds
        Conditions for the end of these rounds: target errors, largest numbers of labels and rounds
        (:class:`~mgflows.jobs.rounds.RoundSettings`). The training and the validation after them
        are the same as after a feedback stage.
    active_learning_maker
        Settings of the rounds that differ from the defaults.
    teacher
        A cheap model that labels everything first. The method of the campaign labels only
        structures for which students of the teacher are uncertain or differ from it
        (:class:`~mgflows.flows.teacher.TeacherFlowMaker`).
    crystals_from_start
        Whether the first training includes the crystals, as in the paper. A short training with
        :class:`~mgflows.nep.trainers.NeppoTrainer` is better without
        (docs/how_to/training.md); they join with the feedback.
    continue_with_failed_potential
        Whether the feedback stage starts with a potential that failed its acceptance
        (:class:`~mgflows.jobs.training.TrainingMaker`). Otherwise the campaign stops there, and
        ``mgflows status`` shows the reason; ``mgflows advance CAMPAIGN --accept-gate`` continues.
        jobflow's ``run_locally`` has no gates: the verdict is stored and all jobs run.
    minimum_fraction
        Smallest fraction of upstream jobs that must have succeeded for a dataset or a validation to
        proceed without the failed ones; :func:`mgflows.launch.advance` stops otherwise.
    scale
        Name of the scale, for reports.
    scaled_down
        How the campaign is smaller than the paper's, stored with the campaign and its
        potentials; empty if it is not.

    Examples
    --------
    >>> from mgflows import Alloy, CampaignMaker
    >>> flow = CampaignMaker(alloy=Alloy.cuzral()).make()  # doctest: +SKIP
    """

    name: str = ""
    alloy: Alloy = field(default_factory=Alloy.cuzral)
    sampling_maker: SamplingFlowMaker = field(default_factory=SamplingFlowMaker)
    label_maker: LabelFlowMaker = field(default_factory=LabelFlowMaker)
    training_maker: TrainingFlowMaker = field(default_factory=TrainingFlowMaker)
    feedback_maker: FeedbackFlowMaker | None = field(default_factory=FeedbackFlowMaker)
    retraining_maker: TrainingFlowMaker = field(default_factory=TrainingFlowMaker)
    validation_maker: ValidationFlowMaker | None = field(default_factory=ValidationFlowMaker)
    selection: SelectionStrategy | None = None
    target: ErrorTarget | None = None
    label_budget: int | None = None
    maximum_rounds: int | None = None
    active_learning_maker: ActiveLearningFlowMaker | None = None
    teacher: TeacherFlowMaker | None = None
    crystals_from_start: bool = True
    continue_with_failed_potential: bool = False
    minimum_fraction: float = 0.5
    scale: str = "custom"
    scaled_down: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.alloy.name
        limits = ("target", "label_budget", "maximum_rounds")
        given = [name for name in limits if getattr(self, name) is not None]
        if self.selection is None and given:
            raise InputError(
                f"{listed(given)} of the campaign {self.name} end rounds of active learning, but "
                "it has none",
                hint='give selection="committee" as well',
            )
        if self.feedback_maker is None and (self.selection or self.active_learning_maker):
            raise InputError(
                f"the campaign {self.name} selects labels in rounds but has no feedback_maker, "
                "which makes the candidates",
                hint="give one",
            )

    def make(self) -> Flow:
        """Make the flow.

        Its output has ``dataset``, ``potential``, ``comparison`` and ``validation``.

        Raises
        ------
        InputError
            If the alloy, its box or a setting cannot work; nothing has run then.
        """
        check_campaign_name(self.name)
        self._check_box()
        self._check_methods()

        sampling = self.sampling_maker.make(self.alloy)
        glasses: SamplingOutput = sampling.output
        labelled = self._label(glasses)
        training = self._training(self.training_maker).make(
            self.alloy, self.name, labelled.inputs, start=labelled.student
        )
        flows, trained = [sampling, labelled.flow, training], training.output
        gate = None
        if self.feedback_maker:
            # The paper starts from relaxed glasses (section II, step ii); without any, from the
            # samples.
            starts = labelled.labels.relaxed or glasses.samples
            if (
                self.training_maker.training_maker.acceptance is not None
                and not self.continue_with_failed_potential
            ):
                gate = trained.potential.uuid
            structures = [start.structure for start in starts.values()]
            inputs = replace(labelled.inputs, labels=labelled.everything, clock=glasses.clock)
            fed_back, trained, gate = self._feed_back(inputs, trained, structures, gate)
            flows += fed_back
        output = {
            "dataset": trained.dataset,
            "potential": trained.potential,
            "comparison": trained.comparison,
        }
        if self.validation_maker:
            validation = self.validation_maker.make(
                trained.potential, labelled.labels.relaxed, glasses.n_sweeps, gate=gate
            )
            flows.append(validation)
            output["validation"] = validation.output
        flow = Flow(flows, output=output, name=self.name)
        set_campaign(flow, self.name)
        return flow

    def _label(self, glasses: SamplingOutput) -> _Labelled:
        """Make the label stage, of the teacher where there is one."""
        if self.teacher is not None:
            flow = self._taught.make(
                self.alloy,
                self.name,
                glasses,
                self.label_maker,
                _without_tests(self._training(self.training_maker)),
            )
            labels: LabelOutput = flow.output.labels
            inputs = DatasetInputs(
                labels=[],
                samples=list(glasses.samples.values()),
                held_out_families=labels.held_out_families,
                chosen=[flow.output.chosen],
            )
            return _Labelled(flow, labels, inputs, [], student=flow.output.student)
        flow = self.label_maker.make(self.alloy, glasses.samples, glasses.n_sweeps)
        labels = flow.output
        everything = [*labels.labels, *labels.crystal_labels]
        inputs = DatasetInputs(
            labels=labels.labels if self._crystals_join_later else everything,
            samples=list(glasses.samples.values()),
            held_out_families=labels.held_out_families,
            trajectory_checks=labels.trajectory_checks,
        )
        return _Labelled(flow, labels, inputs, everything)

    def _feed_back(
        self,
        inputs: DatasetInputs,
        trained: TrainingOutput,
        structures: list[OutputReference],
        gate: str | None,
    ) -> tuple[list[Flow], TrainingOutput, str | None]:
        """Make the feedback or the rounds of active learning, and the training that follows.

        Return the flows, the output of that training and the gate of the stages after it.
        """
        assert self.feedback_maker is not None
        rounds = self.rounds_maker
        if rounds is not None:
            feedback = rounds.make(
                self.alloy,
                self.name,
                inputs,
                trained,
                structures,
                scaled_down=self.scaled_down,
                gate=gate,
            )
            inputs = replace(inputs, chosen=[*inputs.chosen, feedback.output])
            # The training starts from the last round's potential, after the end of the rounds.
            trained = replace(trained, potential=feedback.output)
            gate = feedback.output.uuid
            generation = rounds.settings.maximum_rounds + 1
        else:
            feedback = self.feedback_maker.make(trained.potential, structures, gate=gate)
            inputs = replace(inputs, labels=[*inputs.labels, *feedback.output.labels.values()])
            generation = 1
        retraining = self._training(self.retraining_maker).make(
            self.alloy,
            self.name,
            inputs,
            stage="feedback",
            generation=generation,
            previous=trained,
            gate=gate,
        )
        return [feedback, retraining], retraining.output, gate

    @property
    def _taught(self) -> TeacherFlowMaker:
        """The teacher's stage with the settings of the campaign."""
        assert self.teacher is not None
        return replace(
            self.teacher,
            label_maker=self.label_maker.label_maker,
            committee_maker=self.teacher.committee_maker
            or _committee_of(self.training_maker.training_maker),
        )

    def _training(self, maker: TrainingFlowMaker) -> TrainingFlowMaker:
        """A training whose potentials name the teacher and the scale of the campaign."""
        maker = maker.with_scale(self.scaled_down)
        if self.teacher is None:
            return maker
        teacher = self.teacher.description
        return replace(
            maker,
            training_maker=replace(maker.training_maker, teacher=teacher),
            comparison_maker=maker.comparison_maker
            and replace(maker.comparison_maker, teacher=teacher),
        )

    @property
    def rounds_maker(self) -> ActiveLearningFlowMaker | None:
        """The rounds of active learning with the campaign's settings; None if there are none."""
        if self.selection is None and self.active_learning_maker is None:
            return None
        maker = self.active_learning_maker or ActiveLearningFlowMaker()
        names = ("selection", "target", "label_budget", "maximum_rounds")
        given: dict[str, Any] = {
            name: getattr(self, name) for name in names if getattr(self, name) is not None
        }
        training = maker.training_maker or _without_tests(self._training(self.retraining_maker))
        return replace(
            maker,
            settings=replace(maker.settings, **given),
            feedback_maker=maker.feedback_maker or self.feedback_maker,
            training_maker=training,
            committee_maker=maker.committee_maker or _committee_of(training.training_maker),
        )

    def labelled_by(self, method: LabelMethod) -> CampaignMaker:
        """Return the same campaign with all labels by one method.

        See :meth:`mgflows.flows.labels.LabelFlowMaker.labelled_by`.

        Examples
        --------
        >>> from mgflows import CampaignMaker
        >>> from mgflows.methods.vasp.method import VaspMethod
        >>> campaign = CampaignMaker().labelled_by(VaspMethod(incar={"NCORE": 8}, n_cores=64))
        """
        labels = self.label_maker.labelled_by(method)
        feedback = self.feedback_maker and replace(
            self.feedback_maker, label_maker=labels.label_maker, label_sets=labels.label_sets
        )
        rounds = self.active_learning_maker
        if rounds is not None and rounds.feedback_maker is not None:
            rounds = replace(
                rounds,
                feedback_maker=replace(
                    rounds.feedback_maker,
                    label_maker=labels.label_maker,
                    label_sets=labels.label_sets,
                ),
            )
        # A density functional is too slow for tests that take seconds.
        reference = method if labels.label_sets else None
        training, retraining = (
            _accepted_with(maker, reference)
            for maker in (self.training_maker, self.retraining_maker)
        )
        return replace(
            self,
            label_maker=labels,
            feedback_maker=feedback,
            active_learning_maker=rounds,
            training_maker=training,
            retraining_maker=retraining,
        )

    def for_alloys(self, alloys: Sequence[Alloy]) -> list[CampaignMaker]:
        """Return the same campaign for several alloys, named after this one and the alloy.

        :func:`mgflows.launch.submit_campaign` takes the list.

        Examples
        --------
        >>> from mgflows import Alloy, CampaignMaker
        >>> alloys = [
        ...     Alloy({"Cu": x, "Zr": 0.92 - x, "Al": 0.08}, n_atoms=150, number_density=0.0694)
        ...     for x in (0.36, 0.46, 0.56)
        ... ]
        >>> makers = CampaignMaker(name="series").for_alloys(alloys)  # doctest: +SKIP
        """
        names = [alloy.name for alloy in alloys]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(
                f"the alloys {', '.join(repeated)} are given more than once",
                hint="give each composition once",
            )
        return [replace(self, alloy=alloy, name=f"{self.name}-{alloy.name}") for alloy in alloys]

    def document(self, flow: Flow) -> CampaignDocument:
        """Return the document that is stored when the flow is submitted."""
        method = self._method
        settings = encode_settings(self)
        planned = Counter(job.metadata["mgflows"]["stage"] for job in all_jobs(flow))
        return CampaignDocument(
            campaign=self.name,
            alloy=self.alloy,
            method=self.label_maker.label_maker.name if method is None else method.description,
            fingerprint=None if method is None else method.fingerprint(self.alloy.species),
            settings=settings,
            settings_digest=settings_digest(settings),
            scale=self.scale,
            scaled_down=self.scaled_down,
            teacher="" if self.teacher is None else self.teacher.description,
            planned={stage: planned[stage] for stage in STAGES if stage in planned},
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            mgflows_version=mgflows.__version__,
        )

    @property
    def _crystals_join_later(self) -> bool:
        return self.feedback_maker is not None and not self.crystals_from_start

    @property
    def _method(self) -> LabelMethod | None:
        """The method of the labels; a label Maker of another code may have none."""
        return getattr(self.label_maker.label_maker, "method", None)

    @property
    def _label_maker_of_rounds(self) -> Maker | None:
        rounds = self.active_learning_maker
        return rounds.feedback_maker.label_maker if rounds and rounds.feedback_maker else None

    def _check_methods(self) -> None:
        """Require one method for all labels, which can label the elements of the alloy.

        A dataset would refuse another method, but only after all labels have run.
        """
        makers = {
            "label_maker.label_maker": self.label_maker.label_maker,
            "label_maker.relax_maker": self.label_maker.relax_maker,
            "label_maker.heating_maker": self.label_maker.heating_maker
            if self.label_maker.relax_maker
            else None,
            "feedback_maker.label_maker": self.feedback_maker.label_maker
            if self.feedback_maker
            else None,
            "active_learning_maker.feedback_maker.label_maker": self._label_maker_of_rounds,
        }
        used = {name: getattr(maker, "method", None) for name, maker in makers.items()}
        if self.validation_maker:
            used["validation_maker.validation_maker"] = (
                self.validation_maker.validation_maker.reference
            )
        for name, method in used.items():
            if method is not None:
                try:
                    check_species(method, self.alloy.species)
                except InputError as error:
                    raise InputError(
                        f"{name} of campaign {self.name}: {error.message}", hint=error.hint
                    ) from error
        if self.teacher is not None:
            self._check_teacher(self.teacher.method)
        methods = {
            name: getattr(maker, "method", None) and maker.method.fingerprint(self.alloy.species)
            for name, maker in makers.items()
            if maker
        }

        def words(name: str) -> str:
            found = methods[name]
            return (
                f"{name} labels with {found.description if found else type(makers[name]).__name__}"
            )

        first, *others = methods
        for name in others:
            one, other = methods[first], methods[name]
            found = one.differences(other) if one and other else []
            if found or (one is None) != (other is None):
                differences = f" ({'; '.join(found)})" if found else ""
                raise InputError(
                    f"{words(first)} but {words(name)}{differences}, and a dataset takes labels of "
                    "one method only",
                    hint="give both the same method",
                )

    def _check_teacher(self, teacher: LabelMethod | None) -> None:
        if teacher is None:
            raise InputError(
                f"the teacher of campaign {self.name} has no method",
                hint="give a cheap one: TeacherFlowMaker(method=...)",
            )
        check_species(teacher, self.alloy.species)
        species = self.alloy.species
        own = self._method
        if own and not own.fingerprint(species).differences(teacher.fingerprint(species)):
            raise InputError(
                f"the teacher of campaign {self.name} is the method of the campaign itself "
                f"({teacher.description})",
                hint="give a cheaper teacher, or none",
            )

    def _check_box(self) -> None:
        given = self.sampling_maker.monte_carlo_maker.lennard_jones
        surrogate = given or LennardJones.for_species(self.alloy.species)
        note = surrogate.check_box(self.alloy)
        if note is not None:
            logger.warning("%s: %s", self.name, note)
        if self.validation_maker and self.alloy.n_atoms < FEWEST_ATOMS:
            raise InputError(
                f"the samples of campaign {self.name} have {self.alloy.n_atoms} atoms, and a "
                f"validation needs {FEWEST_ATOMS}",
                hint="take larger samples, or validation_maker=None",
            )


def _without_tests(maker: TrainingFlowMaker) -> TrainingFlowMaker:
    """A training whose potential is used in the next step only."""
    return replace(
        maker,
        training_maker=replace(maker.training_maker, acceptance=None, reference=None),
        comparison_maker=None,
    )


def _committee_of(maker: TrainingMaker) -> CommitteeMemberMaker:
    """Committee members like the potentials of a training."""
    committee = CommitteeMemberMaker(parameters=maker.parameters)
    if isinstance(maker.trainer, NepTrainer):
        return replace(committee, trainer=maker.trainer)
    return committee


def _accepted_with(maker: TrainingFlowMaker, reference: LabelMethod | None) -> TrainingFlowMaker:
    """The trainings of a stage with a method that their acceptance compares with."""
    comparison = maker.comparison_maker
    return replace(
        maker,
        training_maker=replace(maker.training_maker, reference=reference),
        comparison_maker=comparison
        and replace(comparison, reference=reference if comparison.acceptance else None),
    )
