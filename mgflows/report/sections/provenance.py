"""Start and end of the report: key numbers, cost, provenance, limits and commands."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mgflows.report.content import Section, Table, Tile, compact
from mgflows.report.sections.acceptance import acceptance_tile
from mgflows.text import listed, plural, sentence
from mgflows.units import duration

if TYPE_CHECKING:
    from mgflows.report.data import ReportData
    from mgflows.schemas.training import ErrorStatistics

_DONE, _FAILED = "COMPLETED", "FIZZLED"
_WORDS = {_FAILED: "failed"}


def tiles(data: ReportData) -> list[Tile]:
    """The key numbers at the top of the page."""
    counts = data.frame_counts
    found = [
        acceptance_tile(data.best_potential),
        Tile("Labelled frames", str(sum(counts.values())), note=f"{len(counts)} of 7 subsets"),
    ]
    family, paper = (_test_errors(data, split) for split in ("family", "paper"))
    for attribute, label, unit in (
        ("energy_rmse", "Energy RMSE, test", "meV/atom"),
        ("force_rmse", "Force RMSE, test", "meV/Å"),
        ("virial_rmse", "Virial RMSE, test", "meV/atom"),
    ):
        values = {
            split: compact(getattr(errors, attribute))
            for split, errors in (("family", family), ("paper", paper))
            if errors is not None
        }
        if not values:
            found.append(Tile(label, "–", note="no potential yet"))
        elif "family" in values:
            found.append(
                Tile(
                    label,
                    values["family"],
                    unit,
                    f"family split\npaper's split: {values.get('paper', 'not trained')}",
                )
            )
        else:
            found.append(
                Tile(label, values["paper"], unit, "paper's split\nfamily split: not trained")
            )
    cpu = sum(cost.cpu_seconds for cost in data.costs)
    wall = ("–", "") if data.wall_seconds is None else _in_minutes(data.wall_seconds)
    found.append(
        Tile("Wall time", *wall, note=f"{duration(cpu)} of processor time" if data.costs else "")
    )
    if data.fireworks:
        others = [
            f"{number} {_WORDS.get(state, state.lower())}"
            for state, number in data.fireworks.items()
            if state != _DONE and number
        ]
        note = "completed\n" + (", ".join(others) if others else "none failed")
        found.append(
            Tile(
                "Fireworks",
                str(data.fireworks.get(_DONE, 0)),
                f"of {sum(data.fireworks.values())}",
                note,
            )
        )
    else:
        found.append(Tile("Jobs", str(sum(cost.n_jobs for cost in data.costs)), note="completed"))
    return found


def provenance(data: ReportData) -> Section:
    """Cost and failures."""
    section = Section("provenance", "Provenance", "Provenance and cost")
    if data.costs:
        total = [
            sum(cost.n_jobs for cost in data.costs),
            sum(cost.wall_seconds for cost in data.costs),
            sum(c.cpu_seconds for c in data.costs),
        ]
        rows = [
            [cost.stage, str(cost.n_jobs), duration(cost.wall_seconds), duration(cost.cpu_seconds)]
            for cost in data.costs
        ]
        rows.append(["total", str(total[0]), duration(total[1]), duration(total[2])])
        section.tables.append(
            Table(
                "Cost by stage",
                ["stage", "jobs", "time in jobs", "processor time"],
                rows,
                note="Sums over jobs, several of which run at once; without waiting times.",
                emphasised_rows=(len(rows) - 1,),
            )
        )
    else:
        section.missing.append(
            "The database contains no finished job of this campaign yet, so its cost is unknown."
        )
    failed = data.fireworks.get(_FAILED, 0)
    if failed:
        section.paragraphs.append(
            f"{plural(failed, 'firework')} failed ({_FAILED} in the database); results that depend "
            f"on {'it' if failed == 1 else 'them'} are missing above."
        )
    section.missing.extend(f"{name}: {sentence(reason)}" for name, reason in data.failures)
    return section


def origins(data: ReportData) -> list[tuple[str, str]]:
    """Identifiers and versions, as name and value."""
    campaign, dataset, best = data.campaign, data.dataset, data.best_potential
    found = [
        ("campaign", campaign.campaign),
        ("submitted", campaign.created_at),
        ("settings", campaign.settings_digest),
    ]
    if dataset is not None:
        fingerprint = dataset.fingerprint
        found += [
            ("dataset", dataset.dataset_id),
            (
                "labels",
                (
                    f"{fingerprint.description or fingerprint.code} ({fingerprint.code} "
                    f"{fingerprint.version}, {dataset.fingerprint_digest})"
                ),
            ),
        ]
    for potential in sorted(data.potentials, key=lambda p: (p.generation, p.split)):
        step = "before feedback" if potential.generation == 0 else "after feedback"
        if potential.is_student:
            step = "student of the teacher"
        found.append(
            (
                f"potential, {step}, {potential.split} split",
                f"{potential.potential_id} (seed {potential.provenance.seed})",
            )
        )
    if best is not None:
        found.append(
            (
                "trainer",
                f"{best.trainer.trainer} {best.trainer.version}".strip(),
            )
        )
    made = [
        d.provenance
        for documents in (data.potentials, data.datasets, data.validations)
        for d in documents
    ]
    hosts = sorted({provenance.host for provenance in made})
    if hosts:
        found.append(("computed on", listed(hosts)))
    latest = (
        best.provenance if best is not None else dataset.provenance if dataset is not None else None
    )
    versions = {
        "mgflows": campaign.mgflows_version,
        **(latest.packages if latest is not None else {}),
    }
    found.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return found


def limits(data: ReportData) -> list[str]:
    """Limits of the results."""
    found = []
    if data.is_dft is False:
        found.append(
            "It is not a potential for the real alloy. Its labels come from "
            f"{data.campaign.method.rstrip('.')}; the errors above measure how well the potential "
            "reproduces that method."
        )
    best = data.best_potential
    if best is not None and best.is_student:
        found.append(
            "It is not the potential of the campaign. It is the student of a teacher "
            f"({best.method.rstrip('.')}), from which all of its labels come."
        )
    elif data.campaign.teacher:
        found.append(
            "It was not trained on labels of one method alone. A teacher "
            f"({data.campaign.teacher.rstrip('.')}) relaxed and labelled the structures first; the "
            "method of the campaign labelled a part of them again, and the errors above are of "
            "those."
        )
    if data.campaign.scaled_down:
        found.append(f"It is not the paper's campaign. {sentence(data.campaign.scaled_down)}")
    validation = data.validation
    if validation is not None and data.campaign.scaled_down:
        found.append(f"It is not a validation at the paper's size. {sentence(validation.protocol)}")
    found.append(
        "It is not a comparison with experiment: the figures contain measured moduli and "
        "viscosities where mgflows has them, and no measured g(r). mgflows validate --against "
        "puts other potentials and measured values side by side. Effective times beyond the "
        "molecular-dynamics points are extrapolations of a fitted law."
    )
    return found


def commands(data: ReportData) -> list[tuple[str, str]]:
    """Commands to continue with, each with its purpose."""
    from mgflows.flows.scales import SCALES

    campaign, dataset, potential = (
        shlex.quote(data.campaign.campaign),
        data.dataset,
        data.best_potential,
    )
    found = [("progress, failures and cost", f"mgflows status {campaign}")]
    if dataset is not None:
        found.append(
            (
                "the labelled frames, for any trainer",
                f"mgflows export {dataset.dataset_id} --format extxyz",
            )
        )
    if potential is not None:
        found.append(
            (
                "the potential, for GPUMD, LAMMPS and ASE",
                f"mgflows export {potential.potential_id} --format nep",
            )
        )
        found.append(("validate it again", "mgflows validate nep.txt --suite quick"))
    found.append(
        (
            "this report from the database",
            f"mgflows report {campaign} --directory . --output report.html",
        )
    )
    if data.campaign.scale in SCALES:
        found.append(
            (
                "a new campaign of this scale",
                f"mgflows quickstart --directory again --scale {data.campaign.scale}",
            )
        )
    return found


def _test_errors(data: ReportData, split: str) -> ErrorStatistics | None:
    potential = data.potential(split="family" if split == "family" else "paper")
    return potential.errors.get("test", {}).get("all") if potential is not None else None


def _in_minutes(seconds: float) -> tuple[str, str]:
    """Return number and unit, short enough for a tile."""
    if seconds < 60.0:
        return f"{seconds:.0f}", "s"
    return (
        (f"{seconds / 60.0:.1f}", "min") if seconds < 7200.0 else (f"{seconds / 3600.0:.1f}", "h")
    )
