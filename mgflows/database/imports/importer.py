"""Store the labels of other programs as labels of a campaign."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mgflows
from mgflows.alloy import Alloy
from mgflows.database.campaigns import record_change, store_campaign
from mgflows.database.imports.foreign import Reading
from mgflows.database.imports.sources import find_format, read_foreign
from mgflows.database.imports.survey import CheckedFrame, Survey
from mgflows.errors import InputError
from mgflows.files import digest_of_text, sha256_of_file
from mgflows.jobs.store import store_output
from mgflows.schemas.campaign import CAMPAIGNS, CampaignDocument, check_campaign_name
from mgflows.schemas.imports import ImportDocument, ImportedFile
from mgflows.schemas.labels import LabelDocument, MethodFingerprint
from mgflows.schemas.provenance import Provenance, record_provenance
from mgflows.text import listed

if TYPE_CHECKING:
    from jobflow import JobStore
    from pymongo.database import Database

__all__ = ["Importer"]

_FRAMES_PER_DOCUMENT = 100
_NAMESPACE = uuid.UUID("3a0c5f8e-6c0e-5b7a-9d0c-6a1f0f4f2b11")
"""Namespace of the ids of imported documents: the same frames give the same ids."""

Progress = Callable[[str, int], None]


class Importer:
    """Read files twice: to describe their contents, and to store them.

    Parameters
    ----------
    mongo, store
        The database.
    paths
        Files, folders and archives.
    campaign
        Name of the campaign; a new one is registered if there is none of this name.
    method
        Method of the labels, in words: functional, cutoff, code. It is part of the fingerprint.
    reading
        How the files are read and grouped.
    is_dft
        Whether the method is a density functional; by default true for outputs of VASP.
    progress
        Called with the name of a file and the number of its frames read so far.

    Raises
    ------
    InputError
        If there are no files or no method, or a file is missing.
    """

    def __init__(
        self,
        mongo: Database,
        store: JobStore,
        paths: Sequence[Path | str] | Path | str,
        *,
        campaign: str,
        method: str,
        reading: Reading | None = None,
        is_dft: bool | None = None,
        progress: Progress | None = None,
    ) -> None:
        if isinstance(paths, str | Path):
            paths = [paths]
        if not paths:
            raise InputError("there is no file to import", hint="name at least one")
        if not method.strip():
            raise InputError(
                "the method of the labels is not declared",
                hint="describe it, such as 'VASP 6.4, PBE, 450 eV'",
            )
        self.mongo, self.store = mongo, store
        check_campaign_name(campaign)
        self.paths = [Path(path) for path in paths]
        self.campaign = campaign
        self.reading = reading or Reading()
        self.formats = [self.reading.format or find_format(path) for path in self.paths]
        self._progress = progress
        self._refused: set[str] | None = None
        is_vasp = set(self.formats) == {"vasp"}
        self.declared = MethodFingerprint(
            code="imported",
            version="",
            settings={"declared": " ".join(method.split())},
            is_dft=is_vasp if is_dft is None else is_dft,
            description=f"imported labels: {' '.join(method.split())}",
        )

    def survey(self) -> ImportDocument:
        """Read and check all frames, and store nothing.

        Raises
        ------
        InputError
            If no frame can be imported, or the files are of several methods.
        """
        with record_provenance(settings=self._settings()) as provenance:
            survey = self._new_survey()
            files = []
            for path, form in zip(self.paths, self.formats, strict=True):
                before = survey.n_accepted
                for _ in self._checked(path, survey):
                    pass
                files.append(
                    ImportedFile(
                        name=path.name,
                        sha256="" if path.is_dir() else sha256_of_file(path),
                        format=form,
                        n_frames=survey.n_accepted - before,
                    )
                )
        self._refused = survey.refused_places
        if not survey.n_accepted or survey.fingerprint is None:
            reasons = [f"{survey.examples[reason]} ({n} frames)" for reason, n in _top(survey)]
            raise InputError(
                f"none of the {survey.n_read} frames can be imported: {listed(reasons)}",
                hint="name the keys of the label, or correct the files",
            )
        if any(form != "vasp" for form in self.formats):
            survey.check_units(self.reading.units)
        return self._document(survey, files, provenance)

    def store_frames(self, described: ImportDocument) -> ImportDocument:
        """Store the frames that a survey described; frames that are stored already are skipped.

        An interrupted import is completed by importing the same files again.

        Raises
        ------
        InputError
            If a campaign has to be registered and the frames do not define an alloy.
        """
        self._prepare(described)
        identifier = self._uuid("import", *(f"{f.name}{f.sha256}" for f in described.files))
        survey = self._new_survey()
        survey.refused_before = self._refused
        fingerprint = described.fingerprint
        buffers: defaultdict[str, list[CheckedFrame]] = defaultdict(list)
        for path in self.paths:
            for checked in self._checked(path, survey):
                buffer = buffers[checked.subset]
                buffer.append(checked)
                if len(buffer) == _FRAMES_PER_DOCUMENT:
                    self._store_labels(checked.subset, buffer, fingerprint, identifier)
                    buffer.clear()
        for subset, buffer in buffers.items():
            if buffer:
                self._store_labels(subset, buffer, fingerprint, identifier)
        if survey.n_new or not self._has(identifier):
            tags = {"campaign": self.campaign, "stage": "labels"}
            store_output(self.store, identifier, "import", described, tags)
            record_change(
                self.mongo,
                self.campaign,
                "import",
                identifier if not survey.n_new else f"{identifier}/{survey.n_new}",
                files=[file.name for file in described.files],
                frames=survey.n_new,
                method=described.fingerprint.description,
            )
        return described

    def _new_survey(self) -> Survey:
        survey = Survey(self.declared)
        query = {
            "metadata.mgflows.campaign": self.campaign,
            "output.summaries": {"$exists": True},
        }
        fields = {"output.summaries.frame_id": 1, "output.summaries.structure_id": 1}
        for document in self.mongo["outputs"].find(query, fields):
            for summary in document["output"]["summaries"]:
                survey.known_frames.add(summary["frame_id"])
                survey.known_structures.add(summary.get("structure_id", ""))
        return survey

    def _checked(self, path: Path, survey: Survey) -> Iterator[CheckedFrame]:
        for number, foreign in enumerate(read_foreign(path, self.reading), start=1):
            checked = survey.add(foreign, self.reading)
            if self._progress is not None:
                self._progress(path.name, number)
            if checked is not None:
                yield checked

    def _document(
        self, survey: Survey, files: list[ImportedFile], provenance: Provenance
    ) -> ImportDocument:
        assert survey.fingerprint is not None
        given = self.reading.units
        units = {
            "energy": f"{given.energy} per {given.energy_per or 'cell'}",
            "length": given.length,
            "forces": f"{given.energy}/{given.length}",
        }
        if survey.keys["stress"]:
            sign = "positive under tension (ASE)"
            if given.stress_sign == "compression":
                sign = "positive under compression"
            units["stress"] = f"{given.stress}, {sign}"
        if survey.keys["virial"]:
            units["virial"] = f"{given.energy} per cell, positive under compression"
        if set(self.formats) == {"vasp"}:
            units = {
                "energy": "eV, free energy (e_fr_energy)",
                "length": "A",
                "forces": "eV/A",
                "stress": "kbar, positive under compression (VASP)",
            }
        return ImportDocument(
            campaign=self.campaign,
            files=files,
            fingerprint=survey.fingerprint,
            fingerprint_digest=survey.fingerprint.digest,
            keys={quantity: dict(counts) for quantity, counts in survey.keys.items() if counts},
            units=units,
            n_read=survey.n_read,
            n_accepted=survey.n_accepted,
            n_new=survey.n_new,
            n_known=survey.n_known,
            n_repeated=survey.n_repeated,
            n_relabelled=survey.n_relabelled,
            n_steps=survey.n_steps,
            refused=dict(survey.refused.most_common()),
            examples=survey.examples,
            subsets=dict(survey.subsets.most_common()),
            formulas=dict(survey.formulas.most_common()),
            n_families=survey.n_families,
            family_source=self.reading.family_key or "",
            ranges=survey.ranges,
            isolated_atoms=survey.isolated_atoms,
            unused_keys=sorted(survey.unused),
            warnings=list(survey.warnings()),
            provenance=provenance,
        )

    def _settings(self) -> dict[str, Any]:
        reading = self.reading
        return {
            "files": [path.name for path in self.paths],
            "formats": list(self.formats),
            "keys": dict(reading.keys),
            "units": dict(vars(reading.units)),
            "subset": reading.subset,
            "subset_key": reading.subset_key,
            "family_key": reading.family_key,
        }

    def _prepare(self, described: ImportDocument) -> None:
        """Create the indexes of label documents, and the campaign if it is new."""
        outputs = self.mongo["outputs"]
        outputs.create_index([("uuid", 1), ("index", 1)], unique=True)
        outputs.create_index(
            [
                ("metadata.mgflows.campaign", 1),
                ("metadata.mgflows.stage", 1),
                ("metadata.mgflows.subset", 1),
            ]
        )
        self.mongo["outputs_blobs.files"].create_index("metadata.blob_uuid")
        if self.mongo[CAMPAIGNS].find_one({"campaign": self.campaign}, {"_id": 1}) is None:
            store_campaign(self.mongo, _campaign_of(self.campaign, described))

    def _store_labels(
        self,
        subset: str,
        frames: list[CheckedFrame],
        fingerprint: MethodFingerprint,
        parent: str,
    ) -> None:
        with record_provenance(settings=self._settings(), parents=[parent]) as provenance:
            label = LabelDocument.from_frames(
                [checked.frame for checked in frames],
                fingerprint,
                provenance,
                summaries=[checked.summary for checked in frames],
            )
        identifier = self._uuid(subset, *(checked.summary.frame_id for checked in frames))
        tags = {"campaign": self.campaign, "stage": "labels", "subset": subset}
        store_output(self.store, identifier, "imported labels", label, tags)

    def _has(self, identifier: str) -> bool:
        return self.mongo["outputs"].find_one({"uuid": identifier}, {"_id": 1}) is not None

    def _uuid(self, *words: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, "\0".join((self.campaign, *words))))


def _campaign_of(name: str, described: ImportDocument) -> CampaignDocument:
    """A campaign of imported frames only; its alloy has their mean composition and density."""
    from ase.formula import Formula

    counts: defaultdict[str, float] = defaultdict(float)
    for formula, n_frames in described.formulas.items():
        for symbol, number in Formula(formula).count().items():
            counts[symbol] += n_frames * number
    total = sum(counts.values())
    volume = described.ranges["volume_per_atom"]
    largest = int(described.ranges["atoms"].largest)
    alloy = Alloy(
        {symbol: count / total for symbol, count in counts.items()},
        # Every species needs an atom in the box.
        n_atoms=max(largest, *(int(2.0 * total / count) + 1 for count in counts.values())),
        number_density=2.0 / (volume.smallest + volume.largest),
        name=name,
    )
    settings = {"imported": True, "campaign": name}
    return CampaignDocument(
        campaign=name,
        alloy=alloy,
        method=described.fingerprint.description,
        fingerprint=described.fingerprint,
        settings=settings,
        settings_digest=digest_of_text(f"imported {name}"),
        scale="imported",
        scaled_down="",
        planned={},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        mgflows_version=mgflows.__version__,
    )


def _top(survey: Survey, number: int = 3) -> list[tuple[str, int]]:
    return survey.refused.most_common(number)
