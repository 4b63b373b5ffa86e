"""Changes of an existing campaign: more samples, another training or validation, more labels.

Each change is a part of the campaign (:func:`mgflows.launch.submit`): it uses the stored results of
the parts before, and the campaign's document records it in its history. The same training,
validation or labels submitted again add nothing; the same extension adds as much again.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobflow import Flow, OutputReference
from monty.json import MontyDecoder, MontyEncoder

from mgflows.database.campaigns import record_change
from mgflows.errors import InputError
from mgflows.files import digest_of_text
from mgflows.flows.campaign import CampaignMaker
from mgflows.flows.outputs import TrainingOutput
from mgflows.flows.tags import Schedule, set_campaign, tag
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.jobs.makers import makers_for
from mgflows.jobs.validation import ValidationMaker
from mgflows.launch.campaigns import Submission, submit
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.sampling import SurrogateCoolingDocument
from mgflows.schemas.training import DatasetDocument, PotentialDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ase import Atoms
    from jobflow import Job
    from pymatgen.core import Structure

    from mgflows.database import GlassDatabase
    from mgflows.jobs.training import TrainingMaker
    from mgflows.methods.base import LabelMethod

__all__ = [
    "Extension",
    "dataset_of",
    "default_training",
    "default_validation",
    "extend",
    "label",
    "retrain",
    "revalidate",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extension:
    """What is added to a campaign.

    Parameters
    ----------
    samples
        (cooling length in sweeps, number of further samples) pairs.
    n_heated
        Further relaxed samples that are heated.
    cooling_rates
        Rates in K/ps of further glasses quenched with the campaign's best potential.
    n_glasses
        Glasses for each rate.
    train
        Freeze a dataset of all labels afterwards, and train on it from the last potential.
    validate
        Validate the potential that is trained.

    Raises
    ------
    InputError
        If nothing is added, or a number is not positive.
    """

    samples: tuple[tuple[int, int], ...] = ()
    n_heated: int = 0
    cooling_rates: tuple[float, ...] = ()
    n_glasses: int = 1
    train: bool = True
    validate: bool = True

    def __post_init__(self) -> None:
        if not (self.samples or self.n_heated or self.cooling_rates):
            raise InputError(
                "nothing is added to the campaign",
                hint="give samples, heated samples or cooling rates",
            )
        numbers = [value for pair in self.samples for value in pair]
        if any(value <= 0 for value in (*numbers, *self.cooling_rates, self.n_glasses)):
            raise InputError(
                f"{self} has a number that is not positive",
                hint="give pairs of sweeps and samples, and rates in K/ps",
            )


def extend(database: GlassDatabase, campaign: str, extension: Extension) -> Submission:
    """Sample, heat or quench more, label it, and train on all labels.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    extension
        What is added.

    Raises
    ------
    InputError
        If the campaign was not submitted with a CampaignMaker, or has no results to start from.
    """
    stored = _Stored(database, campaign)
    part = _part("extend", vars(extension), stored.history)
    maker = stored.maker
    flows: list[Flow | Job] = []
    labels: list[OutputReference] = []
    samples, clock, checks = stored.samples, stored.clock, list[OutputReference]()
    if extension.samples:
        sampling = replace(
            maker.sampling_maker,
            samples=extension.samples,
            coolings=(),
            onset_maker=None,
            seed=_seed(maker.sampling_maker.seed, part),
        )
        sampled = sampling.make(maker.alloy, existing=stored.sample_counts)
        glasses = sampled.output
        labelling = replace(
            maker.label_maker,
            n_crystals=0,
            n_held_out=0,
            fitness_maker=None,
            similarity_maker=None,
            trajectory_check_maker=None,
            seed=_seed(maker.label_maker.seed, part),
        ).make(maker.alloy, glasses.samples, glasses.n_sweeps)
        flows += [sampled, labelling]
        labels += labelling.output.labels
        samples = {**samples, **glasses.samples}
        if stored.coolings:
            again = maker.sampling_maker.clock_maker.make(
                samples=list(samples.values()),
                families=list(samples),
                coolings=stored.coolings,
                onset=stored.onset,
            )
            flows.append(tag(again, stage="sampling", category="sampling"))
            clock = again.output
    if extension.n_heated:
        heated = _heat(stored, extension.n_heated, part)
        flows += heated
        labels += [job.output for job in heated]
    if extension.cooling_rates:
        feedback = replace(
            stored.feedback_maker,
            cooling_rates=extension.cooling_rates,
            n_glasses=extension.n_glasses,
            seed=_seed(stored.feedback_maker.seed, part),
        ).make(
            stored.potential,
            [start.structure for start in (stored.relaxed or stored.samples).values()],
            existing=stored.quench_counts,
        )
        flows.append(feedback)
        labels += feedback.output.labels.values()
    if extension.train:
        inputs = DatasetInputs(
            labels=[*stored.labels, *labels],
            samples=list(samples.values()),
            clock=clock,
            held_out_families=stored.held_out_families,
            trajectory_checks=checks,
        )
        training = maker.retraining_maker.make(
            maker.alloy,
            campaign,
            inputs,
            stage="feedback",
            generation=stored.last_generation + 1,
            previous=stored.last_training,
            scaled_down=maker.scaled_down,
        )
        flows.append(training)
        if extension.validate and maker.validation_maker and stored.relaxed:
            flows.append(
                maker.validation_maker.make(
                    training.output.potential, stored.relaxed, stored.n_sweeps
                )
            )
    return stored.submit(Flow(flows, name=part), part, "extend", vars(extension))


def retrain(
    database: GlassDatabase,
    campaign: str,
    *,
    dataset: str | None = None,
    maker: TrainingMaker | None = None,
    start_from: str | None = None,
) -> Submission:
    """Train another potential on a dataset of the campaign.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    dataset
        Id of the dataset; by default that of the best potential, or the last one.
    maker
        Trainer, model and split; by default those of the campaign's last training.
    start_from
        Id of a potential of the same model to start from; by default from random parameters.

    Raises
    ------
    InputError
        If there is no such dataset or potential.
    """
    stored = _Stored(database, campaign)
    maker = maker or stored.training_maker
    found = dataset_of(database, campaign, dataset)
    arguments: dict[str, Any] = {"generation": stored.last_generation + 1}
    details: dict[str, Any] = {
        "dataset_id": found.dataset_id,
        "maker": json.loads(json.dumps(maker, cls=MontyEncoder)),
    }
    if start_from is not None:
        start = database.potential(start_from)
        arguments |= {
            "started_from": start.potential_id,
            "initial_potential": start.nep_txt,
        }
        details["started_from"] = start.potential_id
    part = _part("retrain", details, ())
    job = maker.make(
        _reference(database, DatasetDocument, "dataset_id", found.dataset_id), **arguments
    )
    job.name = f"train {arguments['generation']}"
    tag(job, stage="training", category="training", schedule=Schedule(priority=5))
    return stored.submit(Flow([job], name=part), part, "retrain", details)


def revalidate(
    database: GlassDatabase,
    campaign: str,
    *,
    potential: str | None = None,
    maker: ValidationMaker | None = None,
    structures: Sequence[Atoms] | None = None,
) -> Submission:
    """Validate a potential again, such as with another suite.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    potential
        Id of the potential; by default the best one.
    maker
        Suite and reference; by default those of the campaign.
    structures
        Glasses to strain and shear; by default the relaxed samples of the campaign, longest cooling
        first.

    Raises
    ------
    InputError
        If there is no such potential, or no glass to validate on.
    """
    stored = _Stored(database, campaign)
    found = database.potential(potential) if potential else database.best_potential(campaign)
    maker = maker or stored.validation_maker
    glasses: list[Structure | OutputReference]
    if structures is not None:
        glasses = [structure_from_atoms(atoms) for atoms in structures]
    else:
        families = sorted(stored.relaxed, key=lambda family: -stored.n_sweeps.get(family, 0))
        glasses = [stored.relaxed[family].structure for family in families]
    if not glasses:
        raise InputError(
            f"the campaign {campaign!r} has no relaxed samples to validate on",
            hint="give glasses with --structures",
        )
    details = {
        "potential_id": found.potential_id,
        "maker": json.loads(json.dumps(maker, cls=MontyEncoder)),
        "structures": [] if structures is None else [atoms.todict() for atoms in structures],
    }
    part = _part("revalidate", details, ())
    reference = _reference(database, PotentialDocument, "potential_id", found.potential_id)
    job = maker.make(reference, glasses)
    job.name = "validate"
    tag(job, stage="validation", category="md", schedule=Schedule(seconds=60.0))
    details["structures"] = len(glasses)
    return stored.submit(Flow([job], name=part), part, "revalidate", details)


def label(
    database: GlassDatabase,
    campaign: str,
    structures: Sequence[Atoms],
    *,
    subset: str = "added",
    families: Sequence[str] | None = None,
    method: LabelMethod | None = None,
) -> Submission:
    """Label structures with the method of the campaign.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    structures
        Periodic structures.
    subset
        Subset of the frames.
    families
        Family of each; by default each is a family of its own.
    method
        The method, for a campaign of imported frames that has none.

    Raises
    ------
    InputError
        If a structure cannot be labelled, or the campaign has no method.
    """
    from mgflows.jobs.labels import prepare

    if not structures:
        raise InputError("there is no structure to label", hint="give at least one")
    stored = _Stored(database, campaign)
    own = makers_for(method).label if method is not None else None
    maker = own or stored.maker.label_maker.label_maker
    prepared = [structure_from_atoms(prepare(atoms)) for atoms in structures]
    details: dict[str, Any] = {
        "structures": [structure.as_dict() for structure in prepared],
        "subset": subset,
    }
    part = _part("label", details, ())
    names = families or [f"{subset}-{part[-8:]}-{number:03d}" for number in range(len(prepared))]
    jobs = []
    for structure, family in zip(prepared, names, strict=True):
        job = maker.make(structure)
        job.name = f"label {family}"
        jobs.append(tag(job, stage="labels", category="dft", subset=subset, family=family))
    details["structures"] = len(prepared)
    return stored.submit(Flow(jobs, name=part), part, "label", details)


class _Stored:
    """What a campaign has in the database, as references that new jobs can use."""

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
        """The validation of the campaign; the default where it has none."""
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
        return _reference(self.database, PotentialDocument, "potential_id", found.potential_id)

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
            return _reference(
                self.database, PotentialDocument, "potential_id", potential.potential_id
            )

        return TrainingOutput(
            _reference(self.database, DatasetDocument, "dataset_id", best.dataset_id),
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
        """Number of samples by cooling length, with those that failed."""
        planned = Counter(dict(self.maker.sampling_maker.samples))
        for change in self.document.history:
            if change.action == "extend":
                for n_sweeps, count in change.details["samples"]:
                    planned[n_sweeps] += count
        return planned

    @property
    def quench_counts(self) -> Counter[float]:
        """Number of quenched glasses by cooling rate, with those that failed."""
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
        """All labels of the campaign's own method."""
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


_HAS_SUBSET = {"metadata.mgflows.subset": {"$exists": True}}


def _heat(stored: _Stored, number: int, part: str) -> list[Job]:
    maker = stored.maker.label_maker.heating_maker
    if maker is None:
        raise InputError(
            f"the campaign {stored.campaign!r} heats no samples",
            hint="submit a campaign with a heating_maker",
        )
    relaxed, heated = stored.relaxed, stored.heated
    free = [family for family in relaxed if family not in heated]
    if number > len(free):
        raise InputError(
            f"{number} samples are to be heated, but {len(free)} relaxed ones are not heated yet",
            hint="extend the campaign by samples as well",
        )
    jobs = []
    for index, family in enumerate(free[::-1][:number]):
        job = maker.make(relaxed[family].structure, _seed(index, part))
        job.name = f"heat {family}"
        jobs.append(tag(job, stage="labels", category="dft", subset="aimd", family=family))
    return jobs


def default_training(database: GlassDatabase, campaign: str) -> TrainingMaker:
    """Return the Maker of the campaign's last training; the default for imported frames."""
    return _Stored(database, campaign).training_maker


def default_validation(database: GlassDatabase, campaign: str) -> ValidationMaker:
    """Return the Maker of the campaign's validation; the default where it has none."""
    return _Stored(database, campaign).validation_maker


def dataset_of(database: GlassDatabase, campaign: str, dataset: str | None) -> DatasetDocument:
    """Return a dataset by its id, or the last one of a campaign.

    Raises
    ------
    InputError
        If there is none.
    """
    if dataset is not None:
        return database.dataset(dataset)
    found = database.datasets(campaign)
    if not found:
        raise InputError(
            f"the campaign {campaign!r} has no dataset yet",
            hint=f"freeze one with: mgflows dataset freeze {campaign}",
        )
    return found[-1]


def _reference(database: GlassDatabase, model: type, key: str, value: str) -> OutputReference:
    document = database.store.docs_store.query_one(
        {"output.@class": model.__name__, f"output.{key}": value}, ["uuid"]
    )
    if document is None:
        raise InputError(f"there is no document with {key} {value}", hint="check the id")
    return OutputReference(document["uuid"], output_schema=model)


def _part(action: str, details: Any, before: Iterable[str]) -> str:
    """Name of a part: the same change after the same changes has the same name."""
    text = json.dumps(details, sort_keys=True, default=str)
    return f"{action}-{digest_of_text(text, *sorted(before), length=12)}"


def _seed(seed: int, part: str) -> int:
    """A seed of its own for a part."""
    return int(digest_of_text(str(seed), part, length=8), 16) % 2**31
