"""The condition that keeps pairs of atoms apart at distances without frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mgflows.errors import InputError
from mgflows.nep import NepParameters, nep_calculator
from mgflows.nep.training.core import RepulsiveCore, core_radii
from mgflows.nep.training.model import NepModel
from mgflows.nep.training.settings import TrainingSettings
from mgflows.nep.training.threads import ThreadTeam
from mgflows.nep.training.training import Training
from mgflows.validation.dimers import dimer_curves


def test_light_elements_have_a_smaller_core() -> None:
    radii = core_radii(("Cu", "Zr", "B"), 2.0)
    # Covalent radii (Cordero et al., doi:10.1039/b801115j): Cu 1.32, Zr 1.75, B 0.84 A.
    np.testing.assert_allclose(radii, [2.0, 2.0, 0.85 * 2.16, 2.0, 2.0, 0.85 * 1.68])


@pytest.mark.physics
def test_the_term_and_its_gradient_are_those_of_an_independent_calculator() -> None:
    # The ZBL repulsion would satisfy the condition whatever the parameters are.
    parameters = NepParameters(("Cu", "Zr"), zbl=None, n_max=(2, 1), basis_size=(3, 2), neuron=4)
    model = NepModel.random(parameters, np.random.default_rng(4))
    core = RepulsiveCore(model, 2.0, 3.0, seed=7, team=ThreadTeam())
    step = 11
    chosen = np.random.default_rng((7, step)).choice(25, 2, replace=False)
    distances = 2.0 * np.linspace(0.4, 1.0, 25)[chosen]

    def term(flat) -> float:
        text = NepModel(parameters, flat, model.scaler, model.reference).to_text()
        calculator, squares = nep_calculator(text), []
        for symbols in ("Cu2", "CuZr", "Zr2"):
            for r in distances:
                dimer = Atoms(symbols, [[0, 0, 0], [0, 0, r]], cell=[25.0] * 3, pbc=True)
                dimer.calc = calculator
                missing = dimer.get_forces()[1, 2] - 5.0 * (2.0 - r)
                squares.append(min(0.0, missing) ** 2)
        return 3.0 / 0.06 * float(np.mean(squares))

    total, gradient = core.gradient(model.flat, step)
    assert total == pytest.approx(term(model.flat), rel=1e-4)
    assert total > 1.0
    rng, h = np.random.default_rng(1), 1e-3
    direction = rng.normal(size=len(model.flat))
    e = [term(model.flat + k * h * direction) for k in (-2, -1, 1, 2)]
    assert gradient @ direction == pytest.approx(
        (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h), rel=1e-3
    )


@pytest.mark.physics
def test_a_trained_potential_is_repulsive_at_short_range(emt_frames, small_parameters) -> None:
    parameters = replace(
        small_parameters, zbl=None, generation=150, batch=4, seed=1, output_interval=150
    )

    def repulsive(settings: TrainingSettings) -> set[str]:
        training = Training(emt_frames[:20], [], parameters, settings)
        while not training.is_finished:
            training.advance()
        curves = dimer_curves(nep_calculator(training.potential()), parameters.species)
        return {pair for pair, curve in curves.items() if curve.repulsive}

    assert repulsive(TrainingSettings()) == {"Cu-Cu", "Cu-Al", "Al-Al"}
    assert len(repulsive(TrainingSettings(core_radius=None))) < 3


def test_wrong_cores_are_refused() -> None:
    with pytest.raises(InputError, match=r"core_radius is 3 A but must lie in \[0.5, 2.2\]"):
        TrainingSettings(core_radius=3.0)
    with pytest.raises(InputError, match="core_weight is -1"):
        TrainingSettings(core_weight=-1.0)
