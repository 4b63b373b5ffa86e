"""Failed checks at the top of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mgflows.database.glass import choose_potential
from mgflows.report.page import render_report
from mgflows.report.sections.warnings import failed_checks

if TYPE_CHECKING:
    from mgflows.report import ReportData


def test_a_hole_and_a_warning_come_first(full: ReportData) -> None:
    found = failed_checks(full)
    assert "Atoms of Al–Al (at 1.7 Å) attract each other at short distance." in found
    assert any(text.startswith("Acceptance: ") for text in found)


def test_failed_checks_stand_above_all_numbers(empty: ReportData, full: ReportData) -> None:
    failed = replace(empty, failures=[("quench", "the cell collapsed")])
    text = render_report(replace(failed, validations=full.validations))
    assert text.index('id="failed-checks"') < text.index('class="tiles"')
    assert "1 job failed: see the end of this report." in text
    assert "failed-checks" not in render_report(empty)


def test_a_student_is_no_potential_of_the_campaign(full: ReportData) -> None:
    student = full.best_potential.model_copy(
        update={"generation": -1, "method": "UNEP-v1", "teacher": "UNEP-v1"}
    )
    failed = student.acceptance and student.acceptance.model_copy(update={"passed": False})
    untested = full.best_potential.model_copy(update={"acceptance": failed})
    assert choose_potential([untested, student]) is untested, "even if it failed its tests"
    only = replace(full, potentials=[student])
    first = failed_checks(only)[0]
    assert first.startswith("There is no potential of the campaign yet: this one is the student")
    assert f"(UNEP-v1), without a label of {full.campaign.method}" in first
    text = render_report(only)
    assert "potential, student of the teacher" in text
    assert "It is not the potential of the campaign." in text


@pytest.mark.parametrize(("factor", "n"), [(0.55, 2), (1.0, 0), (1.2, 2)])
def test_exploded_and_collapsed_quenches_are_reported(
    full: ReportData, factor: float, n: int
) -> None:
    relaxed = [
        frame.model_copy(update={"formula": "Cu69Zr69Al12", "volume": 2550.0})
        for frame in full.frames
        if frame.subset == "dft_minimized"
    ]
    density = relaxed[0].density
    quenches = [
        quench.model_copy(update={"density": factor * density}) for quench in full.quenches[:2]
    ]
    assert len(quenches) == 2
    found = [
        text
        for text in failed_checks(replace(full, frames=relaxed, quenches=quenches))
        if "did not end as a glass" in text
    ]
    end = f"{factor * density:.2f}"
    expected = (
        f"{n} quenches of 2 did not end as a glass: the density is {end} and {end} g/cm³, that of "
        f"relaxed samples {density:.2f} g/cm³."
    )
    assert found == ([expected] if n else [])


def test_an_unstable_glass_is_reported(full: ReportData) -> None:
    document = full.validations[0]
    summary = document.summary.model_copy(
        update={
            "model": document.summary.model.model_copy(
                update={"shear_modulus": -3.0, "viscosity_converged": False}
            ),
            "failures": {"heat capacity": "the melt evaporated"},
        }
    )
    validations = [document.model_copy(update={"summary": summary})]
    found = failed_checks(replace(full, validations=validations))
    assert "The glass is unstable under the potential: G is not positive." in found
    assert "The viscosity has not reached its plateau: it is a lower bound." in found
    assert "The validation failed at 'heat capacity': the melt evaporated." in found


def test_a_clock_without_a_slope_is_reported(full: ReportData) -> None:
    supercooling = full.supercooling
    assert supercooling is not None
    clock = supercooling.clock
    for slope, words in ((0.1, "there is no clock"), (clock.slope, None)):
        changed = supercooling.model_copy(update={"clock": replace(clock, slope=slope)})
        found = failed_checks(replace(full, supercooling=changed))
        assert any("clock" in text for text in found) is (words is not None)
