"""Active learning: rounds of labels that end when the errors meet a target.

Every round evaluates the current potential: a committee is trained on its dataset, melts and
quenches with it give candidates, and the committee, calibrated with the test frames, estimates
their errors. Then the rounds end with a reason, or the most informative candidates are labelled and
the training of the potential continues. Each round is made by the job that evaluated the previous
one, so that a campaign has as many rounds as it needs.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import CURRENT_JOB, Flow, JobConfig, OnMissing, Response, job

from mgflows.errors import InputError
from mgflows.flows.outputs import TrainingOutput
from mgflows.flows.tags import Schedule, set_campaign, tag
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.rounds import RoundInputs, RoundSettings, judge_round
from mgflows.jobs.store import current_store
from mgflows.schemas.active_learning import RoundDocument
from mgflows.schemas.provenance import maker_settings, record_provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Job, OutputReference

    from mgflows.alloy import Alloy
    from mgflows.flows.feedback import FeedbackFlowMaker
    from mgflows.jobs.committee import CommitteeMemberMaker

__all__ = ["ActiveLearningFlowMaker"]

logger = logging.getLogger(__name__)

_STAGE = "feedback"


@dataclass
class ActiveLearningFlowMaker(StoredMaker):
    """Label uncertain configurations in rounds until the errors of the potential meet a target.

    The rounds end when the target is met, the budget of labels is spent, the last round is done,
    or no candidate is uncertain enough. The last potential is always evaluated, so that the reason
    is given with errors.

    Parameters
    ----------
    name
        Name of the flow.
    settings
        Conditions for the end of the rounds, and selection of the labels.
    n_candidates
        Configurations that are taken from each quench as candidates.
    n_members
        Potentials of the committee.
    feedback_maker
        Melts, quenches and labels; that of the campaign by default.
    training_maker
        Trainings of the rounds; by default that of the campaign after the feedback, without
        comparison and acceptance tests, which follow the last round.
    committee_maker
        Trainings of the members; by default with the trainer of the rounds.

    Examples
    --------
    >>> from mgflows import CampaignMaker
    >>> from mgflows.nep import ErrorTarget
    >>> campaign = CampaignMaker(
    ...     selection="committee", target=ErrorTarget(force=60.0), label_budget=200
    ... )
    """

    name: str = "active learning"
    settings: RoundSettings = field(default_factory=RoundSettings)
    n_candidates: int = 32
    n_members: int = 4
    feedback_maker: FeedbackFlowMaker | None = None
    training_maker: TrainingFlowMaker | None = None
    committee_maker: CommitteeMemberMaker | None = None

    def __post_init__(self) -> None:
        for name in ("n_candidates", "n_members"):
            if getattr(self, name) < 2:
                raise InputError(f"{name} is {getattr(self, name)} but must be at least 2")

    def make(
        self,
        alloy: Alloy,
        campaign: str,
        inputs: DatasetInputs,
        trained: TrainingOutput,
        structures: Sequence[OutputReference],
        *,
        scaled_down: str = "",
        gate: str | None = None,
    ) -> Flow:
        """Make a flow whose output is the :class:`RoundDocument` of the last round.

        Parameters
        ----------
        alloy, campaign, scaled_down
            Alloy and name of the campaign, and how it is scaled down.
        inputs
            Inputs of the datasets other than the labels of the rounds.
        trained
            Output of the previous training.
        structures
            References to start structures of the quenches.
        gate
            Uuid of the training whose potential must have passed its acceptance.
        """
        return self._round(
            RoundInputs(
                campaign=campaign,
                alloy=alloy,
                scaled_down=scaled_down,
                number=0,
                potential=trained.potential,
                dataset=trained.dataset,
                members=[],
                quenches={},
                structures=list(structures),
                labels=list(inputs.labels),
                samples=list(inputs.samples),
                clock=inputs.clock,
                held_out_families=list(inputs.held_out_families),
                trajectory_checks=list(inputs.trajectory_checks),
                chosen=list(inputs.chosen),
            ),
            gate=gate,
        )

    def _round(self, inputs: RoundInputs, gate: str | None = None) -> Flow:
        """Make the jobs that evaluate a potential."""
        feedback, committee = self._feedback(inputs.number), self.committee_maker
        if feedback is None or committee is None or self.training_maker is None:
            raise InputError(
                "the rounds have no Makers of quenches, trainings and committee members",
                hint="set selection= of a CampaignMaker, or give all three",
            )
        quenches = feedback.quench_jobs(
            inputs.potential, inputs.structures, gate=gate, prefix=f"round-{inputs.number}-"
        )
        members = []
        for number in range(self.n_members):
            member = committee.make(inputs.dataset, number, self.settings.seed + inputs.number)
            member.name = f"committee {inputs.number} member {number}"
            members.append(tag(member, stage=_STAGE, category="training", gate=gate))
        judged = self.judge(
            replace(
                inputs,
                members=[member.output for member in members],
                quenches={family: quench.output for family, quench in quenches.items()},
            )
        )
        judged.name = f"round {inputs.number}"
        tag(judged, stage=_STAGE, category="sampling", gate=gate, schedule=Schedule(5))
        return Flow(
            [*quenches.values(), *members, judged],
            output=judged.output,
            name=f"{self.name} {inputs.number}",
        )

    @job(
        output_schema=RoundDocument,
        config=JobConfig(
            resolve_references=False,
            expose_store=True,
            on_missing_references=OnMissing.NONE,
            # The jobs of the next round have their own tags and workers.
            pass_manager_config=False,
        ),
    )
    def judge(self, inputs: RoundInputs) -> RoundDocument | Response[RoundDocument]:
        """Evaluate a potential, and end the rounds or make the next one.

        Parameters
        ----------
        inputs
            Inputs of the evaluation; quenches and members that failed are left out.

        Raises
        ------
        InputError
            If fewer than two members, or no quench, succeeded.
        """
        settings = maker_settings(self, number=inputs.number)
        parents = [reference.uuid for reference in (*inputs.members, *inputs.quenches.values())]
        with record_provenance(
            seed=self.settings.seed, settings=settings, parents=parents, packages=("nep-adapters",)
        ) as provenance:
            document = judge_round(self.settings, inputs, current_store(), provenance)
        logger.info("round %d: %s", inputs.number, document.reason)
        if document.passed:
            return document
        following = self._next(inputs, document)
        set_campaign(following, inputs.campaign)
        return Response(output=document, replace=following)

    def _next(self, inputs: RoundInputs, document: RoundDocument) -> Flow:
        """Make the labels that a round selected, the training, and the evaluation of the result."""
        number = inputs.number + 1
        feedback = self._feedback(number)
        assert feedback is not None
        assert self.training_maker is not None
        chosen: defaultdict[str, list[int]] = defaultdict(list)
        for frame in document.selected:
            chosen[frame.family].append(frame.number)
        labels: list[Job] = []
        for family, numbers in chosen.items():
            structures = inputs.quenches[family].structures
            names = [f"{family}-{position:02d}" for position in sorted(numbers)]
            made = feedback.label_jobs(
                [structures[position] for position in sorted(numbers)], names
            )
            labels += [
                feedback.tag_label(label, name, family, priority=len(chosen))
                for name, label in made.items()
            ]
        new = [label.output for label in labels]
        added = [*inputs.added, *new]
        training = self.training_maker.with_scale(inputs.scaled_down).make(
            inputs.alloy,
            inputs.campaign,
            DatasetInputs(
                labels=[*inputs.labels, *added],
                samples=inputs.samples,
                clock=inputs.clock,
                held_out_families=inputs.held_out_families,
                trajectory_checks=inputs.trajectory_checks,
                chosen=inputs.chosen,
            ),
            stage=_STAGE,
            generation=number,
            previous=TrainingOutput(inputs.dataset, inputs.potential),
        )
        judgement = self._round(
            replace(
                inputs,
                number=number,
                potential=training.output.potential,
                dataset=training.output.dataset,
                added=added,
                new=new,
                n_requested=inputs.n_requested + len(document.selected),
            )
        )
        # The next verdict is the next output of this job, so that later jobs refer to the last one.
        present = CURRENT_JOB.job
        last = judgement.jobs[-1]
        last.set_uuid(present.uuid)
        last.index = present.index + 1
        return Flow([*labels, training, judgement], name=f"{self.name} {number}")

    def _feedback(self, number: int) -> FeedbackFlowMaker | None:
        """Return the quenches of a round: more configurations of each, and other seeds."""
        maker = self.feedback_maker
        return maker and replace(
            maker,
            quench_maker=replace(maker.quench_maker, n_frames=self.n_candidates),
            seed=maker.seed + self.settings.seed + 1000 * (number + 1),
        )
