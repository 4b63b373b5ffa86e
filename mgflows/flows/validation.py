"""The validation stage: properties of the glass under the potential, beside its reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import tag
from mgflows.jobs.validation import ValidationMaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        samples: Mapping[str, OutputReference],
        single_points: Mapping[str, OutputReference],
        relaxed: Mapping[str, OutputReference],
        n_sweeps: Sequence[int],
    ) -> Flow:
        """A flow of one job.

        Its output is a :class:`~mgflows.schemas.validation.ValidationDocument`.

        Parameters
        ----------
        potential
            Reference to the potential.
        samples, single_points, relaxed
            References by family: sample, its label, and the relaxed ones among them.
        n_sweeps
            Cooling length of each sample, in the order of ``samples``.
        """
        energies = {
            "n_sweeps": list(n_sweeps),
            "lj": [sample.energy_lj for sample in samples.values()],
            "label": [single_points[family].energy_per_atom for family in samples],
        }
        # The first glasses carry the expensive quantities: those of the longest coolings, which
        # are the closest to a laboratory glass.
        lengths = dict(zip(samples, n_sweeps, strict=True))
        families = sorted(relaxed, key=lambda family: -lengths[family])
        glasses = [relaxed[family].structure for family in families]
        job = self.validation_maker.make(potential, glasses, energies)
        job.name = "validate"
        return Flow(
            [tag(job, stage="validation", category="md", seconds=60.0)],
            output=job.output,
            name=self.name,
        )
