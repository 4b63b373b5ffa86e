"""Frozen datasets: a list of frames and their splits, under one hash."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from jobflow import JobConfig, OnMissing, OutputReference, job
from monty.json import MSONable

from mgflows.errors import InputError
from mgflows.jobs.freezing import Collected, FreezeSettings, MixedMethodsError, freeze
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.store import (
    complete_summaries,
    current_store,
    read_samples,
    read_summaries,
)
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.training import CrystalSource, DatasetDocument, DatasetFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DatasetInputs", "DatasetMaker", "MixedMethodsError"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetInputs(MSONable):
    """Inputs of a dataset.

    Parameters
    ----------
    labels
        Outputs of the label jobs; missing ones are counted, not fatal.
    samples
        Outputs of the sampling jobs; families of ordered samples are left out.
    clock
        Output of the supercooling job: the effective time of each family.
    held_out_families
        Families that are entirely in the test set (the paper's two new AIMD trajectories).
    trajectory_checks
        Outputs of the jobs that compared a trajectory with a single point.
    chosen
        Outputs that list further label jobs: of the last round of active learning, whose dataset
        replaces the previous one, and of the choice that replaces labels of a teacher.
    """

    labels: Sequence[OutputReference]
    samples: Sequence[OutputReference] = ()
    clock: OutputReference | None = None
    held_out_families: Sequence[str] = ()
    trajectory_checks: Sequence[OutputReference] = ()
    chosen: Sequence[OutputReference] = ()


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

    @classmethod
    def convert_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Collect the references of an earlier version, which were separate arguments."""
        if "labels" not in arguments:
            return arguments
        names = [field.name for field in fields(DatasetInputs)]
        given = {name: arguments[name] for name in names if arguments.get(name) is not None}
        others = {name: value for name, value in arguments.items() if name not in names}
        return {**others, "inputs": DatasetInputs(**given)}

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
        inputs: DatasetInputs,
        previous: OutputReference | None = None,
    ) -> DatasetDocument:
        """Freeze a dataset.

        Parameters
        ----------
        campaign
            Name of the campaign.
        species
            Element symbols in the order of the potential's types.
        inputs
            Inputs of the dataset.
        previous
            An earlier dataset of the campaign: its frames keep their side of the splits, so that a
            warm start is never tested on frames it was trained on.

        Raises
        ------
        MixedMethodsError
            If the labels come from more than one method; the message has the settings that differ.
        InputError
            If too few labels succeeded, or the stresses of a trajectory contain the kinetic part.
        """
        store = current_store()
        labels, held_out = list(inputs.labels), set(inputs.held_out_families)
        for each in inputs.chosen:
            found = _first(store, each, ["label_uuids", "dataset_uuid", "held_out_families"])
            if not found:
                raise InputError(
                    f"the output of job {each.uuid}, which lists label jobs, is not in the "
                    "database",
                    hint="compute it again with: mgflows heal --yes",
                )
            labels += map(OutputReference, found["label_uuids"])
            held_out |= set(found.get("held_out_families", []))
            if "dataset_uuid" in found:
                previous = OutputReference(found["dataset_uuid"])
        settings = maker_settings(
            self, campaign=campaign, species=species, held_out_families=sorted(held_out)
        )
        with record_provenance(
            seed=self.split_seed, settings=settings, parents=[label.uuid for label in labels]
        ) as provenance:
            _refuse_kinetic_stresses(store, inputs.trajectory_checks)
            ordered = set() if self.include_ordered else _ordered_families(store, inputs.samples)
            times = _first(store, inputs.clock, ["families"]).get("families", {})
            earlier = {
                entry["frame_id"]: entry["test"] for entry in _earlier_frames(store, previous)
            }
            collected = _collect(store, labels, ordered, times)
            if len(collected.missing) > (1.0 - self.minimum_fraction) * len(labels):
                raise InputError(
                    f"{len(collected.missing)} of {len(labels)} label jobs of campaign "
                    f"{campaign!r} have no output, more than the {1 - self.minimum_fraction:.0%} "
                    "allowed",
                    hint="rerun the failed ones or lower minimum_fraction",
                )
            return freeze(
                collected,
                campaign=campaign,
                species=species,
                settings=FreezeSettings(
                    test_fraction=self.test_fraction,
                    split_seed=self.split_seed,
                    include_ordered=self.include_ordered,
                    held_out_families=tuple(sorted(held_out)),
                ),
                provenance=provenance,
                earlier=earlier,
            )


def _collect(
    store: Any, labels: Iterable[OutputReference], ordered: set[str], times: dict[str, float]
) -> Collected:
    collection = Collected()
    for uuid, document in read_summaries(store, labels, ["summaries", "fingerprint"]):
        if document is None:
            collection.missing.append(uuid)
            continue
        tags = document["metadata"]["mgflows"]
        family = tags.get("family", "")
        if family in ordered:
            collection.excluded.add(family)
            continue
        collection.check_method(
            MethodFingerprint.model_validate(document["output"]["fingerprint"]), uuid
        )
        if tags.get("crystal") and document["output"]["summaries"]:
            collection.crystals[tags["crystal"]["name"]] = CrystalSource(**tags["crystal"])
        for number, summary in enumerate(complete_summaries(store, uuid, document)):
            own = summary.family or family
            collection.add(
                DatasetFrame.from_summary(
                    summary,
                    uuid=uuid,
                    number=number,
                    subset=tags["subset"],
                    family=own,
                    log10_time=times.get(own),
                )
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
