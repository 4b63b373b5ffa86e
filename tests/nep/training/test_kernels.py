"""Energies, forces, virials and gradients against other codes and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.nep import NepParameters, predict
from mgflows.nep.training.data import BasisCache, FrameSet
from mgflows.nep.training.evaluator import Evaluator
from mgflows.nep.training.loss import LossWeights, batch_loss
from mgflows.nep.training.model import NepModel

pytestmark = pytest.mark.physics

PAPER = NepParameters(("Cu", "Zr", "Al"), zbl=2.4)
SHAPES = {
    "paper": PAPER,
    "typewise repulsion": replace(PAPER, zbl_factor=0.6),
    "five-body": replace(PAPER, l_max=(4, 2, 1), neuron=12),
    "other sizes": replace(
        PAPER,
        zbl=None,
        cutoff=(5.0, 4.5),
        n_max=(3, 5),
        basis_size=(6, 10),
        l_max=(7, 0, 1),
        neuron=9,
    ),
    "least": replace(PAPER, n_max=(0, 0), basis_size=(0, 0), l_max=(2, 2, 0), neuron=1),
}


def model_of(parameters: NepParameters) -> NepModel:
    rng = np.random.default_rng(2)
    model = NepModel.random(parameters, rng)
    parts = model.shape.split(model.flat)
    for name in ("threshold", "shift"):
        parts[name][:] = rng.uniform(-1.0, 1.0, parts[name].shape)
    model.scaler[:] = rng.uniform(0.01, 0.02, model.scaler.shape)
    return model


def evaluator_of(model: NepModel, frames) -> tuple[Evaluator, FrameSet]:
    data = FrameSet.build(frames, model.parameters)
    return Evaluator(model, BasisCache(data, model.parameters, 1.0, len(frames))), data


def relative(values, reference) -> float:
    """Largest difference over the largest value; forces that cancel count as 0.01 eV/A."""
    return float(np.abs(values - reference).max() / max(0.01, np.abs(reference).max()))


@pytest.mark.parametrize("name", SHAPES)
def test_predictions_agree_with_nep_adapters(name, structures) -> None:
    model = model_of(SHAPES[name])
    evaluator, data = evaluator_of(model, structures)
    prediction = evaluator.predict(np.arange(len(structures)), model.flat)
    expected = predict(model.to_text((300, 200)), structures)
    # The labels minus the values used in the fit are the ZBL part.
    labels = [frame.calc.results for frame in structures]
    energies = prediction.energies + [label["energy"] for label in labels] - data.energies
    forces = prediction.forces + np.concatenate([label["forces"] for label in labels]) - data.forces
    volume = np.array([frame.cell.volume for frame in structures])[:, None]
    virials = (
        prediction.virials
        - volume * np.array([label["stress"][[0, 1, 2, 5, 3, 4]] for label in labels])
        - data.virials
    )
    assert relative(energies / data.sizes, expected.energies) < 1e-5
    for frame, reference in enumerate(expected.forces):
        ours = forces[data.offsets[frame] : data.offsets[frame + 1]]
        assert relative(ours, reference) < 1e-5
    rows, columns = [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]
    for ours, reference in zip(virials / data.sizes[:, None], expected.virials, strict=True):
        assert relative(ours, reference[rows, columns]) < 1e-5


def test_the_written_potential_agrees_with_calorine(structures, tmp_path) -> None:
    from calorine import calculators

    model = model_of(SHAPES["five-body"])
    evaluator, data = evaluator_of(model, structures)
    prediction = evaluator.predict(np.arange(len(structures)), model.flat)
    path = tmp_path / "nep.txt"
    path.write_text(model.to_text((300, 200)))
    for index, frame in enumerate(structures):
        atoms = frame.copy()
        atoms.calc = calculators.CPUNEP(str(path))
        zbl = frame.calc.results["energy"] - data.energies[index]
        assert prediction.energies[index] + zbl == pytest.approx(
            atoms.get_potential_energy(), rel=1e-5
        )
        part = slice(data.offsets[index], data.offsets[index + 1])
        forces = prediction.forces[part] + frame.calc.results["forces"] - data.forces[part]
        assert relative(forces, atoms.get_forces()) < 1e-5


def test_forces_are_the_derivatives_of_the_energy(structures) -> None:
    model, frame, h = model_of(SHAPES["five-body"]), structures[0], 0.01
    moved = []
    for atom, axis in ((0, 0), (17, 1), (40, 2)):
        for step in (-2, -1, 1, 2):
            copy = frame.copy()
            copy.positions[atom, axis] += step * h
            copy.calc = SinglePointCalculator(copy, **frame.calc.results)
            moved.append(copy)
    evaluator, data = evaluator_of(model, [frame, *moved])
    prediction = evaluator.predict(np.arange(len(data)), model.flat)
    zbl = frame.calc.results["energy"] - data.energies
    e = (prediction.energies + zbl)[1:].reshape(3, 4)
    slopes = (e[:, 0] - 8 * e[:, 1] + 8 * e[:, 2] - e[:, 3]) / (12 * h)
    forces = (
        prediction.forces[: len(frame)] + frame.calc.results["forces"] - data.forces[: len(frame)]
    )
    np.testing.assert_allclose(
        -slopes, [forces[0, 0], forces[17, 1], forces[40, 2]], rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize("name", SHAPES)
def test_gradient_is_that_of_the_loss_of_an_independent_calculator(name, structures) -> None:
    model = model_of(SHAPES[name])
    evaluator, data = evaluator_of(model, structures)
    frames, weights = np.arange(len(structures)), LossWeights(0.5, 1.0, 0.7)
    zero = np.zeros(len(structures))
    data.weights[:] = [1.0, 0.5, 2.0]
    data.energy_weights[:] = [1.0, 3.0, 0.2]
    data.has_virial[1] = False
    data.force_weights = np.random.default_rng(8).uniform(0.1, 2.0, len(data.species))
    by_atom = np.split(data.force_weights, data.offsets[1:-1])
    loss = batch_loss(
        data, frames, zero, evaluator.predict(frames, model.flat), weights,
        shear=1.5, remove_mean=True,
    )  # fmt: skip
    gradient = evaluator.gradient(model.flat, loss)
    labels = [frame.calc.results for frame in structures]

    def independent_loss(flat) -> float:
        text = NepModel(model.parameters, flat, model.scaler, model.reference).to_text((300, 200))
        result = predict(text, structures)
        energy = result.energies - [
            label["energy"] / n for label, n in zip(labels, data.sizes, strict=True)
        ]
        w = data.weights * data.energy_weights
        energy -= np.average(energy, weights=w)
        force = [
            w * np.sum(by_force[:, None] * (f - label["forces"]) ** 2)
            for w, by_force, f, label in zip(
                data.weights, by_atom, result.forces, labels, strict=True
            )
        ]
        total = 0.5 / 0.002 * np.mean(w * energy**2) + 1.0 / 0.06 * np.sum(force) / (
            3 * data.sizes.sum()
        )
        squares = []
        for k in (0, 2):
            label = -structures[k].cell.volume / data.sizes[k] * labels[k]["stress"]
            ours = result.virials[k][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            shear = np.array([1.0, 1.0, 1.0, 1.5, 1.5, 1.5])
            squares.append(data.weights[k] * np.mean((shear * (ours - label)) ** 2))
        return total + 0.7 / 0.06 * np.sum(squares) / 2

    assert loss.total == pytest.approx(independent_loss(model.flat), rel=1e-4)
    rng, h = np.random.default_rng(1), 1e-3
    for block, part in model.shape.split(gradient).items():
        direction = np.zeros(len(model.flat))
        model.shape.split(direction)[block][:] = rng.normal(size=part.shape)
        e = [independent_loss(model.flat + step * h * direction) for step in (-2, -1, 1, 2)]
        expected = (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(len(gradient))
        assert gradient @ direction == pytest.approx(expected, rel=2e-4, abs=2e-4 * scale), block


def test_atoms_without_neighbours_have_the_energy_of_no_surroundings(add_labels) -> None:
    from ase import Atoms

    atom = add_labels(
        Atoms("Zr", positions=[[1.0, 2.0, 3.0]], cell=[20.0, 20.0, 20.0], pbc=True),
        np.random.default_rng(1),
    )
    model = model_of(PAPER)
    evaluator, _ = evaluator_of(model, [atom])
    prediction = evaluator.predict(np.arange(1), model.flat)
    parts = model.shape.split(model.flat)
    expected = parts["output"][1] @ np.tanh(-parts["threshold"][1]) - parts["shift"][0]
    assert prediction.energies[0] == pytest.approx(float(expected), abs=1e-6)
    assert not np.any(prediction.forces)
