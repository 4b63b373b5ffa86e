"""Freezing a dataset: which frames, which split, under one hash."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobflow import JobConfig, Maker, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.store import current_store, read_samples, read_summaries
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.training import SUBSETS, CrystalSource, DatasetDocument, DatasetFrame, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobflow import OutputReference

__all__ = ["DatasetMaker", "MixedMethodsError"]

logger = logging.getLogger(__name__)


class MixedMethodsError(InputError):
    """Frames labelled by different methods were put into one dataset."""


@dataclass
class DatasetMaker(Maker):
    """Collect the labels of a campaign into a frozen dataset with its train/test splits.

    The frames themselves stay in the label documents; the dataset lists them by hash. The same frames, splits and settings give the same
    ``dataset_id`` everywhere.

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
        Fewest label jobs, as a fraction, that must have succeeded; below it the job fails and says so.
    """

    name: str = "dataset"
    test_fraction: float = 0.2
    split_seed: int = 0
    include_ordered: bool = False
    minimum_fraction: float = 0.5

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
        scaled_down: str = "",
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
            Outputs of the sampling jobs: their flags decide what is left out.
        clock
            Output of the supercooling job: gives frames their effective time.
        held_out_families
            Families that are wholly in the test set (the paper's two new AIMD trajectories).
        previous
            An earlier dataset of the campaign: its frames keep their side of the splits, so that a warm start never sees its own test set.
        trajectory_checks
            Outputs of the jobs that compared a trajectory with a single point.
        scaled_down
            In which way the campaign is smaller than the paper's.

        Raises
        ------
        MixedMethodsError
            If the labels come from more than one method; says which settings differ.
        InputError
            If too few labels succeeded, or the stresses of a trajectory hold the kinetic part.
        """
        from mgflows.nep.split import split_frames

        store = current_store()
        settings = {
            "test_fraction": self.test_fraction,
            "split_seed": self.split_seed,
            "include_ordered": self.include_ordered,
        }
        with record_provenance(
            seed=self.split_seed, settings=settings, parents=[label.uuid for label in labels]
        ) as provenance:
            _refuse_kinetic_stresses(store, trajectory_checks or [])
            ordered = set() if self.include_ordered else _ordered_families(store, samples or [])
            times = _first(store, clock, ["families"]).get("families", {})
            collected = _collect(store, labels, ordered, times)
            if len(collected.missing) > (1.0 - self.minimum_fraction) * len(labels):
                raise InputError(
                    f"{len(collected.missing)} of {len(labels)} label jobs of campaign {campaign!r} have no output, more than the "
                    f"{1 - self.minimum_fraction:.0%} allowed; rerun the failed ones or lower minimum_fraction"
                )
            frames = sorted(collected.frames.values(), key=lambda frame: frame.frame_id)
            held_out = sorted(set(held_out_families or ()) & {frame.family for frame in frames})
            earlier = {
                entry["frame_id"]: entry["test"] for entry in _earlier_frames(store, previous)
            }
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
            dataset_id=_dataset_id(frames, species, settings),
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
            scaled_down=scaled_down,
            provenance=provenance,
        )


class _Collection:
    """Frames met so far."""

    def __init__(self) -> None:
        self.frames: dict[str, DatasetFrame] = {}
        self.missing: list[str] = []
        self.excluded: set[str] = set()
        self.crystals: dict[str, CrystalSource] = {}
        self.duplicates = 0
        self._fingerprint: MethodFingerprint | None = None

    @property
    def fingerprint(self) -> MethodFingerprint:
        if self._fingerprint is None:
            raise InputError("no label of the campaign succeeded; look at its failed jobs")
        return self._fingerprint

    def check_method(self, fingerprint: MethodFingerprint, uuid: str) -> None:
        if self._fingerprint is None:
            self._fingerprint = fingerprint
        elif found := self._fingerprint.differences(fingerprint):
            differences = "; ".join(found)
            raise MixedMethodsError(
                f"label {uuid} was made by another method than the others ({differences}); label all frames with one method"
            )
        else:
            self._fingerprint = self._fingerprint.merge(fingerprint)


def _collect(
    store: Any, labels: Iterable[OutputReference], ordered: set[str], times: dict[str, float]
) -> _Collection:
    collection = _Collection()
    for uuid, document in read_summaries(store, labels, ["summaries", "fingerprint"]):
        if document is None:
            collection.missing.append(uuid)
            continue
        tags = document["metadata"]["mgflows"]
        family, subset = tags["family"], tags["subset"]
        if subset not in SUBSETS:
            raise InputError(
                f"label {uuid} belongs to the subset {subset!r}; the subsets are {', '.join(SUBSETS)}"
            )
        if family in ordered:
            collection.excluded.add(family)
            continue
        collection.check_method(
            MethodFingerprint.model_validate(document["output"]["fingerprint"]), uuid
        )
        if tags.get("crystal") and document["output"]["summaries"]:
            collection.crystals[tags["crystal"]["name"]] = CrystalSource(**tags["crystal"])
        for number, summary in enumerate(document["output"]["summaries"]):
            if summary["frame_id"] in collection.frames:
                collection.duplicates += 1
                continue
            collection.frames[summary["frame_id"]] = DatasetFrame(
                frame_id=summary["frame_id"],
                uuid=uuid,
                number=number,
                subset=subset,
                family=family,
                n_atoms=summary["n_atoms"],
                energy_per_atom=summary["energy_per_atom"],
                log10_time=times.get(family),
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


def _refuse_kinetic_stresses(store: Any, checks: Iterable[OutputReference]) -> None:
    for uuid, document in read_summaries(store, checks, ["passed", "reason"]):
        if document is None:
            logger.warning(
                "the check %s of a trajectory has no output: whether its stresses hold the kinetic part is not known",
                uuid,
            )
        elif not document["output"]["passed"]:
            raise InputError(
                f"{document['output']['reason']}; label the frames of the trajectories again as single points, or leave them out"
            )


def _ordered_families(store: Any, samples: Iterable[OutputReference]) -> set[str]:
    return {
        family
        for family, sample in read_samples(store, samples, ["ordered"]).items()
        if sample["ordered"]
    }


def _first(store: Any, reference: OutputReference | None, fields: list[str]) -> dict[str, Any]:
    """Fields of one output; empty if there is no reference or the job failed."""
    if reference is None:
        return {}
    _, document = next(read_summaries(store, [reference], fields))
    return document["output"] if document else {}


def _earlier_frames(store: Any, previous: OutputReference | None) -> list[dict[str, Any]]:
    return [] if previous is None else store.get_output(previous.uuid, load=True)["frames"]


def _dataset_id(frames: list[DatasetFrame], species: list[str], settings: dict[str, Any]) -> str:
    content = [[frame.frame_id, frame.subset, frame.family, frame.test] for frame in frames]
    text = json.dumps([content, list(species), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _counts(frames: list[DatasetFrame]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for subset in SUBSETS:
        members = [frame for frame in frames if frame.subset == subset]
        if members:
            counts[subset] = {
                "frames": len(members),
                "families": len(Counter(frame.family for frame in members)),
                "family_test": sum(frame.test["family"] for frame in members),
                "paper_test": sum(frame.test["paper"] for frame in members),
            }
    return counts
