"""Submission of validations by independent samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.connections import open_database, open_job_store
from mgflows.errors import InputError
from mgflows.launch.campaigns import Submission, submit
from mgflows.schemas.campaign import CAMPAIGNS
from mgflows.schemas.comparison import ValidationSampleDocument
from mgflows.validation.run import composition_of, unique_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mgflows.flows.comparison import ComparisonFlowMaker
    from mgflows.md.potentials import Potential
    from mgflows.settings import Settings

__all__ = ["submit_validation"]


def submit_validation(
    maker: ComparisonFlowMaker,
    potentials: Sequence[Potential],
    glasses: Sequence[Atoms],
    settings: Settings,
    label_energies: Sequence[float | None] | None = None,
) -> Submission:
    """Submit the samples of a validation; submitting the same ones again adds nothing.

    Its collector averages the samples that exist, however many failed.

    Parameters
    ----------
    maker
        The flow Maker; its name is that of the validation.
    potentials, glasses, label_energies
        As for :meth:`mgflows.flows.comparison.ComparisonFlowMaker.make`.
    settings
        Settings that name the database.

    Raises
    ------
    InputError
        For what the flow Maker refuses, the name of a campaign, or a name under which samples of
        another suite, composition or potential are stored.
    ServiceError
        If the database does not answer.
    """
    flow = maker.make(potentials, glasses, label_energies)
    _check_name(maker, potentials, glasses, settings)
    return submit(flow, settings, part=f"samples from {maker.first + 1}", minimum_fraction=0.0)


def _check_name(
    maker: ComparisonFlowMaker,
    potentials: Sequence[Potential],
    glasses: Sequence[Atoms],
    settings: Settings,
) -> None:
    name, hint = maker.name, "give this validation another name"
    database = open_database(settings)
    try:
        if database[CAMPAIGNS].find_one({"campaign": name}, {"_id": 1}):
            raise InputError(f"{name} is the name of a campaign", hint=hint)
    finally:
        database.client.close()
    digests = {
        label: potential.digest
        for label, potential in zip(unique_names(potentials), potentials, strict=True)
    }
    composition = composition_of(glasses)
    for stored in _stored_samples(name, settings):
        if stored["suite"] != maker.sample_maker.suite:
            raise InputError(
                f"the validation {name} has samples of the suite {stored['suite']}, not "
                f"{maker.sample_maker.suite}",
                hint=hint,
            )
        if any(
            abs(stored["composition"].get(symbol, 0.0) - composition.get(symbol, 0.0)) > 1e-6
            for symbol in {*composition, *stored["composition"]}
        ):
            raise InputError(f"the validation {name} has samples of another composition", hint=hint)
        if (
            digests.get(stored["potential"], stored["potential_digest"])
            != stored["potential_digest"]
        ):
            raise InputError(
                f"the validation {name} has samples of another potential with the name "
                f"{stored['potential']}",
                hint=hint,
            )


def _stored_samples(name: str, settings: Settings) -> list[dict[str, Any]]:
    """Suite, composition, potential and its digest of the stored samples, each once."""
    store = open_job_store(settings)
    store.connect()
    criteria = {
        "output.@class": ValidationSampleDocument.__name__,
        "output.validation": name,
    }
    fields = ("suite", "composition", "potential", "potential_digest")
    found = [
        document["output"]
        for document in store.query(criteria, properties=[f"output.{field}" for field in fields])
    ]
    distinct = {
        (each["suite"], each["potential"], each["potential_digest"]): each for each in found
    }
    return list(distinct.values())
