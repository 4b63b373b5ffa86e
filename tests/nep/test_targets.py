"""Errors by group, their standard errors, and targets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep import Committee, ErrorTarget, NepTrainer, certificate, nep_calculator
from mgflows.nep.committee import train_committee
from mgflows.nep.targets import GroupErrors, TargetResult, check_targets, root_mean_square


@pytest.fixture(scope="module")
def committee(tmp_path_factory, emt_frames, small_parameters) -> Committee:
    trainer = NepTrainer(steps=60, batch=2, reports=1)
    folder = tmp_path_factory.mktemp("targets")
    return train_committee(
        folder, small_parameters, emt_frames[:12], n_members=2, trainer=trainer, seed=1
    )


@pytest.fixture
def frames(emt_frames):
    """Test frames of three families in two decades, one of them heated and one without a time."""
    made = []
    for number, frame in enumerate(emt_frames[12:20]):
        copy = frame.copy()
        copy.calc = frame.calc
        copy.info = {"subset": "distorted", "family": f"f{number % 3}", "log10_time": 3.2}
        if number % 3 == 1:
            copy.info["log10_time"] = 12.9
        if number == 6:
            copy.info["subset"] = "aimd"
        if number == 7:
            del copy.info["log10_time"]
        made.append(copy)
    return made


def squares(potential: str, frame) -> tuple[float, float]:
    """Errors of one frame with the ASE calculator, which shares no code with the certificate."""
    atoms = frame.copy()
    atoms.calc = nep_calculator(potential)
    energy = (atoms.get_potential_energy() - frame.get_potential_energy()) / len(atoms)
    return energy**2, float(np.mean((atoms.get_forces() - frame.get_forces()) ** 2))


def test_errors_by_decade_are_those_of_their_frames(committee, frames) -> None:
    potential = committee.potentials[0]
    groups = certificate(frames, by="decade", potential=potential)
    assert [group.group for group in groups] == ["1e3 to 1e4", "1e12 to 1e13"]
    assert [group.n_frames for group in groups] == [4, 2]
    assert [group.n_families for group in groups] == [2, 1]
    for group, numbers in zip(groups, ([0, 2, 3, 5], [1, 4]), strict=True):
        energies, forces = np.mean([squares(potential, frames[n]) for n in numbers], axis=0)
        assert group.energy == pytest.approx(1e3 * math.sqrt(energies), rel=1e-5)
        assert group.force == pytest.approx(1e3 * math.sqrt(forces), rel=1e-5)
        assert group.force_estimate is None
    assert groups[0].force_error is not None
    assert groups[1].force_error is None, "one family has no scatter"


def test_estimates_of_a_group_are_scaled_with_the_others(committee, frames) -> None:
    potential = committee.potentials[0]
    groups = certificate(frames, by="decade", potential=potential, committee=committee)
    first, second = [0, 2, 3, 5], [1, 4]
    spread = committee.predict([frames[n] for n in (*first, *second)]).force_spread ** 2
    errors = np.array([squares(potential, frames[n])[1] for n in (*first, *second)])
    outside = errors[4:].sum() / spread[4:].sum()
    assert groups[0].force_estimate == pytest.approx(
        1e3 * math.sqrt(outside * spread[:4].mean()), rel=1e-4
    )
    # A group alone is scaled with its own errors.
    (alone,) = certificate(frames, by="all", potential=potential, committee=committee)
    assert alone.force_estimate == pytest.approx(alone.force, rel=1e-6)


def test_groups_are_refused_with_the_reason(committee, frames) -> None:
    with pytest.raises(InputError, match=r"none of the 8 frames .* effective time"):
        certificate(frames, committee=committee, subsets=("crystal",))
    with pytest.raises(InputError, match="grouped by 'family'"):
        certificate(frames, by="family", committee=committee)
    with pytest.raises(InputError, match="neither a potential nor a committee is given"):
        certificate(frames)


def test_the_standard_error_is_that_of_family_means() -> None:
    """Families of equal members: the scatter is that of as many independent values."""
    rng = np.random.default_rng(0)
    n_families, n_members = 400, 5
    values = rng.normal(size=n_families) ** 2
    families = np.repeat([f"f{i}" for i in range(n_families)], n_members)
    value, error = root_mean_square(np.repeat(values, n_members), families)
    assert value == pytest.approx(math.sqrt(values.mean()))
    # Delta method: the error of a root is that of the mean square over twice the root.
    expected = values.std(ddof=1) / math.sqrt(n_families) / (2.0 * value)
    assert error == pytest.approx(expected, rel=0.15)


def test_a_target_is_met_with_one_standard_error() -> None:
    group = GroupErrors("aimd", 4, 2, energy=1.0, energy_error=0.2, force=30.0, force_error=5.0)
    force, energy = check_targets(ErrorTarget(force=40.0, energy=1.1), (38.0, 1.5), [group])
    assert force.is_met
    assert str(force) == "force error (candidates) 38 ± 1.5 meV/A meets 40"
    assert not energy.is_met
    assert str(energy) == "energy error (aimd) 1 ± 0.2 meV/atom misses 1.1"
    assert TargetResult("energy", "aimd", 1.0, None, 1.1).is_met, "an unknown error is left out"
    for wrong in ({}, {"force": -1.0}, {"energy": math.nan}, {"force": 1.0, "energy_by": "x"}):
        with pytest.raises(InputError):
            ErrorTarget(**wrong)
