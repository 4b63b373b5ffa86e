from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep import NepParameters, predict, validate_nep_text
from mgflows.nep.training.model import NepModel

PAPER = NepParameters(("Cu", "Zr", "Al"))


@pytest.fixture
def model() -> NepModel:
    return NepModel.random(PAPER, np.random.default_rng(3))


def test_the_file_has_the_paper_s_layout_and_reads_back(model) -> None:
    text = model.to_text((70, 20))
    assert text.splitlines()[:7] == [
        "nep4_zbl 3 Cu Zr Al",
        "zbl 0.9 1.8",
        "cutoff 6.5 4 70 20",
        "n_max 4 4",
        "basis_size 8 8",
        "l_max 4 2 0",
        "ANN 30 0",
    ]
    assert len(text.splitlines()) == 3728
    assert validate_nep_text(text).same_model(PAPER)
    assert model.shape.n_parameters == PAPER.number_of_parameters
    again = NepModel.from_text(text)
    np.testing.assert_array_equal(again.flat, model.flat)
    np.testing.assert_array_equal(again.scaler, model.scaler)


@pytest.mark.physics
def test_reference_energies_in_the_file_are_exact(model, structures) -> None:
    parts = model.shape.split(model.flat)
    parts["hidden"][:, -1] = parts["output"][:, -1] = 0.0
    before = predict(model.to_text((300, 200)), structures).energies
    model.reference = np.array([-4512.25, -130.5, -7.125])
    text = model.to_text((300, 200))
    counts = np.array(
        [[frame.symbols.count(s) / len(frame) for s in PAPER.species] for frame in structures]
    )
    np.testing.assert_allclose(
        predict(text, structures).energies, before + counts @ model.reference, atol=2e-6
    )
    again = NepModel.from_text(text)
    np.testing.assert_allclose(again.reference, model.reference, atol=1e-5)
    np.testing.assert_array_equal(again.flat, model.flat)


@pytest.mark.physics
def test_a_reduced_potential_is_the_whole_one_for_its_species(model, structures) -> None:
    reduced = NepModel.from_text(model.to_text((300, 200)), ("Zr", "Cu"))
    frames = [structures[1], structures[2]]
    np.testing.assert_allclose(
        predict(reduced.to_text((300, 200)), frames).energies,
        predict(model.to_text((300, 200)), frames).energies,
        atol=1e-6,
    )
    assert reduced.parameters.species == ("Zr", "Cu")


def test_a_potential_that_does_not_fit_is_refused(model) -> None:
    text = model.to_text()
    with pytest.raises(InputError, match="not Ni"):
        NepModel.reduced(text, replace(PAPER, species=("Cu", "Ni")))
    with pytest.raises(
        InputError,
        match=r"neuron 30 instead of 20\)?; use its own settings",
    ):
        NepModel.reduced(text, replace(PAPER, neuron=20))
