"""The feedback stage: new glasses made with the trained potential, and their labels.

Paper, section II, subset vii.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Maker

from mgflows.flows.outputs import FeedbackOutput
from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.labels import AseLabelMaker
from mgflows.jobs.quench import QuenchMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Job, OutputReference

__all__ = ["FeedbackFlowMaker"]


@dataclass
class FeedbackFlowMaker(Maker):
    """Quench glasses with the trained potential and label the final structures.

    A quench that evaporates or does not end in a glass fails with the reason, and nothing of it is
    labelled (:func:`mgflows.md.quench.check_glass`).

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
    resources: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def make(self, potential: OutputReference, structures: Sequence[OutputReference]) -> Flow:
        """Make a flow whose output is a :class:`~mgflows.flows.outputs.FeedbackOutput`.

        Parameters
        ----------
        potential
            Reference to the :class:`~mgflows.schemas.training.PotentialDocument`.
        structures
            References to start structures, used in turn; each quench melts its own.
        """
        runs = [
            (rate, number)
            for rate in sorted(self.cooling_rates)
            for number in range(self.n_glasses)
        ]
        seeds = np.random.SeedSequence(self.seed).generate_state(len(runs)).tolist()
        jobs: list[Job] = []
        labels: dict[str, OutputReference] = {}
        quenches: dict[str, OutputReference] = {}
        for index, ((rate, number), seed) in enumerate(zip(runs, seeds, strict=True)):
            family = f"quench-{rate:g}K-ps-{number:02d}"
            quench = self.quench_maker.make(
                structures[index % len(structures)],
                potential.nep_txt,
                potential.potential_id,
                rate,
                seed,
            )
            quench.name = f"quench {family}"
            label = self.label_maker.make(quench.output.structure)
            label.name = f"label {family}"
            # The slowest quench decides how long the stage takes: it starts first.
            jobs.append(
                tag(
                    quench,
                    stage="feedback",
                    category="md",
                    family=family,
                    schedule=Schedule(len(runs) - index, self._seconds(rate)),
                )
            )
            jobs.append(
                tag(
                    label,
                    stage="feedback",
                    category="dft",
                    subset="mlip_feedback",
                    family=family,
                    after_failure=True,
                    schedule=Schedule(len(runs), resources=self.resources),
                )
            )
            labels[family], quenches[family] = label.output, quench.output
        return Flow(jobs, output=FeedbackOutput(labels, quenches), name=self.name)

    def _seconds(self, rate: float) -> float:
        """Estimate the run time in s on a CPU: 4 ms per step (docs/how_to/training.md)."""
        quench = self.quench_maker
        picoseconds = (
            quench.temperature_high - quench.temperature_low
        ) / rate + quench.equilibration_time
        return 0.004 * 1000.0 * picoseconds / quench.timestep
