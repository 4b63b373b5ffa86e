"""The entry point for questions: :class:`GlassDatabase`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from mgflows.connections import open_database, open_job_store
from mgflows.database.cost import Cost, RemainingCost, campaign_cost, remaining_cost
from mgflows.database.fitness import labelled_samples
from mgflows.database.frames import FrameRecord, load_atoms, records_of
from mgflows.database.status import CampaignStatus, campaign_status
from mgflows.errors import InputError
from mgflows.schemas.campaign import CAMPAIGNS, CampaignDocument
from mgflows.schemas.fitness import FitnessDocument, FitnessRecord, SimilarityDocument
from mgflows.schemas.labels import LabelDocument
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument, SupercoolingDocument
from mgflows.schemas.training import SUBSETS, DatasetDocument, DatasetFrame, PotentialDocument
from mgflows.schemas.validation import QuenchDocument, ValidationDocument
from mgflows.settings import Settings
from mgflows.surrogate.correlation import measure_fitness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ase import Atoms
    from jobflow import JobStore
    from pymongo.database import Database

__all__ = ["GlassDatabase"]

DocumentType = TypeVar("DocumentType", bound=BaseModel)


class GlassDatabase:
    """Everything mgflows has stored, as documents, frames and atoms.

    Parameters
    ----------
    settings
        Which database; by default that of ``mgflows.yaml`` in the working directory or of the ``MGFLOWS_*`` variables.
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
            If there is none of this name; names those there are.
        """
        document = self.mongo[CAMPAIGNS].find_one({"campaign": name}, {"_id": 0})
        if document is None:
            known = ", ".join(campaign.campaign for campaign in self.campaigns()) or "none yet"
            raise InputError(
                f"there is no campaign {name!r} in {self.settings.shown_uri}; the campaigns are: {known}"
            )
        return CampaignDocument.model_validate(document)

    def status(self, campaign: str) -> CampaignStatus:
        """How far a campaign is, what it has cost and how long it will take."""
        return campaign_status(self.mongo, self.campaign(campaign).campaign)

    def cost(self, campaign: str) -> list[Cost]:
        """What the documents of a campaign have cost, by stage and subset."""
        return campaign_cost(self.mongo, self.campaign(campaign).campaign)

    def remaining_cost(self, campaign: str) -> list[RemainingCost]:
        """A forecast of what the jobs still to come will cost, by stage and subset, from what was measured."""
        return remaining_cost(self.mongo, self.campaign(campaign).campaign)

    def samples(self, campaign: str | None = None) -> dict[str, SampleDocument]:
        """Family to the document of its sample, shortest cooling first."""
        found = [
            (tags["family"], sample) for tags, sample in self._tagged(SampleDocument, campaign)
        ]
        for several in self._documents(SampleSetDocument, campaign):
            found += zip(several.families, several.samples, strict=True)
        return dict(sorted(found, key=lambda item: (item[1].n_sweeps, item[0])))

    def supercooling(self, campaign: str) -> SupercoolingDocument | None:
        """The supercooling clock of a campaign, if it has one."""
        return next(iter(self._documents(SupercoolingDocument, campaign)), None)

    def relaxations(self, campaign: str | None = None) -> dict[str, LabelDocument]:
        """Family to the label of its relaxed sample."""
        return {
            tags["family"]: label
            for tags, label in self._tagged(LabelDocument, campaign, subset="dft_minimized")
        }

    def fitness(self, campaign: str) -> FitnessRecord:
        """What all labels of the samples that are there now say about the surrogate.

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
        """The verdict of the first labels, at which the others wait; None before it, or in a campaign without a gate."""
        return next(iter(self._documents(FitnessDocument, campaign)), None)

    def similarity(self, campaign: str) -> SimilarityDocument | None:
        """What relaxation changed in the samples, by cooling length, once all relaxations have ended."""
        return next(iter(self._documents(SimilarityDocument, campaign)), None)

    def frames(
        self,
        campaign: str | None = None,
        *,
        subset: str | Iterable[str] | None = None,
        family: str | None = None,
        effective_time_min: float | None = None,
        effective_time_max: float | None = None,
        fingerprint: str | None = None,
    ) -> list[FrameRecord]:
        """Labelled frames, without their arrays; :meth:`load` gets those.

        Parameters
        ----------
        campaign
            Name of a campaign; all by default.
        subset
            One subset, or several; all by default.
        family
            One family.
        effective_time_min, effective_time_max
            Bounds on the effective time of the frame's family in t*; frames without one are left out if a bound is given.
        fingerprint
            Digest of a method.

        Raises
        ------
        InputError
            For a subset that does not exist or a time that is not positive.
        """
        criteria: dict[str, Any] = {"output.summaries": {"$exists": True}}
        if campaign:
            criteria["metadata.mgflows.campaign"] = campaign
        if subset:
            subsets = [subset] if isinstance(subset, str) else list(subset)
            unknown = sorted(set(subsets) - set(SUBSETS))
            if unknown:
                raise InputError(
                    f"the subset {unknown[0]!r} does not exist; the subsets are {', '.join(SUBSETS)}"
                )
            criteria["metadata.mgflows.subset"] = {"$in": subsets}
        else:
            criteria["metadata.mgflows.subset"] = {"$exists": True}
        if family:
            criteria["metadata.mgflows.family"] = family
        if fingerprint:
            criteria["output.fingerprint_digest"] = fingerprint
        low, high = (
            _log10(effective_time_min, "effective_time_min", -math.inf),
            _log10(effective_time_max, "effective_time_max", math.inf),
        )

        times = self._effective_times(campaign)
        properties = ["uuid", "metadata.mgflows", "output.summaries", "output.fingerprint_digest"]
        records = [
            record
            for document in self.store.docs_store.query(criteria, properties)
            for record in records_of(
                document, times.get(document["metadata"]["mgflows"].get("campaign", ""), {})
            )
        ]
        if math.isfinite(low) or math.isfinite(high):
            records = [
                record
                for record in records
                if record.log10_time is not None and low <= record.log10_time <= high
            ]
        return sorted(
            records,
            key=lambda record: (
                record.campaign,
                SUBSETS.index(record.subset),
                record.family,
                record.number,
            ),
        )

    def load(self, frames: Iterable[FrameRecord | DatasetFrame]) -> list[Atoms]:
        """ASE atoms with energies, forces and stresses, in the order of the records of :meth:`frames` or of a dataset."""
        records = [frame if isinstance(frame, FrameRecord) else _record(frame) for frame in frames]
        return load_atoms(self.store, records)

    def datasets(self, campaign: str | None = None) -> list[DatasetDocument]:
        """Datasets, oldest first; their list of frames is loaded by :meth:`dataset` only."""
        return self._documents(DatasetDocument, campaign, empty={"frames": []})

    def dataset(self, dataset_id: str) -> DatasetDocument:
        """One dataset with its list of frames, by its id or the beginning of it."""
        return self._one(DatasetDocument, "dataset_id", dataset_id)

    def potentials(self, campaign: str | None = None) -> list[PotentialDocument]:
        """Potentials, oldest first; the values for parity plots are loaded by :meth:`potential` only."""
        return self._documents(PotentialDocument, campaign, empty={"parity": {}})

    def potential(self, potential_id: str) -> PotentialDocument:
        """One potential with its parity values, by its id or the beginning of it."""
        return self._one(PotentialDocument, "potential_id", potential_id)

    def quenches(self, campaign: str | None = None) -> list[QuenchDocument]:
        """Glasses quenched with a trained potential, oldest first."""
        return self._documents(QuenchDocument, campaign)

    def validations(
        self, campaign: str | None = None, potential_id: str | None = None
    ) -> list[ValidationDocument]:
        """Validations, oldest first, perhaps of one potential only."""
        criteria = {"output.potential_id": potential_id} if potential_id else {}
        return self._documents(ValidationDocument, campaign, criteria=criteria, load=True)

    def _one(self, model: type[DocumentType], key: str, value: str) -> DocumentType:
        criteria = (
            {f"output.{key}": {"$regex": f"^{value}"}}
            if value.isalnum()
            else {f"output.{key}": value}
        )
        found = self._documents(model, None, criteria=criteria, load=True)
        names = sorted({getattr(document, key) for document in found})
        if len(names) == 1:
            return found[0]
        what = key.removesuffix("_id")
        if names:
            raise InputError(
                f"{value!r} is the beginning of {len(names)} {what}s ({', '.join(names)}); give more digits"
            )
        raise InputError(f"there is no {what} {value!r}; list them with: mgflows {what}s")

    def _documents(
        self,
        model: type[DocumentType],
        campaign: str | None,
        *,
        criteria: dict[str, Any] | None = None,
        load: bool = False,
        empty: dict[str, Any] | None = None,
    ) -> list[DocumentType]:
        return [
            document
            for _, document in self._tagged(
                model, campaign, criteria=criteria, load=load, empty=empty
            )
        ]

    def _tagged(
        self,
        model: type[DocumentType],
        campaign: str | None,
        *,
        subset: str | None = None,
        criteria: dict[str, Any] | None = None,
        load: bool = False,
        empty: dict[str, Any] | None = None,
    ) -> Iterator[tuple[dict[str, Any], DocumentType]]:
        """Tags and documents of one model, oldest first.

        ``empty`` says what stands for the fields of the additional store that are not loaded.
        """
        selection: dict[str, Any] = {
            "output.@class": model.__name__,
            "output.@module": model.__module__,
            **(criteria or {}),
        }
        if campaign:
            selection["metadata.mgflows.campaign"] = campaign
        if subset:
            selection["metadata.mgflows.subset"] = subset
        for document in self.store.query(selection, sort={"completed_at": 1}, load=load):
            output = {
                key: value for key, value in document["output"].items() if not key.startswith("@")
            }
            yield (
                document["metadata"].get("mgflows", {}),
                model.model_validate(output | (empty or {})),
            )

    def _effective_times(self, campaign: str | None) -> dict[str, dict[str, float]]:
        """Campaign to family to log10 of the effective time."""
        criteria: dict[str, Any] = {"output.@class": SupercoolingDocument.__name__}
        if campaign:
            criteria["metadata.mgflows.campaign"] = campaign
        documents = self.store.docs_store.query(
            criteria, ["metadata.mgflows.campaign", "output.families"]
        )
        return {
            document["metadata"]["mgflows"].get("campaign", ""): document["output"]["families"]
            for document in documents
        }


def _record(frame: DatasetFrame) -> FrameRecord:
    return FrameRecord(
        frame_id=frame.frame_id,
        campaign="",
        subset=frame.subset,
        family=frame.family,
        name="",
        n_atoms=frame.n_atoms,
        energy_per_atom=frame.energy_per_atom,
        pressure=math.nan,
        maximum_force=math.nan,
        log10_time=frame.log10_time,
        fingerprint_digest="",
        uuid=frame.uuid,
        number=frame.number,
    )


def _log10(time: float | None, name: str, default: float) -> float:
    if time is None:
        return default
    if not time > 0.0:
        raise InputError(f"{name} is {time:g} but must be positive: a time in t*")
    return math.log10(time)
