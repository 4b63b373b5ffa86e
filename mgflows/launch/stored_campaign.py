"""Stored results of a campaign, as references that new jobs can use."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobflow import Flow, OutputReference
from monty.json import MontyDecoder

from mgflows.database.campaigns import record_change
from mgflows.errors import InputError
from mgflows.flows.campaign import CampaignMaker
from mgflows.flows.outputs import TrainingOutput
from mgflows.flows.tags import set_campaign
from mgflows.flows.training import TrainingFlowMaker
from mgflows.jobs.validation import ValidationMaker
from mgflows.launch.campaigns import Submission, submit
from mgflows.schemas.sampling import SurrogateCoolingDocument
from mgflows.schemas.teacher import TEACHER
from mgflows.schemas.training import DatasetDocument, PotentialDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mgflows.database import GlassDatabase
    from mgflows.jobs.training import TrainingMaker

__all__ = ["StoredCampaign", "reference_to"]

_HAS_SUBSET = {
    "metadata.mgflows.subset": {"$exists": True, "$not": {"$regex": f"^{TEACHER}"}},
}
"""Labels of the campaign, without those of its teacher."""


class StoredCampaign:
    """Stored results of a campaign, as references that new jobs can use.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.

    Raises
    ------
    InputError
        If there is no such campaign.
    """

    def __init__(self, database: GlassDatabase, campaign: str) -> None:
        self.database = database
        self.document = database.campaign(campaign)
        self.campaign = campaign

    @property
    def history(self) -> list[str]:
        """Parts that were added before."""
        return [change.part for change in self.document.history]

    @property
    def maker(self) -> CampaignMaker:
        """The Maker that the campaign was submitted with."""
        if "@class" not in self.document.settings:
            raise InputError(
                f"the campaign {self.campaign!r} holds imported frames and has no settings",
                hint="give the method or the Maker, or submit a campaign of its alloy",
            )
        maker = MontyDecoder().process_decoded(self.document.settings)
        if not isinstance(maker, CampaignMaker):
            raise InputError(
                f"the settings of the campaign {self.campaign!r} are not those of a CampaignMaker",
                hint="submit its changes with mgflows.launch.submit(part=...)",
            )
        return maker

    @property
    def training_maker(self) -> TrainingMaker:
        """The last training of the campaign; the default for imported frames."""
        if "@class" not in self.document.settings:
            return TrainingFlowMaker().training_maker
        maker = self.maker
        last = maker.retraining_maker if maker.feedback_maker else maker.training_maker
        training = last.training_maker
        return replace(training, scaled_down=training.scaled_down or maker.scaled_down)

    @property
    def validation_maker(self) -> ValidationMaker:
        """The validation of the campaign, or the default one."""
        if "@class" not in self.document.settings or self.maker.validation_maker is None:
            return ValidationMaker()
        return self.maker.validation_maker.validation_maker

    @property
    def feedback_maker(self) -> Any:
        """The feedback stage of the campaign."""
        if self.maker.feedback_maker is None:
            raise InputError(
                f"the campaign {self.campaign!r} has no feedback stage",
                hint="submit it with a feedback_maker, or leave the cooling rates out",
            )
        return self.maker.feedback_maker

    @property
    def last_generation(self) -> int:
        """Generation of the last potential; -1 without one."""
        found = self.database.potentials(self.campaign)
        return max((potential.generation for potential in found), default=-1)

    @property
    def potential(self) -> OutputReference:
        """The best potential."""
        found = self.database.best_potential(self.campaign)
        return reference_to(self.database, PotentialDocument, "potential_id", found.potential_id)

    @property
    def last_training(self) -> TrainingOutput | None:
        """Dataset and potentials of the last training; None before it."""
        found = self.database.potentials(self.campaign)
        if not found:
            return None
        best = self.database.best_potential(self.campaign)
        others = [
            potential
            for potential in found
            if potential.dataset_id == best.dataset_id and potential.split != best.split
        ]

        def of(potential: PotentialDocument) -> OutputReference:
            return reference_to(
                self.database, PotentialDocument, "potential_id", potential.potential_id
            )

        return TrainingOutput(
            reference_to(self.database, DatasetDocument, "dataset_id", best.dataset_id),
            of(best),
            of(others[-1]) if others else None,
        )

    @property
    def held_out_families(self) -> list[str]:
        """Families that are entirely in the test set."""
        datasets = self.database.datasets(self.campaign)
        return datasets[-1].held_out_families if datasets else []

    @property
    def samples(self) -> dict[str, OutputReference]:
        """Samples by family, shortest cooling first."""
        found: dict[str, tuple[int, OutputReference]] = {}
        query = {
            "metadata.mgflows.campaign": self.campaign,
            "output.@class": {"$in": ["SampleDocument", "SampleSetDocument"]},
        }
        fields = [
            "uuid",
            "metadata.mgflows.family",
            "output.families",
            "output.n_sweeps",
            "output.samples.n_sweeps",
        ]
        for document in self.database.store.docs_store.query(query, fields):
            reference, output = OutputReference(document["uuid"]), document["output"]
            if "families" not in output:
                family = document["metadata"]["mgflows"]["family"]
                found[family] = (output["n_sweeps"], reference)
                continue
            for number, family in enumerate(output["families"]):
                sweeps = output["samples"][number]["n_sweeps"]
                found[family] = (sweeps, reference.samples[number])
        ranked = sorted(found.items(), key=lambda item: (item[1][0], item[0]))
        return {family: reference for family, (_, reference) in ranked}

    @property
    def n_sweeps(self) -> dict[str, int]:
        """Cooling length of each sample."""
        return {f: sample.n_sweeps for f, sample in self.database.samples(self.campaign).items()}

    @property
    def sample_counts(self) -> Counter[int]:
        """Number of samples by cooling length, failed ones included."""
        planned = Counter(dict(self.maker.sampling_maker.samples))
        for change in self.document.history:
            if change.action == "extend":
                for n_sweeps, count in change.details["samples"]:
                    planned[n_sweeps] += count
        return planned

    @property
    def quench_counts(self) -> Counter[float]:
        """Number of quenched glasses by cooling rate, failed ones included."""
        maker = self.feedback_maker
        planned = Counter(dict.fromkeys(maker.cooling_rates, maker.n_glasses))
        for change in self.document.history:
            if change.action == "extend":
                for rate in change.details["cooling_rates"]:
                    planned[rate] += change.details["n_glasses"]
        return planned

    @property
    def coolings(self) -> list[OutputReference]:
        """Molecular-dynamics coolings of the clock."""
        return self._references(SurrogateCoolingDocument.__name__)

    @property
    def onset(self) -> OutputReference | None:
        """The onset of supercooling, if it was measured."""
        return next(iter(self._references("OnsetDocument")), None)

    @property
    def clock(self) -> OutputReference | None:
        """The last supercooling clock."""
        return next(iter(self._references("SupercoolingDocument")[::-1]), None)

    @property
    def relaxed(self) -> dict[str, OutputReference]:
        """Relaxed samples by family."""
        return self._labels_of("dft_minimized")

    @property
    def heated(self) -> dict[str, OutputReference]:
        """Heated samples by family."""
        return self._labels_of("aimd")

    @property
    def labels(self) -> list[OutputReference]:
        """All labels by the method of the campaign."""
        fingerprint = self.document.fingerprint
        query: dict[str, Any] = {"output.summaries": {"$exists": True}}
        if fingerprint is not None:
            query["output.fingerprint.code"] = fingerprint.code
        return self._references("LabelDocument", {**query, **_HAS_SUBSET})

    def _labels_of(self, subset: str) -> dict[str, OutputReference]:
        query = {
            "metadata.mgflows.campaign": self.campaign,
            "metadata.mgflows.subset": subset,
            "output.@class": "LabelDocument",
        }
        found = self.database.store.docs_store.query(query, ["uuid", "metadata.mgflows.family"])
        return {
            document["metadata"]["mgflows"]["family"]: OutputReference(document["uuid"])
            for document in found
            if document["metadata"]["mgflows"].get("family")
        }

    def _references(
        self, name: str, criteria: Mapping[str, Any] | None = None
    ) -> list[OutputReference]:
        query = {
            "metadata.mgflows.campaign": self.campaign,
            "output.@class": name,
            **(criteria or {}),
        }
        documents = self.database.store.docs_store.query(
            query, ["uuid", "output.provenance.created_at"]
        )
        ranked = sorted(
            documents, key=lambda each: str(each["output"].get("provenance", {}).get("created_at"))
        )
        return [OutputReference(document["uuid"]) for document in ranked]

    def submit(self, flow: Flow, part: str, action: str, details: Mapping[str, Any]) -> Submission:
        """Submit a part of the campaign, and record it."""
        set_campaign(flow, self.campaign)
        submission = submit(flow, self.database.settings, part=part)
        # Also after a submission that was killed before it was recorded.
        record_change(self.database.mongo, self.campaign, action, part, **details)
        return submission


def reference_to(database: GlassDatabase, model: type, key: str, value: str) -> OutputReference:
    """Refer to the document of a model whose field ``key`` has a value.

    Raises
    ------
    InputError
        If there is none.
    """
    document = database.store.docs_store.query_one(
        {"output.@class": model.__name__, f"output.{key}": value}, ["uuid"]
    )
    if document is None:
        raise InputError(f"there is no document with {key} {value}", hint="check the id")
    return OutputReference(document["uuid"], output_schema=model)
