"""The entry point for queries: :class:`GlassDatabase`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from mgflows.connections import open_database, open_job_store
from mgflows.database.cost import Cost, RemainingCost, campaign_cost, remaining_cost
from mgflows.database.datasets import DatasetOperations
from mgflows.database.fitness import labelled_samples
from mgflows.database.frames import Clock, FrameRecord, load_atoms, records_of
from mgflows.database.progress import require_campaign
from mgflows.database.rounds import read_rounds
from mgflows.database.status import CampaignStatus, campaign_status
from mgflows.errors import InputError
from mgflows.schemas.campaign import CAMPAIGNS, CampaignDocument
from mgflows.schemas.fields import without_class_keys
from mgflows.schemas.fitness import FitnessDocument, FitnessRecord, SimilarityDocument
from mgflows.schemas.imports import ImportDocument
from mgflows.schemas.labels import LabelDocument, structure_from_atoms
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument, SupercoolingDocument
from mgflows.schemas.training import (
    SUBSETS,
    DatasetDocument,
    DatasetFrame,
    PotentialDocument,
    Split,
    subset_order,
)
from mgflows.schemas.validation import QuenchDocument, ValidationDocument
from mgflows.settings import Settings
from mgflows.surrogate.correlation import measure_fitness
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ase import Atoms
    from jobflow import JobStore
    from pandas import DataFrame
    from pymatgen.core import Structure
    from pymongo.database import Database

    from mgflows.database.frame_errors import ErrorKind, FrameError
    from mgflows.database.imports.foreign import Reading
    from mgflows.database.queries import FrameFilter
    from mgflows.schemas.active_learning import RoundDocument

__all__ = ["GlassDatabase"]

DocumentType = TypeVar("DocumentType", bound=BaseModel)


class UnknownDocumentError(InputError):
    """No document has the given id."""


class GlassDatabase(DatasetOperations):
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
        """Return the progress of a campaign, its cost and the time left."""
        return campaign_status(self.mongo, self.campaign(campaign).campaign)

    def cost(self, campaign: str) -> list[Cost]:
        """Return the cost of the documents of a campaign, by stage and subset."""
        return campaign_cost(self.mongo, self.campaign(campaign).campaign)

    def remaining_cost(self, campaign: str) -> list[RemainingCost]:
        """Estimate the cost of the remaining jobs from measured costs, by stage and subset."""
        return remaining_cost(self.mongo, self.campaign(campaign).campaign)

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

    def frames(
        self,
        campaign: str | None = None,
        *,
        subset: str | Iterable[str] | None = None,
        family: str | None = None,
        effective_time_min: float | None = None,
        effective_time_max: float | None = None,
        fingerprint: str | None = None,
        where: FrameFilter | None = None,
    ) -> list[FrameRecord]:
        """Return labelled frames without their arrays, which :meth:`load` reads.

        Parameters
        ----------
        campaign
            Name of a campaign; all by default.
        subset
            One subset, or several; all by default.
        family
            One family.
        effective_time_min, effective_time_max
            Bounds on the effective time of the frame's family in t*; frames without an effective
            time are left out if a bound is given.
        fingerprint
            Digest of a method.
        where
            Windows of energy, force, pressure, density, effective time in s and others.

        Raises
        ------
        InputError
            For an unknown campaign, family or fingerprint, a subset that is neither one of the
            paper nor in the database, or a time that is not positive.
        """
        criteria: dict[str, Any] = {"output.summaries": {"$exists": True}}
        if campaign is not None:
            require_campaign(self.mongo, campaign)
            criteria["metadata.mgflows.campaign"] = campaign
        if subset:
            subsets = [subset] if isinstance(subset, str) else list(subset)
            self._check_subsets(set(subsets))
            criteria["metadata.mgflows.subset"] = {"$in": subsets}
        else:
            criteria["metadata.mgflows.subset"] = {"$exists": True}
        if family:
            # Frames of an import have families of their own.
            criteria["$or"] = [
                {"metadata.mgflows.family": family},
                {"output.summaries.family": family},
            ]
        if fingerprint:
            self._check_fingerprint(fingerprint)
            criteria["output.fingerprint_digest"] = fingerprint
        low, high = (
            _log10(effective_time_min, "effective_time_min", -math.inf),
            _log10(effective_time_max, "effective_time_max", math.inf),
        )

        clocks = self._clocks(campaign)
        properties = ["uuid", "metadata.mgflows", "output.summaries", "output.fingerprint_digest"]
        records = [
            record
            for document in self.store.docs_store.query(criteria, properties)
            for record in records_of(
                self.store,
                document,
                clocks.get(document["metadata"]["mgflows"].get("campaign", ""), Clock()),
                complete=where is not None,
            )
        ]
        if where is not None:
            origins = self._origins(campaign) if where.needs_samples else {}
            records = [
                record
                for record in records
                if where.matches(record, origins.get((record.campaign, record.family)))
            ]
        if family:
            records = [record for record in records if record.family == family]
            if not records:
                self._check_family(family, campaign)
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
                subset_order(record.subset),
                record.family,
                record.number,
            ),
        )

    def import_frames(
        self,
        paths: Sequence[Path | str],
        campaign: str,
        method: str,
        *,
        reading: Reading | None = None,
        is_dft: bool | None = None,
        dry_run: bool = False,
    ) -> ImportDocument:
        """Store labels that other programs computed as frames of a campaign.

        Files are extended XYZ (of ASE, GPUMD or MACE), ASE databases, outputs of VASP (files,
        folders or archives), and folders of DeePMD-kit. Every frame passes the checks of own
        labels, and no frame is stored twice: the same call again stores nothing. The declared
        method is a fingerprint of its own: a dataset never mixes these labels with computed ones.

        Parameters
        ----------
        paths
            Files, folders and archives.
        campaign
            Name of the campaign; a new one if there is none of this name.
        method
            What computed the labels, in words.
        reading
            Keys, units, subsets and families; see
            :class:`~mgflows.database.imports.foreign.Reading`.
        is_dft
            Whether the method is a density functional; by default true for outputs of VASP.
        dry_run
            Read and describe the files, and store nothing.

        Returns
        -------
        ImportDocument
            Keys, units, counts, ranges and warnings.

        Raises
        ------
        InputError
            If no frame can be imported, or the files are of several methods.

        Examples
        --------
        >>> database = GlassDatabase()  # doctest: +SKIP
        >>> database.import_frames(["mine.xyz"], "mine", "PBE, 450 eV")  # doctest: +SKIP
        """
        from mgflows.database.imports.importer import Importer

        importer = Importer(
            self.mongo,
            self.store,
            paths,
            campaign=campaign,
            method=method,
            reading=reading,
            is_dft=is_dft,
        )
        described = importer.survey()
        return described if dry_run else importer.store_frames(described)

    def imports(self, campaign: str | None = None) -> list[ImportDocument]:
        """Return what was imported, oldest first."""
        return self._documents(ImportDocument, campaign)

    def load(self, frames: Iterable[FrameRecord | DatasetFrame]) -> list[Atoms]:
        """Return ASE atoms with energies, forces and stresses.

        Parameters
        ----------
        frames
            Frames of :meth:`frames` or of a dataset; the atoms are in their order.

        Raises
        ------
        ChangedLabelError
            If a label job ran again since and gave another result than the one listed.
        """
        return load_atoms(self.store, frames)

    def structures(self, frames: Iterable[FrameRecord | DatasetFrame]) -> list[Structure]:
        """Return pymatgen structures of frames, without labels."""
        return [structure_from_atoms(atoms) for atoms in self.load(frames)]

    def table(self, frames: Iterable[FrameRecord], potential_id: str | None = None) -> DataFrame:
        """Return frames as a pandas table, one row per frame.

        Parameters
        ----------
        frames
            Frames of :meth:`frames`.
        potential_id
            Adds the columns ``energy_error``, ``force_error``, ``largest_force_error`` and
            ``virial_error`` of this potential (meV per atom, meV/A).
        """
        from pandas import DataFrame

        frames = list(frames)
        rows = [{**frame.model_dump(), "density": frame.density} for frame in frames]
        if potential_id is not None:
            errors = self.frame_errors(potential_id, frames)
            for row in rows:
                error = errors[row["frame_id"]]
                row |= {
                    f"{kind}_error": getattr(error, kind)
                    for kind in ("energy", "force", "largest_force", "virial")
                }
        return DataFrame(rows)

    def frame_errors(
        self, potential_id: str, frames: Iterable[FrameRecord | DatasetFrame]
    ) -> dict[str, FrameError]:
        """Return the errors of a potential for frames, by frame id.

        Errors for its own training and test frames are stored with the potential; others are
        computed.

        Parameters
        ----------
        potential_id
            Id of the potential, or the beginning of it.
        frames
            Frames of :meth:`frames` or of a dataset.
        """
        from mgflows.database.frame_errors import frame_errors

        return frame_errors(self.store, self.potential(potential_id), list(frames))

    def worst_frames(
        self,
        potential_id: str,
        frames: Iterable[FrameRecord] | None = None,
        *,
        number: int = 20,
        by: ErrorKind = "force",
    ) -> list[tuple[FrameRecord, FrameError]]:
        """Return the frames that a potential predicts worst, with their errors.

        Parameters
        ----------
        potential_id
            Id of the potential, or the beginning of it.
        frames
            Frames of :meth:`frames`; by default those of the potential's dataset.
        number
            How many.
        by
            Which error decides.
        """
        if frames is None:
            potential = self.potential(potential_id)
            members = {frame.frame_id for frame in self.dataset(potential.dataset_id).frames}
            frames = [
                frame for frame in self.frames(potential.campaign) if frame.frame_id in members
            ]
        frames = list(frames)
        errors = self.frame_errors(potential_id, frames)
        ranked = sorted(frames, key=lambda frame: -getattr(errors[frame.frame_id], by))
        return [(frame, errors[frame.frame_id]) for frame in ranked[:number]]

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

        Potentials that failed their acceptance come last; then that of the last generation, trained
        on the given split or, without one, on another; of several, the last one.

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

    def _one(self, model: type[DocumentType], key: str, value: str) -> DocumentType:
        criteria = {f"output.{key}": {"$regex": f"^{re.escape(value)}"}}
        found = self._documents(model, None, criteria=criteria, load=True)
        names = sorted({getattr(document, key) for document in found})
        if len(names) == 1:
            return found[0]
        what = key.removesuffix("_id")
        if names:
            raise InputError(
                f"{value!r} is the beginning of {len(names)} {what}s ({', '.join(names)})",
                hint="give more digits",
            )
        raise UnknownDocumentError(
            f"there is no {what} {value!r}", hint=f"list them with: mgflows {what}s"
        )

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
        """Yield tags and documents of one model, oldest first.

        ``empty`` has the values of fields of the additional store, which are not loaded.
        """
        selection: dict[str, Any] = {"output.@class": model.__name__, **(criteria or {})}
        if campaign is not None:
            require_campaign(self.mongo, campaign)
            selection["metadata.mgflows.campaign"] = campaign
        if subset:
            selection["metadata.mgflows.subset"] = subset
        found = list(self.store.query(selection, load=load))
        for document in sorted(found, key=_creation):
            output = without_class_keys(document["output"])
            for name, value in (empty or {}).items():
                if _is_reference(output.get(name)):
                    output[name] = value
            yield document["metadata"].get("mgflows", {}), model.model_validate(output)

    def _check_subsets(self, subsets: set[str]) -> None:
        known = set(SUBSETS)
        if not subsets <= known:
            known |= set(self.store.docs_store.distinct("metadata.mgflows.subset"))
        if unknown := sorted(subsets - known):
            raise InputError(
                f"the subset {unknown[0]!r} does not exist",
                hint=f"the subsets are {', '.join(sorted(known, key=subset_order))}",
            )

    def _check_family(self, family: str, campaign: str | None) -> None:
        docs = self.store.docs_store
        criteria = {"metadata.mgflows.campaign": campaign} if campaign else None
        fields = ("metadata.mgflows.family", "output.summaries.family")
        known = sorted({each for field in fields for each in docs.distinct(field, criteria)} - {""})
        if family not in known:
            where = f" in the campaign {campaign!r}" if campaign else ""
            listing = f"{', '.join(known[:10])}{' ...' if len(known) > 10 else ''}" or "none yet"
            raise InputError(
                f"the family {family!r} does not exist{where}",
                hint=f"the families are {listing}",
            )

    def _check_fingerprint(self, fingerprint: str) -> None:
        known = sorted(filter(None, self.store.docs_store.distinct("output.fingerprint_digest")))
        if fingerprint not in known:
            raise InputError(
                f"no frame has a method with the digest {fingerprint!r}",
                hint=f"the digests are {listed(known)}" if known else "there are no frames yet",
            )

    def _clocks(self, campaign: str | None) -> dict[str, Clock]:
        """Return the effective times of the families by campaign."""
        criteria: dict[str, Any] = {"output.@class": SupercoolingDocument.__name__}
        if campaign:
            criteria["metadata.mgflows.campaign"] = campaign
        documents = self.store.docs_store.query(
            criteria,
            [
                "metadata.mgflows.campaign",
                "output.families",
                "output.seconds_per_reduced_time",
                "output.provenance.created_at",
            ],
        )
        return {
            document["metadata"]["mgflows"].get("campaign", ""): Clock(
                document["output"]["families"],
                document["output"].get("seconds_per_reduced_time", math.nan),
            )
            # The last one of a campaign, which has all samples.
            for document in sorted(documents, key=_creation)
        }

    def _origins(self, campaign: str | None) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the cooling length or rate of each family by campaign and family."""
        names = (SampleDocument.__name__, SampleSetDocument.__name__, QuenchDocument.__name__)
        criteria: dict[str, Any] = {"output.@class": {"$in": names}}
        if campaign:
            criteria["metadata.mgflows.campaign"] = campaign
        found: dict[tuple[str, str], dict[str, Any]] = {}
        properties = [
            "metadata.mgflows",
            "output.families",
            "output.n_sweeps",
            "output.samples.n_sweeps",
            "output.cooling_rate",
        ]
        for document in self.store.docs_store.query(criteria, properties):
            tags, output = document["metadata"]["mgflows"], document["output"]
            name = tags.get("campaign", "")
            if "families" in output:
                members = zip(output["families"], output["samples"], strict=True)
            else:
                members = zip([tags.get("family", "")], [output], strict=True)
            for family, member in members:
                found[name, family] = {
                    key: member[key] for key in ("n_sweeps", "cooling_rate") if key in member
                }
        return found


def choose_potential(
    potentials: Iterable[PotentialDocument], split: Split = "family"
) -> PotentialDocument:
    """Return the potential of the last generation that did not fail its acceptance.

    Of the given split if there is one; if all failed, the last of them.

    Parameters
    ----------
    potentials
        At least one potential, oldest first; of equal ones the last is returned.
    split
        The split of its training set.
    """
    return max(
        enumerate(potentials),
        key=lambda item: (
            item[1].split == split,
            item[1].accepted is not False,
            item[1].generation,
            item[0],
        ),
    )[1]


def _is_reference(value: Any) -> bool:
    """Whether a field is in the additional store and was not loaded."""
    return isinstance(value, dict) and "blob_uuid" in value


def _creation(document: dict[str, Any]) -> tuple[str, str]:
    """Sort by UTC creation; jobflow's ``completed_at`` is the local time of the worker."""
    provenance = document["output"].get("provenance") or {}
    return (str(provenance.get("created_at", "")), str(document.get("completed_at", "")))


def _log10(time: float | None, name: str, default: float) -> float:
    if time is None:
        return default
    if not time > 0.0:
        raise InputError(f"{name} is {time:g} but must be positive: a time in t*")
    return math.log10(time)
