"""The section on stored comparisons with other potentials (`mgflows validate --submit`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mgflows.report.comparison import comparison_notes, comparison_panels, quantity_tables
from mgflows.report.content import Section
from mgflows.text import listed, plural

if TYPE_CHECKING:
    from mgflows.report.data import ReportData


def comparisons(data: ReportData) -> Section:
    """Each comparison: a table of the potentials side by side, and its figures."""
    section = Section("comparison", "Comparison", "Comparison with other potentials")
    for number, document in enumerate(data.comparisons, start=1):
        result = document.comparison()
        names = [model.name for model in result.models]
        numbers = [
            f"{model.n_done} of {plural(model.n_planned, 'sample')} with {model.name}"
            for model in document.models
        ]
        section.paragraphs.append(
            f"Validation {document.validation}, suite {document.suite}: {listed(names)} side by "
            f"side, averaged over independent samples ({listed(numbers)})."
        )
        section.tables.append(
            replace(quantity_tables(result)[0], title=f"Validation {document.validation}")
        )
        section.missing.extend(
            note for note in comparison_notes(result) if note != "Nothing failed."
        )
        for panel in comparison_panels(result):
            name = f"comparison-{number}-{panel.name}"
            drawing = replace(panel.drawing, name=name)
            section.panels.append(
                replace(
                    panel,
                    name=name,
                    drawing=drawing,
                    caption=f"{panel.caption} {plural(len(names), 'potential')} in the validation "
                    f"{document.validation}.",
                )
            )
    return section
