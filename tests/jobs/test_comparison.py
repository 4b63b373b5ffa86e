"""Averages of stored samples of a validation: each sample belongs to its glass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mgflows.jobs.comparison import comparison_of
from mgflows.schemas.comparison import ValidationSampleDocument
from mgflows.schemas.provenance import record_provenance

LABELS = {"first": [-5.0, -4.9, -4.7], "second": [-6.0, -5.8, -5.5]}
"""eV per atom of the glasses of two sets."""


def stored(potential: str, index: int, **fields: Any) -> ValidationSampleDocument:
    """A glass as it is read from the database."""
    with record_provenance() as provenance:
        pass
    plain = {
        "validation": "v",
        "potential": potential,
        "potential_digest": potential,
        "suite": "quick",
        "kind": "glass",
        "index": index,
        "n_atoms": 48,
        "composition": {"Cu": 0.5, "Zr": 0.5},
        "engine": "ase",
        "values": {},
        "seed": 1,
        "provenance": provenance.model_dump(),
    }
    return ValidationSampleDocument.model_validate(plain | fields)


def measured(
    potential: str, glasses: str, *, digest: bool = True, label: bool = True
) -> list[ValidationSampleDocument]:
    """Samples of a set of glasses, whose energies are those of the labels less 1 eV."""
    return [
        stored(
            potential,
            k,
            values={"energy": energy - 1.0, "shear_modulus": 20.0},
            glass_digest=f"{glasses} {k}" if digest else None,
            label_energy=energy if label else None,
        )
        for k, energy in enumerate(LABELS[glasses])
    ]


@pytest.mark.parametrize("digest", [True, False])
def test_other_glasses_of_the_same_numbers_are_never_averaged(digest: bool) -> None:
    documents = measured("b", "second", digest=digest) + measured("a", "first", digest=digest)
    one, other = comparison_of(documents, "quick", [], ["a", "b"]).models
    assert one.estimates["energy_offset"].value == pytest.approx(-1.0)
    assert one.estimates["energy_slope"].value == pytest.approx(1.0)
    assert (one.n_done, other.n_done, other.n_planned) == (3, 0, 3)
    assert not other.estimates
    assert other.failures == {
        f"glass {k}": f"it was measured on another structure than glass {k} of a and is left out; "
        "measure it under another name"
        for k in (1, 2, 3)
    }


def test_a_label_energy_belongs_to_the_glass() -> None:
    # The second potential was submitted without labels.
    documents = measured("a", "first") + measured("b", "first", label=False)
    models = comparison_of(documents, "quick", [], ["a", "b"]).models
    assert [m.curves["energies"]["label"] for m in models] == [LABELS["first"]] * 2
    # Without a digest nothing says that the glasses are the same.
    documents = measured("a", "first") + measured("b", "second", digest=False, label=False)
    other = comparison_of(documents, "quick", [], ["a", "b"]).models[1]
    assert np.isnan(other.curves["energies"]["label"]).all()
    assert "energy_offset" not in other.estimates


def test_samples_of_earlier_versions_are_read_and_averaged() -> None:
    documents = measured("a", "first", digest=False) + measured("b", "first", digest=False)
    assert stored("a", 0).glass_digest is None
    for model in comparison_of(documents, "quick", [], ["a", "b"]).models:
        assert model.estimates["energy_offset"].value == pytest.approx(-1.0)
        assert model.estimates["shear_modulus"].n_samples == 3
        assert not model.failures
