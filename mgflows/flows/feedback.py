"""The feedback stage: new glasses made with the trained potential, and their labels.

Paper, section II, subset vii.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jobflow import Flow, Maker

from mgflows.errors import InputError
from mgflows.flows.outputs import FeedbackOutput
from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.labels import AseLabelMaker, LabelsSets
from mgflows.jobs.quench import QuenchMaker
from mgflows.md.exchanges import ExchangeSettings
from mgflows.md.protocols import check_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobflow import Job, OutputReference

__all__ = ["FeedbackFlowMaker"]


@dataclass
class FeedbackFlowMaker(Maker):
    """Melt and quench glasses with the trained potential and label configurations along the way.

    The number of configurations per quench is ``n_frames`` of the quench Maker: 16 by default; 1
    labels the final glass only, as in the paper. Configurations outside the Maker's limits are
    refused before they are labelled. A quench that evaporates or does not end in a glass fails with
    the reason, and none of its configurations is labelled
    (:func:`mgflows.md.quench.check_glass`).

    Parameters
    ----------
    name
        Name of the flow.
    quench_maker, label_maker
        Makers of the jobs.
    cooling_rates
        K/ps; the paper's 1000, 100 and 10 K/ns are 1, 0.1 and 0.01 K/ps.
    n_glasses
        Glasses for each rate.
    sampler
        ``"md"`` quenches by molecular dynamics, as in the paper; ``"swap"`` with Monte Carlo
        exchanges of unlike atoms between its steps
        (:class:`~mgflows.md.exchanges.ExchangeSettings`, its defaults unless ``quench_maker`` has
        others), for deeper glasses at the same rates.
    label_sets
        Label all configurations of a quench in one job, as in
        :class:`~mgflows.flows.labels.LabelFlowMaker`.
    resources
        Resources of the labels that differ from the queue file of their category, as in
        :class:`~mgflows.flows.labels.LabelFlowMaker` for kind ``"static"``.
    seed
        Seed from which every quench gets its own.
    """

    name: str = "feedback"
    quench_maker: QuenchMaker = field(default_factory=QuenchMaker)
    label_maker: Maker = field(default_factory=AseLabelMaker)
    cooling_rates: tuple[float, ...] = (1.0, 0.1, 0.01)
    n_glasses: int = 1
    sampler: Literal["md", "swap"] = "md"
    label_sets: bool = True
    resources: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in ("md", "swap"):
            raise InputError(
                f"the sampler {self.sampler!r} of the feedback is unknown",
                hint="choose md or swap",
            )
        for rate in self.cooling_rates:
            check_rate(rate)

    def make(
        self,
        potential: OutputReference,
        structures: Sequence[OutputReference],
        *,
        gate: str | None = None,
        existing: Mapping[float, int] | None = None,
    ) -> Flow:
        """Make a flow whose output is a :class:`~mgflows.flows.outputs.FeedbackOutput`.

        Parameters
        ----------
        potential
            Reference to the :class:`~mgflows.schemas.training.PotentialDocument`.
        structures
            References to start structures, used in turn; each quench melts its own.
        gate
            Uuid of the training whose potential must have passed its acceptance.
        existing
            Cooling rate to the number of glasses already in the campaign; new ones are
            numbered after them.
        """
        jobs: list[Job] = []
        labels: dict[str, OutputReference] = {}
        quenches = self.quench_jobs(potential, structures, gate=gate, existing=existing)
        for family, quench in quenches.items():
            jobs.append(quench)
            for name, label in self._labels(quench.output, family).items():
                jobs.append(self.tag_label(label, name, family, len(quenches), gate))
                labels[name] = label.output
        outputs = {family: quench.output for family, quench in quenches.items()}
        return Flow(jobs, output=FeedbackOutput(labels, outputs), name=self.name)

    def quench_jobs(
        self,
        potential: OutputReference,
        structures: Sequence[OutputReference],
        *,
        gate: str | None = None,
        existing: Mapping[float, int] | None = None,
        prefix: str = "",
    ) -> dict[str, Job]:
        """Make only the quenches, by family; the slowest starts first.

        Parameters
        ----------
        potential, structures, gate, existing
            As for :meth:`make`.
        prefix
            Beginning of the names of the families.
        """
        first = existing or {}
        runs = [
            (rate, first.get(rate, 0) + number)
            for rate in sorted(self.cooling_rates)
            for number in range(self.n_glasses)
        ]
        seeds = np.random.SeedSequence(self.seed).generate_state(len(runs)).tolist()
        quench_maker = self.quench_maker
        if self.sampler == "swap" and quench_maker.exchanges is None:
            quench_maker = replace(quench_maker, exchanges=ExchangeSettings())
        jobs = {}
        for index, ((rate, number), seed) in enumerate(zip(runs, seeds, strict=True)):
            family = f"{prefix}quench-{rate:g}K-ps-{number:02d}"
            quench = quench_maker.make(
                structures[index % len(structures)],
                potential.nep_txt,
                potential.potential_id,
                rate,
                seed,
            )
            quench.name = f"quench {family}"
            # The slowest quench determines the duration of the stage: it starts first.
            jobs[family] = tag(
                quench,
                stage="feedback",
                category="md",
                family=family,
                gate=gate,
                schedule=Schedule(len(runs) - index, self._seconds(rate)),
            )
        return jobs

    def label_jobs(
        self, structures: Sequence[OutputReference], names: Sequence[str]
    ) -> dict[str, Job]:
        """Make the labels of some structures of a family, by name; a set has that of its first.

        Raises
        ------
        InputError
            If the label Maker cannot label sets.
        """
        if not self.label_sets:
            return {
                name: self.label_maker.make(structure)
                for name, structure in zip(names, structures, strict=True)
            }
        return {names[0]: self._sets().make_set(list(structures), list(names))}

    def tag_label(
        self, label: Job, name: str, family: str, priority: int, gate: str | None = None
    ) -> Job:
        """Tag a label of this stage."""
        label.name = f"label {name}"
        return tag(
            label,
            stage="feedback",
            category="dft",
            subset="mlip_feedback",
            family=family,
            after_failure=True,
            gate=gate,
            schedule=Schedule(priority, resources=self.resources),
        )

    def _labels(self, quench: OutputReference, family: str) -> dict[str, Job]:
        """Return the label jobs of a quench by their names."""
        n_frames = self.quench_maker.n_frames
        if n_frames == 1:
            return {family: self.label_maker.make(quench.structure)}
        names = [f"{family}-{number:02d}" for number in range(n_frames)]
        if self.label_sets:
            return {family: self._sets().make_set(quench.structures, names)}
        return self.label_jobs([quench.structures[number] for number in range(n_frames)], names)

    def _sets(self) -> LabelsSets:
        if not isinstance(self.label_maker, LabelsSets):
            raise InputError(
                f"{type(self.label_maker).__name__} labels one structure per job",
                hint="use it with FeedbackFlowMaker(label_sets=False)",
            )
        return self.label_maker

    def _seconds(self, rate: float) -> float:
        """Estimate the run time in s on a CPU: 4 ms per step (docs/how_to/training.md)."""
        quench = self.quench_maker
        picoseconds = (
            quench.temperature_high - quench.temperature_low
        ) / rate + quench.equilibration_time
        return 0.004 * 1000.0 * picoseconds / quench.timestep
