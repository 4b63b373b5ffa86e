"""Acceptance tests of the potential, at the beginning of its section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.report import style
from mgflows.report.content import Section, Table, Tile, compact
from mgflows.text import plural, sentence

if TYPE_CHECKING:
    from mgflows.schemas.acceptance import AcceptanceRecord, CheckRecord
    from mgflows.schemas.training import PotentialDocument

_OWN = ("melt energy error", "melt force error")


def acceptance_warning(potential: PotentialDocument | None) -> str:
    """The notice at the top of the page if the potential must not be used; empty otherwise."""
    if potential is None or potential.acceptance is None or potential.acceptance.passed:
        return ""
    return (
        f"Potential {potential.potential_id} failed its acceptance and must not be used: "
        f"{sentence(potential.acceptance.reason)}"
    )


def acceptance_tile(potential: PotentialDocument | None) -> Tile:
    """The verdict in one word."""
    if potential is None:
        return Tile("Acceptance", "–", note="no potential yet")
    record = potential.acceptance
    if record is None:
        return Tile("Acceptance", "–", note="not tested")
    n_failed = sum(check.outcome == "failed" for check in record.checks)
    n_passed = sum(check.outcome == "passed" for check in record.checks)
    note = f"{plural(n_passed, 'test')} passed"
    if record.warnings:
        note += f"\n{plural(len(record.warnings), 'warning')}"
    return Tile(
        "Acceptance",
        "passed" if record.passed else "failed",
        note=note if record.passed else f"{plural(n_failed, 'test')} failed",
    )


def add_acceptance(section: Section, potential: PotentialDocument) -> None:
    """Add verdict, tests and worst frames to the section on the potential."""
    record = potential.acceptance
    if record is None:
        section.missing.append(
            f"Potential {potential.potential_id} was not tested after its training: whether it "
            "keeps a melt together is not known."
        )
        return
    section.paragraphs.append(_verdict(record))
    section.tables.append(
        Table(
            "Acceptance",
            ["test", "result", "value", "limits", "unit"],
            [_row(check) for check in record.checks],
            note="Tests after the training. The melt is molecular dynamics with the potential from "
            "a relaxed glass at 0 GPa; dimers are isolated pairs below 2 Å, and their value is the "
            "barrier in front of an attractive hole."
            + (f" Compared with: {record.reference}." if record.reference else ""),
            emphasised_rows=tuple(
                index for index, check in enumerate(record.checks) if check.outcome == "failed"
            ),
        )
    )
    if record.worst_frames:
        section.tables.append(
            Table(
                "Worst test frames",
                ["frame", "subset", "family", "force RMSE (meV/Å)", "energy error (meV/atom)"],
                [
                    [
                        frame.frame_id or "–",
                        style.subset_style(frame.subset).label if frame.subset else "–",
                        frame.family or "–",
                        compact(frame.force_rmse),
                        f"{frame.energy_error:+.1f}",
                    ]
                    for frame in record.worst_frames
                ],
                note="The largest force errors, then the largest energy errors.",
            )
        )


def own_error(potential: PotentialDocument, quantity: str) -> float | None:
    """Error along the potential's own melt.

    Parameters
    ----------
    potential
        The potential.
    quantity
        ``energy`` (meV/atom) or ``force`` (meV/Å).
    """
    record = potential.acceptance
    if record is None:
        return None
    name = f"melt {quantity} error"
    return next((check.value for check in record.checks if check.name == name), None)


def _verdict(record: AcceptanceRecord) -> str:
    if not record.passed:
        return f"The potential failed its acceptance and must not be used: {record.reason}."
    melt = next((check for check in record.checks if check.name == "melt density"), None)
    own = [check for check in record.checks if check.name in _OWN and check.outcome == "passed"]
    said = [sentence(check.sentence) for check in (melt, *own) if check is not None]
    said += [sentence(f"warning: {text}") for text in record.warnings]
    text = " ".join(["The potential passed its acceptance.", *said])
    return text.replace("eV/A", "eV/Å")


def _row(check: CheckRecord) -> list[str]:
    digits = {"melt density": 3, "descriptors in range": 3}.get(check.name)
    value = "–" if check.value is None else _number(check.value, digits)
    limits = " to ".join(
        text
        for text in (
            "" if check.smallest is None else _number(check.smallest, digits),
            "" if check.largest is None else _number(check.largest, digits),
        )
        if text
    )
    if limits and check.smallest is None:
        limits = f"≤ {limits}"
    elif limits and check.largest is None:
        limits = f"≥ {limits}"
    return [check.name, check.outcome, value, limits or "–", check.unit.replace("/A", "/Å") or "–"]


def _number(value: float, digits: int | None) -> str:
    return f"{value:.{digits}f}" if digits is not None else f"{value:.3g}"
