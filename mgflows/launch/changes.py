"""Changes of an existing campaign: more samples, another training or validation, more labels.

Each change is a part of the campaign (:func:`mgflows.launch.submit`): it uses the stored results of
previous parts, and the campaign's document records it in its history. Submitting the same training,
validation or labels again adds nothing; the same extension adds the same amount again.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jobflow import Flow, OutputReference
from monty.json import MontyEncoder

from mgflows.errors import InputError
from mgflows.files import digest_of_text
from mgflows.flows.tags import Schedule, tag
from mgflows.flows.training import DatasetInputs
from mgflows.jobs.makers import makers_for
from mgflows.launch.stored_campaign import StoredCampaign, reference_to
from mgflows.md.protocols import check_rate
from mgflows.methods.base import check_species
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.training import DatasetDocument, PotentialDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms
    from jobflow import Job
    from pymatgen.core import Structure

    from mgflows.database import GlassDatabase
    from mgflows.jobs.training import TrainingMaker
    from mgflows.jobs.validation import ValidationMaker
    from mgflows.launch.campaigns import Submission
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

_LABEL_BATCH = 500
"""Number of structures that are submitted at once; one of 150 atoms with its jobs takes 250 KiB."""


@dataclass(frozen=True)
class Extension:
    """Additions to a campaign.

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
        If nothing is added, or a number is not positive and finite.
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
                hint="give samples, heated samples or cooling rates (--samples, --heat, --rate)",
            )
        values = [value for pair in self.samples for value in pair] + [self.n_glasses]
        if not all(0 < value < math.inf for value in values):
            raise InputError(
                f"{self} has a number that is not positive and finite",
                hint="give pairs of sweeps and samples",
            )
        for rate in self.cooling_rates:
            check_rate(rate)


def extend(database: GlassDatabase, campaign: str, extension: Extension) -> Submission:
    """Add samples, heated samples or quenches with their labels, and train on all labels.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    extension
        The additions.

    Raises
    ------
    InputError
        If the campaign was not submitted with a CampaignMaker, or has no results to start from.
    """
    stored = StoredCampaign(database, campaign)
    part = _part("extend", vars(extension), stored.history)
    added = _Added(dict(stored.samples), stored.clock)
    if extension.samples:
        _sample(stored, extension, part, added)
    if extension.n_heated:
        heated = _heat(stored, extension.n_heated, part)
        added.flows += heated
        added.labels += [job.output for job in heated]
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
        added.flows.append(feedback)
        added.labels += feedback.output.labels.values()
    if extension.train:
        _train(stored, extension, added)
    return stored.submit(Flow(added.flows, name=part), part, "extend", vars(extension))


@dataclass
class _Added:
    """Samples and clock of an extended campaign, and the new flows with their labels."""

    samples: dict[str, OutputReference]
    clock: OutputReference | None
    flows: list[Flow | Job] = field(default_factory=list)
    labels: list[OutputReference] = field(default_factory=list)


def _sample(stored: StoredCampaign, extension: Extension, part: str, added: _Added) -> None:
    """Add samples with their labels, and measure their effective times together with the others."""
    maker = stored.maker
    sampled = replace(
        maker.sampling_maker,
        samples=extension.samples,
        coolings=(),
        onset_maker=None,
        seed=_seed(maker.sampling_maker.seed, part),
    ).make(maker.alloy, existing=stored.sample_counts)
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
    added.flows += [sampled, labelling]
    added.labels += labelling.output.labels
    added.samples |= glasses.samples
    if stored.coolings:
        again = maker.sampling_maker.clock_maker.make(
            samples=list(added.samples.values()),
            families=list(added.samples),
            coolings=stored.coolings,
            onset=stored.onset,
        )
        added.flows.append(tag(again, stage="sampling", category="sampling"))
        added.clock = again.output


def _train(stored: StoredCampaign, extension: Extension, added: _Added) -> None:
    """Train on all labels, and validate the potential."""
    maker = stored.maker
    training = maker.retraining_maker.with_scale(maker.scaled_down).make(
        maker.alloy,
        stored.campaign,
        DatasetInputs(
            labels=[*stored.labels, *added.labels],
            samples=list(added.samples.values()),
            clock=added.clock,
            held_out_families=stored.held_out_families,
        ),
        stage="feedback",
        generation=stored.last_generation + 1,
        previous=stored.last_training,
    )
    added.flows.append(training)
    if extension.validate and maker.validation_maker and stored.relaxed:
        added.flows.append(
            maker.validation_maker.make(training.output.potential, stored.relaxed, stored.n_sweeps)
        )


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
        Id of the dataset; by default the last one.
    maker
        Trainer, model and split; by default those of the campaign's last training.
    start_from
        Id of a potential of the same model to start from; by default from random parameters.

    Raises
    ------
    InputError
        If there is no such dataset or potential.
    """
    stored = StoredCampaign(database, campaign)
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
        reference_to(database, DatasetDocument, "dataset_id", found.dataset_id), **arguments
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
    """Validate a potential again, for example with another suite.

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
    stored = StoredCampaign(database, campaign)
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
    reference = reference_to(database, PotentialDocument, "potential_id", found.potential_id)
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
        Family of each; by default each is a separate family.
    method
        The method, for a campaign of imported frames that has none.

    Raises
    ------
    InputError
        If a structure cannot be labelled, the method lacks an element, or the campaign has no
        method.
    """
    from mgflows.jobs.labels import prepare

    if not structures:
        raise InputError("there is no structure to label", hint="give at least one")
    stored = StoredCampaign(database, campaign)
    own = makers_for(method).label if method is not None else None
    maker = own or stored.maker.label_maker.label_maker
    if families is not None and len(families) != len(structures):
        raise InputError(
            f"there are {len(structures)} structures and {len(families)} families",
            hint="name the family of each structure",
        )
    # All are checked before the first is submitted.
    prepared = [prepare(atoms) for atoms in structures]
    if (used := getattr(maker, "method", None)) is not None:
        check_species(used, sorted({str(symbol) for atoms in prepared for symbol in atoms.symbols}))
    submissions = []
    for first in range(0, len(prepared), _LABEL_BATCH):
        some = prepared[first : first + _LABEL_BATCH]
        names = None if families is None else families[first : first + _LABEL_BATCH]
        submissions.append(_label(stored, maker, some, subset, names))
    return replace(
        submissions[0],
        n_added=sum(each.n_added for each in submissions),
        n_planned=submissions[-1].n_planned,
        is_new=any(each.is_new for each in submissions),
    )


def _label(
    stored: StoredCampaign,
    maker: Any,
    prepared: Sequence[Atoms],
    subset: str,
    families: Sequence[str] | None,
) -> Submission:
    """Submit the labels of a few structures as one part of the campaign."""
    structures = [structure_from_atoms(atoms) for atoms in prepared]
    details: dict[str, Any] = {
        "structures": [structure.as_dict() for structure in structures],
        "subset": subset,
    }
    part = _part("label", details, ())
    names = families or [f"{subset}-{part[-8:]}-{number:03d}" for number in range(len(prepared))]
    jobs = []
    for structure, family in zip(structures, names, strict=True):
        job = maker.make(structure)
        job.name = f"label {family}"
        jobs.append(tag(job, stage="labels", category="dft", subset=subset, family=family))
    details["structures"] = len(prepared)
    return stored.submit(Flow(jobs, name=part), part, "label", details)


def _heat(stored: StoredCampaign, number: int, part: str) -> list[Job]:
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
    return StoredCampaign(database, campaign).training_maker


def default_validation(database: GlassDatabase, campaign: str) -> ValidationMaker:
    """Return the Maker of the campaign's validation, or the default one."""
    return StoredCampaign(database, campaign).validation_maker


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


def _part(action: str, details: Any, before: Iterable[str]) -> str:
    """Name of a part: the same change after the same changes has the same name."""
    text = json.dumps(details, sort_keys=True, default=str)
    return f"{action}-{digest_of_text(text, *sorted(before), length=12)}"


def _seed(seed: int, part: str) -> int:
    """The seed of a part."""
    return int(digest_of_text(str(seed), part, length=8), 16) % 2**31
