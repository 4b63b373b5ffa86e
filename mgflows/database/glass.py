"""The entry point for queries: :class:`GlassDatabase`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from mgflows.connections import open_database, open_job_store
from mgflows.database.cost import Cost, RemainingCost, campaign_cost, remaining_cost
from mgflows.database.datasets import DatasetOperations
from mgflows.database.fitness import labelled_samples
from mgflows.database.frame_queries import FrameOperations
from mgflows.database.progress import require_campaign
from mgflows.database.rounds import read_rounds
from mgflows.database.status import CampaignStatus, campaign_status
from mgflows.errors import InputError
from mgflows.schemas.campaign import CAMPAIGNS, CampaignDocument
from mgflows.schemas.comparison import ComparisonDocument, ValidationSampleDocument
from mgflows.schemas.fitness import FitnessDocument, FitnessRecord, SimilarityDocument
from mgflows.schemas.labels import LabelDocument
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument, SupercoolingDocument
from mgflows.schemas.training import (
    DatasetDocument,
    PotentialDocument,
    Split,
)
from mgflows.schemas.validation import QuenchDocument, ValidationDocument
from mgflows.settings import Settings
from mgflows.surrogate.correlation import measure_fitness

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ase import Atoms
    from jobflow import JobStore
    from pymongo.database import Database

    from mgflows.schemas.active_learning import RoundDocument

__all__ = ["GlassDatabase"]

DocumentType = TypeVar("DocumentType", bound=BaseModel)


class GlassDatabase(FrameOperations, DatasetOperations):
    """The documents, frames and atoms that mgflows has stored.

    Parameters
    ----------
    settings
        Which database; by default that of ``mgflows.yaml`` in the working directory or of the
        ``MGFLOWS_*`` variables.
    directory
        Directory with an ``mgflows.yaml``, such as that of a quickstart; instead of ``settings``.

    Examples
    --------
    Frames of deeply supercooled glasses as ASE atoms:

    >>> database = GlassDatabase()  # doctest: +SKIP
    >>> frames = database.frames(subset="lj_surrogate", effective_time_min=1e6)  # doctest: +SKIP
    >>> atoms = database.load(frames)  # doctest: +SKIP
    """

    def __init__(
        self, settings: Settings | None = None, *, directory: Path | str | None = None
    ) -> None:
        self.settings = settings or Settings.load(directory)
        self.mongo: Database = open_database(self.settings)
        self.store: JobStore = open_job_store(self.settings)
        self.store.connect()

    def campaigns(self) -> list[CampaignDocument]:
        """All campaigns, oldest first."""
        documents = self.mongo[CAMPAIGNS].find({}, {"_id": 0}).sort("created_at", 1)
        return [CampaignDocument.model_validate(document) for document in documents]

    def campaign(self, name: str) -> CampaignDocument:
        """One campaign.

        Raises
        ------
        InputError
            If there is none of this name; the message lists those that exist.
        """
        document = self.mongo[CAMPAIGNS].find_one({"campaign": name}, {"_id": 0})
        if document is None:
            known = ", ".join(campaign.campaign for campaign in self.campaigns()) or "none yet"
            raise InputError(
                f"there is no campaign {name!r} in {self.settings.shown_uri}",
                hint=f"the campaigns are: {known}",
            )
        return CampaignDocument.model_validate(document)

    def status(self, campaign: str) -> CampaignStatus:
        """Return the progress of a campaign or of jobs submitted alone, with cost and time left."""
        require_campaign(self.mongo, campaign)
        return campaign_status(self.mongo, campaign)

    def cost(self, campaign: str) -> list[Cost]:
        """Return the cost of the documents of a campaign, by stage and subset."""
        require_campaign(self.mongo, campaign)
        return campaign_cost(self.mongo, campaign)

    def remaining_cost(self, campaign: str) -> list[RemainingCost]:
        """Estimate the cost of the remaining jobs from measured costs, by stage and subset."""
        require_campaign(self.mongo, campaign)
        return remaining_cost(self.mongo, campaign)

    def samples(self, campaign: str | None = None) -> dict[str, SampleDocument]:
        """Return the samples by family, shortest cooling first."""
        found = [
            (tags["family"], sample) for tags, sample in self._tagged(SampleDocument, campaign)
        ]
        for several in self._documents(SampleSetDocument, campaign):
            found += zip(several.families, several.samples, strict=True)
        return dict(sorted(found, key=lambda item: (item[1].n_sweeps, item[0])))

    def sample_families(self, campaign: str) -> list[str]:
        """Return the families of the samples, in order, without loading the samples."""
        require_campaign(self.mongo, campaign)
        names = (SampleDocument.__name__, SampleSetDocument.__name__)
        found = self.store.docs_store.query(
            {"output.@class": {"$in": names}, "metadata.mgflows.campaign": campaign},
            ["metadata.mgflows.family", "output.families"],
        )
        return sorted(
            family
            for document in found
            for family in document["output"].get("families")
            or [document["metadata"]["mgflows"]["family"]]
        )

    def supercooling(self, campaign: str) -> SupercoolingDocument | None:
        """Return the last supercooling clock of a campaign, or None."""
        return next(iter(self._documents(SupercoolingDocument, campaign)[::-1]), None)

    def relaxations(self, campaign: str | None = None) -> dict[str, LabelDocument]:
        """Return the labels of relaxed samples by family."""
        return {
            tags["family"]: label
            for tags, label in self._tagged(
                LabelDocument, campaign, subset="dft_minimized", empty={"frames": []}
            )
        }

    def fitness(self, campaign: str) -> FitnessRecord:
        """Correlate the labels of all samples with the surrogate.

        Raises
        ------
        InputError
            If no sample has a label yet.
        """
        samples = labelled_samples(
            self.store,
            self.campaign(campaign).campaign,
            self.frames(campaign, subset="lj_surrogate"),
        )
        return FitnessRecord.from_fitness(measure_fitness(samples))

    def gate(self, campaign: str) -> FitnessDocument | None:
        """Return the verdict of the gate; None before it, or in a campaign without a gate."""
        return next(iter(self._documents(FitnessDocument, campaign)), None)

    def similarity(self, campaign: str) -> SimilarityDocument | None:
        """Return the changes of the samples on relaxation; None before all have ended."""
        return next(iter(self._documents(SimilarityDocument, campaign)), None)

    def datasets(self, campaign: str | None = None) -> list[DatasetDocument]:
        """Return datasets, oldest first; their list of frames is loaded by :meth:`dataset` only."""
        return self._documents(DatasetDocument, campaign, empty={"frames": []})

    def dataset(self, dataset_id: str) -> DatasetDocument:
        """Return one dataset with its list of frames, by its id or the beginning of it."""
        return self._one(DatasetDocument, "dataset_id", dataset_id)

    def potentials(self, campaign: str | None = None) -> list[PotentialDocument]:
        """Return potentials, oldest first.

        The last one may be a comparison on another split: :meth:`best_potential` returns the one to
        use. The values for parity plots are loaded by :meth:`potential` only.
        """
        return self._documents(PotentialDocument, campaign, empty={"parity": {}})

    def best_potential(self, campaign: str, split: Split = "family") -> PotentialDocument:
        """Return the potential of a campaign to use, with its parity values.

        It is the last generation trained on the given split. If all of them failed their
        acceptance tests, an accepted one of another split is preferred.

        Parameters
        ----------
        campaign
            Name of the campaign.
        split
            The split of its training set.

        Raises
        ------
        InputError
            If there is no such campaign, or it has no potential yet.
        """
        found = self.potentials(self.campaign(campaign).campaign)
        if not found:
            raise InputError(
                f"the campaign {campaign!r} has no potential yet",
                hint=f"see its progress with: mgflows status {campaign}",
            )
        return self.potential(choose_potential(found, split).potential_id)

    def potential(self, potential_id: str) -> PotentialDocument:
        """Return one potential with its parity values, by its id or the beginning of it."""
        return self._one(PotentialDocument, "potential_id", potential_id)

    def out_of_range_fraction(self, potential_id: str, trajectory: Sequence[Atoms]) -> float:
        """Return the fraction of atoms of a simulation that the training frames do not cover.

        Parameters
        ----------
        potential_id
            Id of the potential, or the beginning of it.
        trajectory
            Frames of molecular dynamics with it; see
            :func:`mgflows.nep.checks.out_of_range_fraction`.

        Raises
        ------
        InputError
            If there is no such potential, or no frame.
        """
        from mgflows.nep.checks import out_of_range_fraction

        potential = self.potential(potential_id)
        entries = self.dataset(potential.dataset_id).frames
        known = self.load([entry for entry in entries if not entry.test[potential.split]])
        return out_of_range_fraction(potential.nep_txt, known, trajectory)

    def quenches(self, campaign: str | None = None) -> list[QuenchDocument]:
        """Return glasses quenched with a trained potential, oldest first."""
        return self._documents(QuenchDocument, campaign, empty={"structures": []})

    def rounds(self, campaign: str) -> list[RoundDocument]:
        """Return the rounds of active learning of a campaign, in their order.

        Raises
        ------
        InputError
            If there is no such campaign.
        """
        return read_rounds(self.mongo, self.campaign(campaign).campaign)

    def validations(
        self, campaign: str | None = None, potential_id: str | None = None
    ) -> list[ValidationDocument]:
        """Return validations, oldest first, of all potentials or of one.

        Raises
        ------
        InputError
            If there is no such campaign or potential.
        """
        if potential_id:
            potential_id = self.potential(potential_id).potential_id
        criteria = {"output.potential_id": potential_id} if potential_id else {}
        return self._documents(ValidationDocument, campaign, criteria=criteria, load=True)

    def comparisons(self, campaign: str | None = None) -> list[ComparisonDocument]:
        """Return the comparisons of potentials that `mgflows validate --submit` stored.

        Parameters
        ----------
        campaign
            Only those in which a potential of this campaign is compared.

        Returns
        -------
        The last document of each validation, oldest first; their curves are loaded by
        :meth:`comparison` only.
        """
        criteria: dict[str, Any] = {}
        if campaign is not None:
            digests = [
                hashlib.sha256(potential.nep_txt.encode()).hexdigest()
                for potential in self.potentials(self.campaign(campaign).campaign)
            ]
            compared = self.store.docs_store.distinct(
                "output.validation",
                {
                    "output.@class": ValidationSampleDocument.__name__,
                    "output.potential_digest": {"$in": digests},
                },
            )
            criteria["output.validation"] = {"$in": compared}
        found = self._documents(ComparisonDocument, None, criteria=criteria, empty={"curves": {}})
        return list({document.validation: document for document in found}.values())

    def comparison(self, validation: str) -> ComparisonDocument:
        """Return the last comparison of one validation, with its curves.

        Raises
        ------
        InputError
            If there is no such validation, or it has no result yet.
        """
        criteria = {"output.validation": validation}
        found = self._documents(ComparisonDocument, None, criteria=criteria, load=True)
        if not found:
            known = ", ".join(each.validation for each in self.comparisons()) or "none yet"
            raise InputError(
                f"there is no stored comparison {validation!r}",
                hint=f"the comparisons are: {known}; submit one with: mgflows validate --submit",
            )
        return found[-1]


def choose_potential(
    potentials: Iterable[PotentialDocument], split: Split = "family"
) -> PotentialDocument:
    """Return the potential to use.

    Potentials of the given split that did not fail their acceptance tests come first, then accepted
    ones of another split, then failed ones of the given split, then all others (a comparison on
    another split is not tested). Among equal ones the last generation is chosen. The student of a
    teacher is chosen only where there is nothing else: no label of the campaign's method is in it.

    Parameters
    ----------
    potentials
        At least one potential, oldest first.
    split
        The split of its training set.
    """

    def key(item: tuple[int, PotentialDocument]) -> tuple[bool, bool, bool, bool, int, int]:
        number, found = item
        wanted, failed = found.split == split, found.accepted is False
        usable = not failed if wanted else bool(found.accepted)
        return not found.is_student, usable, wanted, not failed, found.generation, number

    return max(enumerate(potentials), key=key)[1]
