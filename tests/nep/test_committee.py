"""Committees: spreads, bags and calibration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from mgflows.errors import InputError
from mgflows.nep import NepTrainer, nep_calculator, predict
from mgflows.nep.committee import (
    Committee,
    CommitteePredictions,
    _calibrate,
    bag_families,
    train_committee,
)
from mgflows.nep.results import Predictions

TRAINER = NepTrainer(steps=120, batch=2, reports=2)


@pytest.fixture(scope="module")
def committee(tmp_path_factory, emt_frames, small_parameters) -> Committee:
    folder = tmp_path_factory.mktemp("committee")
    return train_committee(
        folder, small_parameters, emt_frames[:16], n_members=3, trainer=TRAINER, seed=4
    )


def test_mean_and_spread_are_those_of_the_members(committee, emt_frames) -> None:
    frames = emt_frames[16:20]
    prediction = committee.predict(frames)
    members = [nep_calculator(text) for text in committee.potentials]
    for index, frame in enumerate(frames):
        energies, forces, virials = [], [], []
        for calculator in members:
            atoms = frame.copy()
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy() / len(atoms))
            forces.append(atoms.get_forces())
            virials.append(-atoms.get_stress() * atoms.cell.volume / len(atoms))
        assert prediction.mean.energies[index] == pytest.approx(np.mean(energies), rel=1e-6)
        assert prediction.energy_spread[index] == pytest.approx(np.std(energies, ddof=1), rel=1e-3)
        expected = np.sqrt(np.var(forces, axis=0, ddof=1).mean(axis=1))
        np.testing.assert_allclose(prediction.force_spreads[index], expected, rtol=1e-3)
        assert prediction.force_spread[index] == pytest.approx(
            math.sqrt(np.mean(expected**2)), 1e-3
        )
        assert prediction.largest_force_spread[index] == pytest.approx(expected.max(), rel=1e-3)
        assert prediction.virial_spread[index] == pytest.approx(
            math.sqrt(np.mean(np.var(virials, axis=0, ddof=1))), rel=1e-3
        )


def test_the_same_seed_gives_the_same_committee_and_finished_members_are_kept(
    committee, tmp_path, emt_frames, small_parameters
) -> None:
    frames = emt_frames[:16]
    again = train_committee(
        tmp_path, small_parameters, frames, n_members=2, trainer=TRAINER, seed=4
    )
    assert again.potentials == committee.potentials[:2]
    assert again.potentials[0] != again.potentials[1]
    before = (tmp_path / "member_1" / "nep.txt").stat().st_mtime_ns
    train_committee(tmp_path, small_parameters, frames, n_members=3, trainer=TRAINER, seed=4)
    assert (tmp_path / "member_1" / "nep.txt").stat().st_mtime_ns == before
    assert Committee.load(tmp_path).potentials == committee.potentials


def test_a_bag_has_all_elements_however_many_families_there_are() -> None:
    """One crystal per element: one draw in 10^9 has them all."""
    frames = [bulk(symbol, "fcc", a=4.0) for symbol in chemical_symbols[1:25]]
    for number, frame in enumerate(frames):
        frame.info["family"] = f"crystal-{number}"
        frame.calc = SinglePointCalculator(frame, energy=0.0)
    bag = bag_families(frames, 0)
    assert {frame.symbols[0] for frame in bag} == set(chemical_symbols[1:25])
    assert max(frame.info.get("weight", 1.0) for frame in bag) > 1.0


def test_a_bag_draws_families_and_weighs_repeated_ones(emt_frames) -> None:
    bags = [bag_families(emt_frames, seed) for seed in range(200)]
    n_families = len({frame.info["family"] for frame in emt_frames})
    fractions, total = [], []
    for bag in bags:
        by_family = {frame.info["family"]: frame.info.get("weight", 1.0) ** 2 for frame in bag}
        assert len(bag) == 4 * len(by_family)
        fractions.append(len(by_family) / n_families)
        total.append(sum(by_family.values()))
    np.testing.assert_allclose(total, n_families)
    expected = 1.0 - (1.0 - 1.0 / n_families) ** n_families
    assert np.mean(fractions) == pytest.approx(expected, abs=0.03)
    assert all("weight" not in frame.info for frame in emt_frames)
    assert bag_families(emt_frames, 3)[0].get_potential_energy() == pytest.approx(
        next(
            frame
            for frame in emt_frames
            if frame.info["frame_id"] == bag_families(emt_frames, 3)[0].info["frame_id"]
        ).get_potential_energy()
    )


@pytest.mark.physics
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_normal_errors_of_known_size_are_recovered(factor) -> None:
    """Errors drawn with `factor` times the spread, which varies tenfold between frames."""
    rng = np.random.default_rng(1)
    frames, energies, forces, virials, spreads = [], [], [], [], []
    for number in range(400):
        n = int(rng.integers(4, 12))
        sigma = 10.0 ** rng.uniform(-2.0, -1.0)
        energy, force = rng.normal(-3.0, 0.2), rng.normal(0.0, 1.0, (n, 3))
        virial = rng.normal(0.0, 1.0, (3, 3))
        virial = virial + virial.T
        noise = rng.normal(0.0, factor * sigma, (3, 3))
        atoms = Atoms(f"Cu{n}", positions=rng.uniform(0, 9, (n, 3)), cell=[9, 9, 9], pbc=True)
        atoms.info["family"] = f"family {number // 4}"
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=n * (energy + rng.normal(0.0, factor * sigma)),
            forces=force + rng.normal(0.0, factor * sigma, (n, 3)),
            stress=-n * (virial + np.triu(noise) + np.triu(noise, 1).T) / atoms.cell.volume,
        )
        frames.append(atoms)
        energies.append(energy)
        forces.append(force)
        virials.append(virial)
        spreads.append(sigma)
    sigma = np.array(spreads)
    mean = Predictions(np.array(energies), forces, np.array(virials), np.zeros((400, 3, 3)))
    prediction = CommitteePredictions(
        mean, sigma, [np.full(len(a), s) for a, s in zip(frames, sigma, strict=True)], sigma
    )
    calibration = _calibrate(prediction, mean, frames, seed=0)
    assert (calibration.n_frames, calibration.n_families) == (400, 100)
    for quantity in ("energy", "force", "virial"):
        scale = calibration.scales[quantity]
        assert 0.0 < scale.error < 0.1 * factor
        assert abs(scale.value - factor) < 4.0 * scale.error
        assert calibration.rank_correlation[quantity] > 0.5
        bins = calibration.reliability[quantity]
        assert bins[-1].predicted > 4.0 * bins[0].predicted
        assert sum(each.count for each in bins) in (400, sum(len(a) for a in frames))
        for each in bins:
            assert each.observed == pytest.approx(each.predicted, rel=0.35)


def test_the_calibrated_spread_is_the_error_of_held_out_frames(
    committee, emt_frames, tmp_path
) -> None:
    test = emt_frames[16:]
    calibrated = committee.calibrated(test, seed=2)
    prediction = calibrated.predict(test)
    n_atoms = np.array([len(frame) for frame in test])
    errors = [
        np.mean((mean - frame.get_forces()) ** 2)
        for mean, frame in zip(prediction.mean.forces, test, strict=True)
    ]
    expected = math.sqrt(np.average(errors, weights=n_atoms))
    scale = calibrated.calibration.scales["force"].value
    assert scale * math.sqrt(
        np.average(prediction.force_spread**2, weights=n_atoms)
    ) == pytest.approx(expected, rel=1e-6)
    # For the error of another potential the scale is another.
    other = committee.calibrated(test, potential=committee.potentials[0])
    single = predict(committee.potentials[0], test)
    error = np.concatenate(
        [force - frame.get_forces() for force, frame in zip(single.forces, test, strict=True)]
    )
    assert other.calibration.scales["force"].value / scale == pytest.approx(
        math.sqrt(np.mean(error**2)) / expected, rel=1e-6
    )
    assert Committee.load(calibrated.save(tmp_path)) == calibrated


def test_frames_without_stress_give_no_virial_scale(committee, emt_frames) -> None:
    frames = []
    for frame in emt_frames[16:]:
        copy = frame.copy()
        copy.calc = SinglePointCalculator(
            copy, energy=frame.get_potential_energy(), forces=frame.get_forces()
        )
        frames.append(copy)
    assert set(committee.calibrated(frames).calibration.scales) == {"energy", "force"}


def test_wrong_committees_are_refused(committee, tiny_potential, tmp_path, emt_frames) -> None:
    with pytest.raises(InputError, match="committee of 1 potential has no spread"):
        Committee.from_files([tiny_potential])
    with pytest.raises(InputError, match="potential 2 of the committee is for"):
        Committee((committee.potentials[0], tiny_potential.read_text()))
    with pytest.raises(InputError, match="agree exactly"):
        Committee((committee.potentials[0],) * 2).calibrated(emt_frames[:4])
    with pytest.raises(InputError, match="mgflows committee train"):
        Committee.load(tmp_path)
    with pytest.raises(InputError, match="one family"):
        bag_families(emt_frames[:4], 0)
    with pytest.raises(InputError, match="no structure"):
        committee.predict([])
    committee.save(tmp_path)
    (tmp_path / "nep_2.txt").unlink()
    with pytest.raises(InputError, match=r"nep_2.txt cannot be read"):
        Committee.load(tmp_path)
    assert replace(committee, calibration=None) == committee
