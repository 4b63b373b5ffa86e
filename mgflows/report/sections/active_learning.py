"""Section on the rounds of active learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.report.content import Section, Table, compact
from mgflows.text import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.nep.targets import GroupErrors
    from mgflows.report.data import ReportData
    from mgflows.schemas.active_learning import RoundDocument


def rounds(data: ReportData) -> Section:
    """Labels, errors and cost of the rounds, and errors of the last one by subset and decade."""
    section = Section("rounds", "Rounds", "Active learning")
    last = data.rounds[-1]
    section.paragraphs.append(sentence(f"After round {last.round}, {last.reason}"))
    section.tables.append(
        Table(
            "Rounds",
            [
                "round",
                "labels",
                "candidates (meV/Å)",
                "test forces (meV/Å)",
                "error over spread",
                "discarded",
                "CPU time (s)",
            ],
            [_row(each) for each in data.rounds],
            "Every round evaluates the potential trained on the labels of the previous rounds. "
            "Candidates are configurations along melts and quenches with that potential; their "
            "error is the spread of a committee, calibrated with the test frames. Test forces: the "
            "worst subset.",
        )
    )
    for title, groups in (
        ("Test errors by subset", last.by_subset),
        ("Test errors by decade of effective time (t*)", last.by_decade),
    ):
        if groups:
            section.tables.append(_errors(title, groups))
    return section


def _row(judged: RoundDocument) -> list[str]:
    candidates = judged.candidates
    return [
        str(judged.round),
        str(judged.n_labels),
        _with(candidates.force_error, candidates.force_error_error),
        compact(max(group.force for group in judged.by_subset)),
        f"{judged.scales['force'].value:.2f}",
        str(candidates.n_discarded),
        f"{sum(judged.cpu_seconds.values()):.0f}",
    ]


def _errors(title: str, groups: Sequence[GroupErrors]) -> Table:
    return Table(
        title,
        ["group", "frames", "energy (meV/atom)", "estimated", "forces (meV/Å)", "estimated"],
        [
            [
                each.group,
                str(each.n_frames),
                _with(each.energy, each.energy_error),
                _with(each.energy_estimate, None),
                _with(each.force, each.force_error),
                _with(each.force_estimate, None),
            ]
            for each in groups
        ],
        "Estimated: the spread of the committee, scaled with the errors of the other groups.",
    )


def _with(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return compact(value) if error is None else f"{compact(value)} ± {compact(error)}"
