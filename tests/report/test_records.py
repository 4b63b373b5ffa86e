from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import BaseModel

from mgflows.report import records
from mgflows.report.content import scaled_down, with_error
from mgflows.schemas.validation import (
    GlassEnergies,
    PropertiesSummary,
    ValidationCurves,
    ValidationDocument,
    ValidationSummary,
)
from mgflows.text import listed, plural
from mgflows.units import duration

if TYPE_CHECKING:
    from mgflows.report import ReportData
    from mgflows.validation.suite import ValidationResult


def _with(document: ValidationDocument, model: PropertiesSummary) -> ValidationDocument:
    """The document with other numbers of the potential, and none of a reference."""
    summary = ValidationSummary(suite="quick", seed=0, n_glasses=1, n_atoms=150, model=model)
    return document.model_copy(update={"summary": summary})


@pytest.fixture
def document(full: ReportData) -> ValidationDocument:
    assert full.validation is not None
    return full.validation


def test_clock(full: ReportData) -> None:
    clock = full.clock
    assert clock is not None
    assert clock.log10_window == pytest.approx(np.log10([30.0, 3000.0]))
    assert clock.log10_onset_time == pytest.approx(0.08 / 0.166)
    assert clock.energy_at(2.0) == pytest.approx(-3.532)
    assert [time for time, _ in clock.energies] == [30.0, 100.0, 300.0, 1000.0, 3000.0]


def test_a_cooling_whose_runs_all_ordered_is_left_out(full: ReportData) -> None:
    assert full.supercooling is not None
    document = full.supercooling.model_copy(update={"dynamics": {"30": [-3.4], "100": []}})
    assert records.clock_of(document).energies == [(30.0, [-3.4])]


def test_elasticity_is_averaged_over_glasses(document: ValidationDocument) -> None:
    elasticity = records.elasticity_of(document)
    assert elasticity is not None
    assert elasticity.n_glasses == 2
    # Shear moduli of 18.9 and 19.9 GPa: the mean has a standard error of half their distance.
    assert elasticity.moduli["model"]["G"] == pytest.approx((19.4, 0.5))
    assert elasticity.moduli["reference"]["B"] == pytest.approx((130.3, 0.5))


def test_a_single_glass_has_no_error(document: ValidationDocument) -> None:
    spreads = [key for key in PropertiesSummary.model_fields if key.endswith("_std")]
    single = document.summary.model.model_copy(
        update={"n_elastic": 1, **dict.fromkeys(spreads, None)}
    )
    elasticity = records.elasticity_of(_with(document, single))
    assert elasticity is not None
    assert list(elasticity.moduli) == ["model"]
    assert np.isnan(elasticity.moduli["model"]["G"][1])


def test_shear_is_joined_with_the_energy_of_its_glass(document: ValidationDocument) -> None:
    first, second = records.shear_of(document)
    assert (first.energy, second.energy) == (-5.06, -5.04)
    assert first.moduli == {"model": pytest.approx(19.4), "reference": pytest.approx(18.3)}
    assert second.moduli == {"model": pytest.approx(21.0), "reference": pytest.approx(21.0)}
    assert [stress[-1] for _, stress in first.curves["reference"]] == pytest.approx(
        [17.3 * 0.006, 19.3 * 0.006]
    )
    # The values of the suite itself.
    assert np.mean([entry.moduli["model"] for entry in (first, second)]) == pytest.approx(
        document.summary.model.shear_modulus_aqs
    )


def test_landscape_needs_a_reference(document: ValidationDocument) -> None:
    landscape = records.landscape_of(document)
    assert landscape is not None
    assert landscape[0] == pytest.approx([-5.06, -5.04, -5.01])
    curves = ValidationCurves(energies=GlassEnergies(model=[-5.0]))
    alone = document.model_copy(update={"curves": curves})
    assert records.landscape_of(alone) is None


def test_only_holes_are_holes(document: ValidationDocument) -> None:
    assert {
        dimer.pair: dimer.hole for dimer in records.dimers_of(document) if dimer.hole is not None
    } == {"Al-Al": 1.7}


def test_viscosity_without_an_error(document: ValidationDocument) -> None:
    viscous = document.summary.model.model_copy(
        update={"viscosity": 3.1, "viscosity_error": None, "viscosity_converged": False}
    )
    found = records.viscosities_of(_with(document, viscous))
    assert found == {"model": (3.1, pytest.approx(np.nan, nan_ok=True))}


def test_an_empty_validation_has_nothing_to_show(document: ValidationDocument) -> None:
    empty = _with(document, PropertiesSummary()).model_copy(update={"curves": ValidationCurves()})
    assert records.radial_distributions_of(empty) == {}
    assert records.elasticity_of(empty) is None
    assert records.shear_of(empty) == []
    assert records.dimers_of(empty) == []
    assert records.heat_capacities_of(empty) == {}
    assert records.viscosities_of(empty) == {}


def test_every_number_of_a_suite_has_a_field(validation_result: ValidationResult) -> None:
    """The suite returns plain dictionaries; a key without a field would be lost."""
    summary, curves = validation_result.summary(), validation_result.curves()
    assert _lost(summary, ValidationSummary.model_validate(summary)) == []
    assert _lost(curves, ValidationCurves.model_validate(curves)) == []


def _lost(values: Any, model: Any, path: str = "") -> list[str]:
    """Keys of nested dictionaries that a model does not have."""
    dumped = model.model_dump() if isinstance(model, BaseModel) else model
    if isinstance(values, list):
        return _lost(values[0], dumped[0], path) if values else []
    if not isinstance(values, dict):
        return []
    return [f"{path}.{key}" for key in values.keys() - dumped.keys()] + [
        lost
        for key in values.keys() & dumped.keys()
        for lost in _lost(values[key], dumped[key], f"{path}.{key}")
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.21, "3.2 s"),
        (34.4, "34 s"),
        (59.7, "1 min 0 s"),
        (372.0, "6 min 12 s"),
        (7530.0, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_words() -> None:
    assert plural(1, "glass") == "1 glass"
    assert plural(3, "glass") == "3 glasses"
    assert plural(2, "family") == "2 families"
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert with_error(2.345, 0.12) == "2.3 ± 0.1"
    assert with_error(2.345, float("nan")) == "2.3"
    assert scaled_down("") == ""
    assert scaled_down("3 glasses") == "Scaled down: 3 glasses."
