"""Frozen datasets: a list of frames and their splits, under one hash."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jobflow import JobConfig, OnMissing, job

from mgflows.errors import InputError
from mgflows.files import digest_of_text
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.store import current_store, load_label, read_samples, read_summaries
from mgflows.schemas.frames import FrameSummary
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.training import (
    CrystalSource,
    DatasetDocument,
    DatasetFrame,
    Split,
    subset_order,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from jobflow import OutputReference

__all__ = ["DatasetMaker", "MixedMethodsError"]

logger = logging.getLogger(__name__)


class MixedMethodsError(InputError):
    """Frames labelled by different methods were put into one dataset."""


@dataclass
class DatasetMaker(StoredMaker):
    """Collect the labels of a campaign into a frozen dataset with its train/test splits.

    The frames themselves stay in the label documents; the dataset lists them by hash. The same
    frames, splits and settings give the same ``dataset_id`` everywhere.

    A structure with several labels enters once: with the label of the earlier dataset, or else the
    one with the smallest hash. The others are listed in ``relabelled``.

    Parameters
    ----------
    name
        Name of the job.
    test_fraction
        Fraction of frames in the test set (paper, section II: 20 %).
    split_seed
        Seed of the splits.
    include_ordered
        Keep frames of samples flagged as crystalline or Frank-Kasper ordered.
    minimum_fraction
        Smallest fraction of label jobs that must have succeeded; below it the job fails.
    """

    name: str = "dataset"
    test_fraction: float = 0.2
    split_seed: int = 0
    include_ordered: bool = False
    minimum_fraction: float = 0.5

    retired_arguments: ClassVar[tuple[str, ...]] = ("scaled_down",)

    @job(
        data="frames",
        output_schema=DatasetDocument,
        config=JobConfig(
            resolve_references=False, expose_store=True, on_missing_references=OnMissing.NONE
        ),
    )
    def make(
        self,
        campaign: str,
        species: list[str],
        labels: list[OutputReference],
        samples: list[OutputReference] | None = None,
        clock: OutputReference | None = None,
        held_out_families: list[str] | None = None,
        previous: OutputReference | None = None,
        trajectory_checks: list[OutputReference] | None = None,
    ) -> DatasetDocument:
        """Freeze a dataset.

        Parameters
        ----------
        campaign
            Name of the campaign.
        species
            Element symbols in the order of the potential's types.
        labels
            Outputs of the label jobs; missing ones are counted, not fatal.
        samples
            Outputs of the sampling jobs; families of ordered samples are left out.
        clock
            Output of the supercooling job: the effective time of each family.
        held_out_families
            Families that are entirely in the test set (the paper's two new AIMD trajectories).
        previous
            An earlier dataset of the campaign: its frames keep their side of the splits, so that a
            warm start is never tested on frames it was trained on.
        trajectory_checks
            Outputs of the jobs that compared a trajectory with a single point.

        Raises
        ------
        MixedMethodsError
            If the labels come from more than one method; the message has the settings that differ.
        InputError
            If too few labels succeeded, or the stresses of a trajectory contain the kinetic part.
        """
        from mgflows.nep.split import split_frames

        store = current_store()
        settings = maker_settings(
            self, campaign=campaign, species=species, held_out_families=held_out_families or []
        )
        with record_provenance(
            seed=self.split_seed, settings=settings, parents=[label.uuid for label in labels]
        ) as provenance:
            _refuse_kinetic_stresses(store, trajectory_checks or [])
            ordered = set() if self.include_ordered else _ordered_families(store, samples or [])
            times = _first(store, clock, ["families"]).get("families", {})
            earlier = {
                entry["frame_id"]: entry["test"] for entry in _earlier_frames(store, previous)
            }
            collected = _collect(store, labels, ordered, times)
            collected.keep_one_label_per_structure(earlier)
            if len(collected.missing) > (1.0 - self.minimum_fraction) * len(labels):
                raise InputError(
                    f"{len(collected.missing)} of {len(labels)} label jobs of campaign "
                    f"{campaign!r} have no output, more than the {1 - self.minimum_fraction:.0%} "
                    "allowed",
                    hint="rerun the failed ones or lower minimum_fraction",
                )
            frames = sorted(collected.frames.values(), key=lambda frame: frame.frame_id)
            held_out = sorted(set(held_out_families or ()) & {frame.family for frame in frames})
            schemes: tuple[Split, ...] = ("family", "paper")
            for scheme in schemes:
                sides = split_frames(
                    [frame.frame_id for frame in frames],
                    [frame.family for frame in frames],
                    [frame.subset for frame in frames],
                    scheme=scheme,
                    test_fraction=self.test_fraction,
                    seed=self.split_seed,
                    held_out_families=held_out,
                    earlier={frame_id: test[scheme] for frame_id, test in earlier.items()},
                )
                for frame, side in zip(frames, sides, strict=True):
                    frame.test[scheme] = bool(side)
        return DatasetDocument(
            dataset_id=self._dataset_id(frames, species),
            campaign=campaign,
            species=list(species),
            n_frames=len(frames),
            counts=_counts(frames),
            frames=frames,
            crystals=[collected.crystals[name] for name in sorted(collected.crystals)],
            held_out_families=held_out,
            test_fraction=self.test_fraction,
            split_seed=self.split_seed,
            fingerprint=collected.fingerprint,
            fingerprint_digest=collected.fingerprint.digest,
            missing=collected.missing,
            excluded_families=sorted(collected.excluded),
            duplicates=collected.duplicates,
            relabelled=collected.relabelled,
            provenance=provenance,
        )

    def _dataset_id(self, frames: list[DatasetFrame], species: list[str]) -> str:
        """Hash frames, splits and the settings that define them; this input must never change."""
        settings = {
            "test_fraction": self.test_fraction,
            "split_seed": self.split_seed,
            "include_ordered": self.include_ordered,
        }
        content = [[frame.frame_id, frame.subset, frame.family, frame.test] for frame in frames]
        return digest_of_text(json.dumps([content, list(species), settings], sort_keys=True))


class _Collection:
    """The frames found so far."""

    def __init__(self) -> None:
        self.frames: dict[str, DatasetFrame] = {}
        self.missing: list[str] = []
        self.excluded: set[str] = set()
        self.crystals: dict[str, CrystalSource] = {}
        self.duplicates = 0
        self.relabelled: list[str] = []
        self.structures: dict[str, list[str]] = {}
        self._fingerprint: MethodFingerprint | None = None

    @property
    def fingerprint(self) -> MethodFingerprint:
        if self._fingerprint is None:
            raise InputError(
                "no label of the campaign succeeded", hint="fix and rerun its failed jobs"
            )
        return self._fingerprint

    def check_method(self, fingerprint: MethodFingerprint, uuid: str) -> None:
        if self._fingerprint is None:
            self._fingerprint = fingerprint
        elif found := self._fingerprint.differences(fingerprint):
            differences = "; ".join(found)
            raise MixedMethodsError(
                f"label {uuid} was made by another method than the others ({differences})",
                hint="label all frames with one method",
            )
        else:
            self._fingerprint = self._fingerprint.merge(fingerprint)

    def keep_one_label_per_structure(self, earlier: Collection[str]) -> None:
        """Drop further labels of a structure; frames of an earlier dataset are kept."""
        for frame_ids in self.structures.values():
            _, *others = sorted(frame_ids, key=lambda frame_id: (frame_id not in earlier, frame_id))
            for frame_id in others:
                del self.frames[frame_id]
                self.relabelled.append(frame_id)
        self.relabelled.sort()
        if self.relabelled:
            logger.warning(
                "%d frames are further labels of a structure that is in the dataset, and are left "
                "out: %s",
                len(self.relabelled),
                ", ".join(self.relabelled[:5]),
            )


def _collect(
    store: Any, labels: Iterable[OutputReference], ordered: set[str], times: dict[str, float]
) -> _Collection:
    collection = _Collection()
    for uuid, document in read_summaries(store, labels, ["summaries", "fingerprint"]):
        if document is None:
            collection.missing.append(uuid)
            continue
        tags = document["metadata"]["mgflows"]
        family, subset = tags.get("family", ""), tags["subset"]
        if family in ordered:
            collection.excluded.add(family)
            continue
        collection.check_method(
            MethodFingerprint.model_validate(document["output"]["fingerprint"]), uuid
        )
        if tags.get("crystal") and document["output"]["summaries"]:
            collection.crystals[tags["crystal"]["name"]] = CrystalSource(**tags["crystal"])
        for number, summary in enumerate(_summaries(store, uuid, document)):
            if summary.frame_id in collection.frames:
                collection.duplicates += 1
                continue
            collection.structures.setdefault(summary.structure_id, []).append(summary.frame_id)
            collection.frames[summary.frame_id] = DatasetFrame(
                frame_id=summary.frame_id,
                uuid=uuid,
                number=number,
                subset=subset,
                family=summary.family or family,
                n_atoms=summary.n_atoms,
                energy_per_atom=summary.energy_per_atom,
                log10_time=times.get(summary.family or family),
                test={},
            )
    if collection.missing:
        logger.warning("%d label jobs have no output and are left out", len(collection.missing))
    if collection.excluded:
        logger.warning(
            "ordered samples are left out with all their labels: %s",
            ", ".join(sorted(collection.excluded)),
        )
    return collection


def _summaries(store: Any, uuid: str, document: dict[str, Any]) -> list[FrameSummary]:
    """Return the summaries of a label; those of version 0.1 have no hash of the structure yet."""
    summaries = [FrameSummary.model_validate(each) for each in document["output"]["summaries"]]
    if all(summary.structure_id for summary in summaries):
        return summaries
    return [
        summary.model_copy(update={"structure_id": frame.structure_id})
        for summary, frame in zip(summaries, load_label(store, uuid).frames, strict=True)
    ]


def _refuse_kinetic_stresses(store: Any, checks: Iterable[OutputReference]) -> None:
    for uuid, document in read_summaries(store, checks, ["passed", "reason"]):
        if document is None:
            logger.warning(
                "the check %s of a trajectory has no output: its stresses may contain the kinetic "
                "part",
                uuid,
            )
        elif not document["output"]["passed"]:
            raise InputError(
                document["output"]["reason"],
                hint="label the frames of the trajectories again as single points, or leave them "
                "out",
            )


def _ordered_families(store: Any, samples: Iterable[OutputReference]) -> set[str]:
    return {
        family
        for family, sample in read_samples(store, samples, ["ordered"]).items()
        if sample["ordered"]
    }


def _first(store: Any, reference: OutputReference | None, fields: list[str]) -> dict[str, Any]:
    """Return fields of one output; empty without a reference or if the job failed."""
    if reference is None:
        return {}
    _, document = next(read_summaries(store, [reference], fields))
    return document["output"] if document else {}


def _earlier_frames(store: Any, previous: OutputReference | None) -> list[dict[str, Any]]:
    return [] if previous is None else store.get_output(previous.uuid, load=True)["frames"]


def _counts(frames: list[DatasetFrame]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for subset in sorted({frame.subset for frame in frames}, key=subset_order):
        members = [frame for frame in frames if frame.subset == subset]
        counts[subset] = {
            "frames": len(members),
            "families": len({frame.family for frame in members}),
            "family_test": sum(frame.test["family"] for frame in members),
            "paper_test": sum(frame.test["paper"] for frame in members),
        }
    return counts
