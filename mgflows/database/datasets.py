"""Datasets made by hand: frozen queries, and datasets merged, subtracted and split again."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from ase.formula import Formula

from mgflows.database.campaigns import record_change
from mgflows.database.planned import batches
from mgflows.errors import InputError
from mgflows.jobs.freezing import Collected, FreezeSettings, freeze
from mgflows.jobs.store import samples_by_family, store_output
from mgflows.schemas.frames import FrameRecord
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument
from mgflows.schemas.training import CrystalSource, DatasetDocument, DatasetFrame
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from jobflow import JobStore
    from pymongo.database import Database

    from mgflows.schemas.campaign import CampaignDocument
    from mgflows.schemas.imports import ImportDocument


__all__ = ["DatasetOperations", "store_dataset"]

_NAMESPACE = uuid.UUID("7f1f2d7a-52b5-5d0f-8f4e-0f5b1c1d9a60")
"""Namespace of the ids of datasets made by hand: the same dataset has the same id."""


class DatasetOperations:
    """The part of :class:`~mgflows.database.glass.GlassDatabase` that makes datasets by hand."""

    if TYPE_CHECKING:
        mongo: Database
        store: JobStore

        def campaign(self, name: str) -> CampaignDocument: ...  # noqa: D102
        def imports(self, campaign: str | None = None) -> list[ImportDocument]: ...  # noqa: D102

    def freeze(
        self,
        frames: Iterable[FrameRecord | DatasetFrame],
        campaign: str | None = None,
        *,
        species: Sequence[str] | None = None,
        settings: FreezeSettings | None = None,
        keep: DatasetDocument | None = None,
        accept_methods: bool = False,
    ) -> DatasetDocument:
        """Freeze frames into a dataset and store it.

        It trains, validates and reports like the datasets of campaigns. The same frames and
        settings give the same ``dataset_id``; a dataset that is stored already is not stored again.

        Parameters
        ----------
        frames
            Frames of :meth:`frames`, or of other datasets.
        campaign
            Campaign of the dataset; by default that of the frames.
        species
            Elements in the order of the potential's types; by default those of the campaign's
            alloy, followed by others of the frames.
        settings
            Settings of the splits.
        keep
            A dataset whose frames keep their side of the splits, so that a potential trained on it
            can be continued.
        accept_methods
            Declare that labels of different methods are the same; what differs is recorded in
            ``mixed_methods``.

        Raises
        ------
        MixedMethodsError
            If the labels are of different methods; the message has the settings that differ.
        InputError
            If there is no frame, the campaign is not clear, or a split is not possible.

        Examples
        --------
        >>> database = GlassDatabase()  # doctest: +SKIP
        >>> dataset = database.freeze(database.frames("zr", subset="aimd"))  # doctest: +SKIP
        """
        earlier = None if keep is None else {frame.frame_id: frame.test for frame in keep.frames}
        return self._freeze(
            list(frames), campaign, species, settings, earlier, accept_methods=accept_methods
        )

    def merge(
        self,
        datasets: Sequence[DatasetDocument],
        campaign: str | None = None,
        *,
        settings: FreezeSettings | None = None,
        keep_splits: bool = True,
        accept_methods: bool = False,
    ) -> DatasetDocument:
        """Freeze and store the union of datasets; a structure in several of them enters once.

        Parameters
        ----------
        datasets
            Datasets with their frames, as :meth:`dataset` returns them.
        campaign
            Campaign of the union; by default that of the datasets.
        settings
            Settings of the splits; by default those of the first dataset.
        keep_splits
            Frames keep their sides. If not, all are divided again.
        accept_methods
            As for :meth:`freeze`.

        Raises
        ------
        MixedMethodsError
            If the labels are of different methods.
        InputError
            If a family is trained on in one dataset and tested on in another.
        """
        roles = _merged_roles(datasets) if keep_splits else None
        return self._freeze(
            [frame for dataset in datasets for frame in dataset.frames],
            campaign or _only({dataset.campaign for dataset in datasets}),
            _union(dataset.species for dataset in datasets),
            settings or _settings_of(datasets[0]),
            roles,
            accept_methods=accept_methods,
            origin={"merged": [dataset.dataset_id for dataset in datasets]},
        )

    def subtract(
        self, dataset: DatasetDocument, frames: Iterable[FrameRecord | DatasetFrame]
    ) -> DatasetDocument:
        """Freeze and store a dataset without some structures; the others keep their sides.

        Parameters
        ----------
        dataset
            The dataset with its frames.
        frames
            Frames of a query or of another dataset; other labels of their structures are removed as
            well.
        """
        kept = _subtracted(dataset, list(frames))
        return self._freeze(
            kept,
            dataset.campaign,
            dataset.species,
            _settings_of(dataset),
            {frame.frame_id: frame.test for frame in kept},
            accept_methods=bool(dataset.mixed_methods),
            origin={"subtracted_from": dataset.dataset_id},
        )

    def split(self, dataset: DatasetDocument, settings: FreezeSettings) -> DatasetDocument:
        """Freeze and store the same frames with other splits.

        Parameters
        ----------
        dataset
            The dataset with its frames.
        settings
            Settings of the new splits.
        """
        return self._freeze(
            dataset.frames,
            dataset.campaign,
            dataset.species,
            settings,
            accept_methods=bool(dataset.mixed_methods),
            origin={"split_of": dataset.dataset_id},
        )

    def _freeze(
        self,
        frames: Sequence[FrameRecord | DatasetFrame],
        campaign: str | None,
        species: Sequence[str] | None,
        settings: FreezeSettings | None,
        earlier: Mapping[str, Mapping[str, bool]] | None = None,
        *,
        accept_methods: bool = False,
        origin: dict[str, Any] | None = None,
    ) -> DatasetDocument:
        if not frames:
            raise InputError("there is no frame to freeze", hint="choose another query")
        names = {frame.campaign for frame in frames if isinstance(frame, FrameRecord)}
        campaign = self.campaign(campaign or _only(names)).campaign
        if species is None:
            known = self.campaign(campaign).alloy.species
            formulas = {frame.formula for frame in frames}
            found = sorted({symbol for formula in formulas for symbol in Formula(formula).count()})
            species = _union([known, found]) if set(known) & set(found) else found
        settings = settings or FreezeSettings()
        ordered = set() if settings.include_ordered else self._ordered_families(names or {campaign})
        with record_provenance(
            seed=settings.split_seed,
            settings={**vars(settings), "campaign": campaign, "species": list(species)}
            | (origin or {}),
            parents=list(dict.fromkeys(frame.uuid for frame in frames)),
        ) as provenance:
            collected, digests = _collected(
                self.store, frames, ordered, accept_methods=accept_methods
            )
            isolated: dict[str, float] = {}
            for document in self.imports():
                if document.fingerprint_digest in digests:
                    isolated |= document.isolated_atoms
            dataset = freeze(
                collected,
                campaign=campaign,
                species=list(species),
                settings=settings,
                provenance=provenance,
                earlier=earlier,
                isolated_atoms=isolated,
            )
        identifier = store_dataset(self.store, dataset)
        record_change(
            self.mongo,
            campaign,
            "dataset",
            identifier,
            dataset_id=dataset.dataset_id,
            frames=dataset.n_frames,
        )
        return dataset

    def _ordered_families(self, campaigns: Iterable[str]) -> set[str]:
        """Return the families of samples that are flagged as ordered."""
        criteria = {
            "metadata.mgflows.campaign": {"$in": list(campaigns)},
            "output.@class": {"$in": [SampleDocument.__name__, SampleSetDocument.__name__]},
        }
        properties = [
            "metadata.mgflows.family",
            "output.families",
            "output.ordered",
            "output.samples.ordered",
        ]
        samples = samples_by_family(self.store.docs_store.query(criteria, properties))
        return {family for family, sample in samples.items() if sample.get("ordered")}


def _collected(
    store: JobStore,
    frames: Sequence[FrameRecord | DatasetFrame],
    ordered_families: Collection[str],
    *,
    accept_methods: bool,
) -> tuple[Collected, set[str]]:
    """Return the frames outside the ordered families, and the digests of their methods."""
    collected = Collected(accept_methods=accept_methods)
    digests: set[str] = set()
    used = [frame.uuid for frame in frames if frame.family not in ordered_families]
    for label, fingerprint, crystal in _methods(store, list(dict.fromkeys(used))):
        collected.check_method(fingerprint, label)
        digests.add(fingerprint.digest)
        if crystal:
            collected.crystals[crystal["name"]] = CrystalSource(**crystal)
    for frame in frames:
        if frame.family in ordered_families:
            collected.excluded.add(frame.family)
        else:
            collected.add(_entry(frame))
    return collected, digests


def store_dataset(store: JobStore, dataset: DatasetDocument) -> str:
    """Store a dataset, once; return the uuid of its document.

    Parameters
    ----------
    store
        The documents.
    dataset
        The dataset; that of a campaign's own job is found, and not stored again.
    """
    known = store.docs_store.query_one(
        {
            "output.@class": DatasetDocument.__name__,
            "output.dataset_id": dataset.dataset_id,
            "metadata.mgflows.campaign": dataset.campaign,
        },
        ["uuid"],
    )
    if known is not None:
        return str(known["uuid"])
    identifier = str(uuid.uuid5(_NAMESPACE, f"{dataset.campaign}/{dataset.dataset_id}"))
    tags = {"campaign": dataset.campaign, "stage": "training"}
    store_output(store, identifier, "dataset", dataset, tags)
    return identifier


def _merged_roles(datasets: Sequence[DatasetDocument]) -> dict[str, dict[str, bool]]:
    """Return the side of each frame in the splits of several datasets.

    Raises
    ------
    InputError
        If a frame, or a family of the family split, is trained on in one and tested on in another.
    """
    roles: dict[str, dict[str, bool]] = {}
    families: dict[str, bool] = {}
    for dataset in datasets:
        for frame in dataset.frames:
            sides = roles.setdefault(frame.frame_id, dict(frame.test))
            family = families.setdefault(frame.family, frame.test["family"])
            if sides != frame.test or (frame.family and family != frame.test["family"]):
                names = listed([each.dataset_id for each in datasets])
                raise InputError(
                    f"the family {frame.family!r} is trained on in one of the datasets {names} and "
                    "tested on in another",
                    hint="merge them with a new split (--new-split, keep_splits=False)",
                )
    return roles


def _subtracted(
    dataset: DatasetDocument, others: Iterable[FrameRecord | DatasetFrame]
) -> list[DatasetFrame]:
    """Return the frames of a dataset whose structures are not among others."""
    left_out = {
        identity
        for frame in others
        for identity in (frame.frame_id, frame.structure_id)
        if identity
    }
    return [
        frame
        for frame in dataset.frames
        if frame.frame_id not in left_out and frame.structure_id not in left_out
    ]


def _entry(frame: FrameRecord | DatasetFrame) -> DatasetFrame:
    if isinstance(frame, DatasetFrame):
        return frame.model_copy(update={"test": {}})
    return DatasetFrame.from_summary(
        frame,
        uuid=frame.uuid,
        number=frame.number,
        subset=frame.subset,
        family=frame.family,
        log10_time=frame.log10_time,
    )


def _methods(
    store: JobStore, uuids: Sequence[str]
) -> Iterable[tuple[str, MethodFingerprint, dict[str, Any] | None]]:
    """Yield uuid, method and crystal of label documents; each method of equal text once."""
    seen: set[str] = set()
    for some in batches(uuids, 1000):
        properties = ["uuid", "output.fingerprint", "metadata.mgflows.crystal"]
        for document in store.docs_store.query({"uuid": {"$in": some}}, properties):
            crystal = document.get("metadata", {}).get("mgflows", {}).get("crystal")
            text = str(document["output"]["fingerprint"])
            if text in seen and not crystal:
                continue
            seen.add(text)
            fingerprint = MethodFingerprint.model_validate(document["output"]["fingerprint"])
            yield document["uuid"], fingerprint, crystal


def _only(names: Collection[str]) -> str:
    if len(names) != 1:
        raise InputError(
            f"the frames belong to {len(names)} campaigns: {', '.join(sorted(names)) or 'none'}",
            hint="name the campaign of the dataset",
        )
    return next(iter(names))


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(each for some in lists for each in some))


def _settings_of(dataset: DatasetDocument) -> FreezeSettings:
    return FreezeSettings(
        test_fraction=dataset.test_fraction,
        split_seed=dataset.split_seed,
        held_out_families=tuple(dataset.held_out_families),
    )
