"""Queries of labelled frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mgflows.database.documents import DocumentReader, creation_order
from mgflows.database.frames import Clock, FrameRecord, load_atoms, records_of
from mgflows.database.progress import require_campaign
from mgflows.errors import InputError
from mgflows.schemas.imports import ImportDocument
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument, SupercoolingDocument
from mgflows.schemas.training import SUBSETS, subset_order
from mgflows.schemas.validation import QuenchDocument
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ase import Atoms
    from pandas import DataFrame
    from pymatgen.core import Structure

    from mgflows.database.frame_errors import ErrorKind, FrameError
    from mgflows.database.imports.foreign import Reading
    from mgflows.database.queries import FrameFilter
    from mgflows.schemas.training import DatasetDocument, DatasetFrame, PotentialDocument

__all__ = ["FrameOperations"]


class FrameOperations(DocumentReader):
    """The part of :class:`~mgflows.database.glass.GlassDatabase` that finds and loads frames."""

    if TYPE_CHECKING:

        def dataset(self, dataset_id: str) -> DatasetDocument: ...  # noqa: D102
        def potential(self, potential_id: str) -> PotentialDocument: ...  # noqa: D102

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
            # Imported frames have their own families.
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
        paths: Sequence[Path | str] | Path | str,
        campaign: str,
        method: str,
        *,
        reading: Reading | None = None,
        is_dft: bool | None = None,
        dry_run: bool = False,
    ) -> ImportDocument:
        """Store labels that other programs computed as frames of a campaign.

        Files are extended XYZ (of ASE, GPUMD or MACE), ASE databases, outputs of VASP (files,
        folders or archives), and folders of DeePMD-kit. Every frame passes the same checks as
        computed labels, and no frame is stored twice: repeating a call stores nothing. The declared
        method has its own fingerprint: a dataset never mixes these labels with computed ones.

        Parameters
        ----------
        paths
            Files, folders and archives.
        campaign
            Name of the campaign; a new one if there is none of this name.
        method
            Method of the labels, in words.
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
            If a label job has run again and given another result than the one listed.
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
            Number of frames.
        by
            Error by which frames are ranked.
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
            for document in sorted(documents, key=creation_order)
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


def _log10(time: float | None, name: str, default: float) -> float:
    if time is None:
        return default
    if not time > 0.0:
        raise InputError(f"{name} is {time:g} but must be positive: a time in t*")
    return math.log10(time)
