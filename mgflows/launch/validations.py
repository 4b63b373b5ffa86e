"""Submission of validations by independent samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.connections import open_database, open_job_store
from mgflows.errors import InputError
from mgflows.launch.advancing import PLANS
from mgflows.launch.campaigns import Submission, submit
from mgflows.schemas.campaign import CAMPAIGNS
from mgflows.schemas.comparison import ValidationSampleDocument
from mgflows.text import listed
from mgflows.validation.measurement import glass_digest
from mgflows.validation.run import composition_of, unique_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms

    from mgflows.flows.comparison import ComparisonFlowMaker
    from mgflows.md.potentials import Potential
    from mgflows.settings import Settings

__all__ = ["submit_validation"]

_OF_ONE_GLASS = ("soundness", "glass", "yield")
"""Samples whose number is that of their glass; quenches and melts take the glasses in turn."""


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
        another suite, composition or potential, or other glasses, are stored or submitted; and for
        potentials of which some have these samples and others do not.
    ServiceError
        If the database does not answer.
    """
    flow = maker.make(potentials, glasses, label_energies)
    digests = [glass_digest(glass) for glass in glasses]
    _check_name(maker, potentials, glasses, digests, settings)
    names = unique_names(potentials)
    part = _part(maker, names, settings)
    submission = submit(flow, settings, part=part, minimum_fraction=0.0)
    if submission.is_new:
        _record(f"{maker.name}/{part}", {"glasses": digests, "potentials": names}, settings)
    return submission


def _part(maker: ComparisonFlowMaker, names: list[str], settings: Settings) -> str:
    """Name of the part of the validation: samples of further potentials are a part of their own."""
    part = f"samples from {maker.first + 1}"
    database = open_database(settings)
    try:
        earlier = database[PLANS].find_one({"_id": f"{maker.name}/{part}"}, ["potentials"]) or {}
    finally:
        database.client.close()
    known = earlier.get("potentials", names)
    further = [name for name in names if name not in known]
    if further and len(further) < len(names):
        raise InputError(
            f"the validation {maker.name} has these samples of {listed(known)} already, but not of "
            f"{listed(further)}",
            hint=f"give only {listed(further)}: all potentials of a validation are compared",
        )
    return f"samples of {', '.join(further)} from {maker.first + 1}" if further else part


def _record(plan: str, values: dict[str, Any], settings: Settings) -> None:
    """Store values with the plan: its samples record them only when they have finished."""
    database = open_database(settings)
    try:
        database[PLANS].update_one({"_id": plan}, {"$set": values})
    finally:
        database.client.close()


def _check_name(
    maker: ComparisonFlowMaker,
    potentials: Sequence[Potential],
    glasses: Sequence[Atoms],
    glass_digests: Sequence[str],
    settings: Settings,
) -> None:
    name, hint = maker.name, "give this validation another name"
    database = open_database(settings)
    try:
        if database[CAMPAIGNS].find_one({"campaign": name}, {"_id": 1}):
            raise InputError(f"{name} is the name of a campaign", hint=hint)
        plans = list(database[PLANS].find({"campaign": name}, ["glasses"]))
    finally:
        database.client.close()
    samples = _stored_samples(name, settings)
    different = sorted(
        {
            number
            for number, digest in _known_glasses(plans, samples)
            if number < len(glasses) and glass_digests[number] != digest
        }
    )
    digests = {
        label: potential.digest
        for label, potential in zip(unique_names(potentials), potentials, strict=True)
    }
    composition = composition_of(glasses)
    for stored in samples:
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
    if different:
        number, n_more = different[0], len(different) - 1
        more = f", nor {'is' if n_more == 1 else 'are'} {n_more} more" if n_more else ""
        raise InputError(
            f"the validation {name} has other glasses: its glass {number + 1} is not the given one "
            f"({glasses[number].get_chemical_formula()}){more}",
            hint=f"give the glasses of {name} in their order, or {hint}",
        )


def _known_glasses(
    plans: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]]
) -> Iterator[tuple[int, str]]:
    """Numbers and digests of the glasses of a validation; earlier versions recorded none."""
    for plan in plans:
        yield from enumerate(plan.get("glasses", []))
    for sample in samples:
        digest = sample.get("glass_digest")
        # The first quench or melt starts from the first glass, however many there were.
        if digest and (sample["kind"] in _OF_ONE_GLASS or sample["index"] == 0):
            yield sample["index"], digest


def _stored_samples(name: str, settings: Settings) -> list[dict[str, Any]]:
    """What identifies the stored samples, and their inputs, each once."""
    store = open_job_store(settings)
    store.connect()
    criteria = {
        "output.@class": ValidationSampleDocument.__name__,
        "output.validation": name,
    }
    fields = (
        *("suite", "composition", "potential", "potential_digest"),
        *("kind", "index", "glass_digest"),
    )
    found = [
        document["output"]
        for document in store.query(criteria, properties=[f"output.{field}" for field in fields])
    ]
    distinct = {
        tuple(each.get(field) for field in fields if field != "composition"): each for each in found
    }
    return list(distinct.values())
