"""The validation stage: properties of the glass under the potential, compared with a reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.validation import ValidationMaker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import OutputReference

__all__ = ["ValidationFlowMaker"]


@dataclass
class ValidationFlowMaker(Maker):
    """Validate the last potential of a campaign.

    Parameters
    ----------
    name
        Name of the flow.
    validation_maker
        Maker of the job.
    """

    name: str = "validation"
    validation_maker: ValidationMaker = field(default_factory=ValidationMaker)

    def make(
        self,
        potential: OutputReference,
        relaxed: Mapping[str, OutputReference],
        n_sweeps: Mapping[str, int],
        *,
        gate: str | None = None,
    ) -> Flow:
        """Make a flow of one job.

        Its output is a :class:`~mgflows.schemas.validation.ValidationDocument`.

        Parameters
        ----------
        potential
            Reference to the potential.
        relaxed
            Family to the label of its relaxed sample.
        n_sweeps
            Family to its cooling length.
        gate
            Uuid of the training whose potential must have passed its acceptance.
        """
        # The first glasses carry the expensive quantities: those of the longest coolings, which
        # are the closest to a laboratory glass.
        families = sorted(relaxed, key=lambda family: -n_sweeps[family])
        job = self.validation_maker.make(
            potential, [relaxed[family].structure for family in families]
        )
        job.name = "validate"
        schedule = Schedule(seconds=60.0)
        return Flow(
            [tag(job, stage="validation", category="md", gate=gate, schedule=schedule)],
            output=job.output,
            name=self.name,
        )
