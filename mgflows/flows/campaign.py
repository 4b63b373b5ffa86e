"""The whole method for one alloy: sampling, labels, training, feedback and validation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobflow import Flow, Maker
from monty.json import MontyEncoder

import mgflows
from mgflows.alloy import Alloy
from mgflows.errors import InputError
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.tags import all_jobs, set_campaign
from mgflows.flows.training import TrainingFlowMaker
from mgflows.flows.validation import ValidationFlowMaker
from mgflows.methods.base import check_species
from mgflows.schemas.campaign import STAGES, CampaignDocument
from mgflows.surrogate import LennardJones

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.methods.base import LabelMethod

__all__ = ["CampaignMaker"]

logger = logging.getLogger(__name__)


@dataclass
class CampaignMaker(Maker):
    """One campaign: a flow of jobs that ends with a validated potential.

    The flow is static: every job is known when it is made, and structures that do not exist yet are references. It runs under jobflow's
    ``run_locally`` as it is, and as a FireWorks workflow after :func:`mgflows.launch.to_workflows`.

    Parameters
    ----------
    name
        Name of the campaign, unique in a database; the alloy's name by default.
    alloy
        The alloy.
    sampling_maker, label_maker, training_maker
        The first three stages.
    feedback_maker, retraining_maker
        The feedback stage and the training after it; without a feedback maker the campaign has one training.
    validation_maker
        The last stage; None leaves it out.
    crystals_from_start
        Whether the first training has the crystals too, as in the paper. With few training steps it is better without: the crystals at +-10 % then
        hide the glass (docs/training.md), and they join with the feedback.
    minimum_fraction
        A dataset, or a validation, goes on without failed jobs if at least this fraction of those before it is there; :func:`mgflows.launch.advance`
        stops otherwise.
    scale
        Name of the scale, for reports.
    scaled_down
        In which way the campaign is smaller than the paper's; it goes into every document it concerns. Empty if it is not.

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
    crystals_from_start: bool = True
    minimum_fraction: float = 0.5
    scale: str = "custom"
    scaled_down: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.alloy.name

    def make(self) -> Flow:
        """The flow; its output has ``dataset``, ``potential``, ``comparison`` and ``validation`` as far as they are part of it.

        Raises
        ------
        InputError
            If the alloy, its box or a setting cannot work; nothing has run then.
        """
        self._check_box()
        self._check_methods()

        sampling = self.sampling_maker.make(self.alloy)
        families, samples, clock = (
            sampling.output[key] for key in ("families", "samples", "clock")
        )
        labels = self.label_maker.make(
            self.alloy, families, samples, n_sweeps=sampling.output["n_sweeps"]
        )
        collected = {
            "samples": samples,
            "held_out_families": labels.output["held_out_families"],
            "trajectory_checks": labels.output["trajectory_checks"],
            "scaled_down": self.scaled_down,
        }
        everything = [*labels.output["labels"], *labels.output["crystal_labels"]]
        first = (
            everything
            if self.crystals_from_start or not self.feedback_maker
            else labels.output["labels"]
        )
        training = self.training_maker.make(
            self.alloy,
            self.name,
            stage="training",
            generation=0,
            labels=first,
            clock=None,
            **collected,
        )
        flows, last = [sampling, labels, training], training
        if self.feedback_maker:
            # The paper starts from relaxed glasses (section II, step ii); without any, from the samples.
            starts = list(labels.output["relaxed"].values()) or samples
            feedback = self.feedback_maker.make(
                training.output["potential"], [start.structure for start in starts]
            )
            last = self.retraining_maker.make(
                self.alloy,
                self.name,
                stage="feedback",
                generation=1,
                labels=[*everything, *feedback.output["labels"]],
                clock=clock,
                previous_dataset=training.output["dataset"],
                previous_potential=training.output["potential"],
                previous_comparison=training.output["comparison"],
                **collected,
            )
            flows += [feedback, last]
        output = {
            "dataset": last.output["dataset"],
            "potential": last.output["potential"],
            "comparison": last.output["comparison"],
        }
        if self.validation_maker:
            validation = self.validation_maker.make(
                potential=last.output["potential"],
                samples=dict(zip(families, samples, strict=True)),
                single_points=labels.output["single_points"],
                relaxed=labels.output["relaxed"],
                n_sweeps=sampling.output["n_sweeps"],
            )
            flows.append(validation)
            output["validation"] = validation.output
        flow = Flow(flows, output=output, name=self.name)
        set_campaign(flow, self.name)
        return flow

    def labelled_by(self, method: LabelMethod) -> CampaignMaker:
        """The same campaign with all labels by one method; see :meth:`mgflows.flows.labels.LabelFlowMaker.labelled_by`.

        Examples
        --------
        >>> from mgflows import CampaignMaker
        >>> from mgflows.methods.vasp.method import VaspMethod
        >>> campaign = CampaignMaker().labelled_by(VaspMethod(incar={"NCORE": 8}, n_cores=64))
        """
        labels = self.label_maker.labelled_by(method)
        feedback = self.feedback_maker and replace(
            self.feedback_maker, label_maker=labels.label_maker
        )
        return replace(self, label_maker=labels, feedback_maker=feedback)

    def for_alloys(self, alloys: Sequence[Alloy]) -> list[CampaignMaker]:
        """The same campaign for each of several alloys, named after this one and the alloy; :func:`mgflows.launch.submit_campaign` takes the list.

        Examples
        --------
        >>> from mgflows import Alloy, CampaignMaker
        >>> alloys = [Alloy({"Cu": x, "Zr": 0.92 - x, "Al": 0.08}, n_atoms=150, number_density=0.0694) for x in (0.36, 0.46, 0.56)]
        >>> makers = CampaignMaker(name="series").for_alloys(alloys)  # doctest: +SKIP
        """
        names = [alloy.name for alloy in alloys]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(
                f"the alloys {', '.join(repeated)} are given more than once; give each composition once"
            )
        return [replace(self, alloy=alloy, name=f"{self.name}-{alloy.name}") for alloy in alloys]

    def document(self, flow: Flow) -> CampaignDocument:
        """What is stored about the campaign when its flow is submitted."""
        settings = json.loads(json.dumps(self, cls=MontyEncoder))
        digest = hashlib.sha256(
            json.dumps(_without_versions(settings), sort_keys=True).encode()
        ).hexdigest()[:16]
        planned = Counter(job.metadata["mgflows"]["stage"] for job in all_jobs(flow))
        return CampaignDocument(
            campaign=self.name,
            alloy=settings["alloy"],
            method=self._method.description
            if self._method is not None
            else self.label_maker.label_maker.name,
            settings=settings,
            settings_digest=digest,
            scale=self.scale,
            scaled_down=self.scaled_down,
            planned={stage: planned[stage] for stage in STAGES if stage in planned},
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            mgflows_version=mgflows.__version__,
        )

    @property
    def _method(self) -> LabelMethod | None:
        """The method of the labels; a label Maker of another code may have none, and checks itself when it runs."""
        return getattr(self.label_maker.label_maker, "method", None)

    def _check_methods(self) -> None:
        """One method for all labels, which can label the elements of the alloy.

        A dataset would refuse another method, but only after all labels are paid for.
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
                    f"{words(first)} but {words(name)}{differences}, and a dataset takes labels of one method only; give both the same one"
                )

    def _check_box(self) -> None:
        given = self.sampling_maker.monte_carlo_maker.lennard_jones
        surrogate = given or LennardJones.for_species(self.alloy.species)
        note = surrogate.check_box(self.alloy)
        if note is not None:
            logger.warning("%s: %s", self.name, note)


def _without_versions(value: object) -> object:
    """The same nested value without monty's version stamps and without what is not set: a new version of a package is not another campaign."""
    if isinstance(value, dict):
        return {
            key: _without_versions(member)
            for key, member in value.items()
            if key != "@version" and member is not None
        }
    if isinstance(value, list):
        return [_without_versions(member) for member in value]
    return value
