"""The units of labels, from the work of forces and stresses along frames of EMT."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units as ase_units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from mgflows import units
from mgflows.errors import InputError
from mgflows.nep.label_units import check_units


@pytest.fixture(scope="module")
def copies():
    """Strained and displaced copies of crystals of two sizes."""
    rng = np.random.default_rng(2)
    frames = []
    for n in (2, 1):
        for _ in range(12):
            frame = bulk("Cu", cubic=True).repeat((n, 1, 1))
            frame.symbols[0] = "Al"
            strain = rng.normal(0.0, 0.01, (3, 3))
            frame.set_cell(frame.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
            frame.rattle(0.1, rng=rng)
            frame.calc = EMT()
            frames.append(frame)
    return frames


def _labelled(frames, energy=1.0, force=1.0, stress=1.0, *, per_atom=False):
    """The frames with labels that are multiplied by factors."""
    found = []
    for frame in frames:
        values = {
            "energy": frame.get_potential_energy() * energy / (len(frame) if per_atom else 1),
            "forces": frame.get_forces() * force,
        }
        if stress is not None:
            values["stress"] = frame.get_stress() * stress
        labelled = frame.copy()
        labelled.calc = SinglePointCalculator(labelled, **values)
        found.append(labelled)
    return found


def test_consistent_labels_and_too_few_frames_are_accepted(copies) -> None:
    check_units(_labelled(copies))
    check_units(_labelled(copies, stress=None))
    check_units(_labelled(copies[:6], force=-1.0))
    check_units([])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"energy": 1 / 27.2}, r"0.0\d+ times the work of the forces and 0.0\d+ .* the energies"),
        ({"force": 1 / 51.4}, r"change by \d\d\.?\d* times the work of the forces, .* the forces"),
        ({"force": -1.0}, r"change by -\S+ times the work of the forces, .* the forces"),
        ({"stress": -1.0}, r"change by -\S+ times the work of the stresses, .* the stresses"),
        ({"stress": 160.2}, r"by 0.00\d+ times the work of the stresses, .* the stresses"),
        ({"force": -1.0, "stress": 50.0}, "check unit and sign of the forces and stresses"),
        ({"per_atom": True}, "only if they are energies per atom; give the energy of the whole"),
    ],
)
def test_labels_that_contradict_each_other_are_refused(copies, factors, message) -> None:
    with pytest.raises(InputError, match=message):
        check_units(_labelled(copies, **factors))


def test_a_stress_whose_work_is_negligible_is_not_judged(copies) -> None:
    """Along a heated trajectory the cell hardly changes, and its work is below the rule's error."""
    rng = np.random.default_rng(4)
    frames = [copies[0].copy()]
    moves = rng.normal(0.0, 0.01, (20, *frames[0].positions.shape))
    for move, strain in zip(moves, rng.normal(0.0, 2e-5, 20), strict=True):
        frame = frames[-1].copy()
        frame.positions += move
        frame.set_cell(frame.cell.array * (1.0 + strain), scale_atoms=True)
        frames.append(frame)
    for frame in frames:
        frame.calc = EMT()
    check_units(_labelled(frames, stress=-3.0))
    with pytest.raises(InputError, match="check unit and sign of the"):
        check_units(_labelled(frames, force=-1.0))


def test_energies_without_stresses_are_compared_with_forces_in_a_fixed_cell(copies) -> None:
    rng = np.random.default_rng(1)
    frames = [copies[0].copy() for _ in range(12)]
    for frame in frames:
        frame.rattle(0.05, rng=rng)
        frame.calc = EMT()
    check_units(_labelled(frames, stress=None))
    with pytest.raises(InputError, match="check unit and sign of the energies and forces"):
        check_units(_labelled(frames, energy=96.5, stress=None))


@pytest.mark.parametrize("in_ev", [units.HARTREE, 4.184 * units.KJ_PER_MOL])
@pytest.mark.parametrize("has_stress", [True, False])
def test_labels_that_are_all_in_another_unit_are_refused(copies, in_ev, has_stress) -> None:
    factor = 1.0 / in_ev
    labels = _labelled(copies, factor, factor, factor if has_stress else None)
    with pytest.raises(InputError, match=r"where 0.9\d to 1\d is expected of these"):
        check_units(labels)
    # Forces that no displacement explains are not judged.
    rng = np.random.default_rng(3)
    for frame in labels:
        frame.calc.results["forces"] = 0.01 * rng.normal(size=(len(frame), 3))
    check_units(labels)


@pytest.mark.parametrize("temperature", [300.0, 2000.0])
def test_a_trajectory_is_accepted_in_ev_and_refused_in_hartree(copies, temperature) -> None:
    """The atoms of a trajectory move along soft directions, unlike those of displaced copies."""
    atoms = copies[0].repeat((1, 2, 2))
    atoms.calc = EMT()
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=np.random.default_rng(6))
    dynamics = VelocityVerlet(atoms, 5.0 * ase_units.fs)
    frames = []
    for _ in range(40):
        dynamics.run(2)
        frames.append(atoms.copy())
        frames[-1].calc = EMT()
    check_units(_labelled(frames))
    with pytest.raises(InputError, match=r"where 0.9\d to 1\d is expected of these"):
        check_units(_labelled(frames, *[1.0 / units.HARTREE] * 3))


def test_soft_metals_are_accepted(copies) -> None:
    """Potassium is a tenth as stiff as copper; a Hartree in place of an eV is a factor of 27."""
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(12):
        frame = bulk("K", cubic=True).repeat(3)
        frame.rattle(0.1, rng=rng)
        # L. A. Girifalco and V. G. Weizer, Phys. Rev. 114, 687 (1959): Morse potential of K.
        frame.calc = MorsePotential(
            epsilon=0.05424, r0=6.369, rho0=6.369 * 0.4977, rcut1=8, rcut2=9
        )
        frames.append(frame)
    check_units(_labelled(frames, stress=None))
    check_units(_labelled([_of("He", frame) for frame in copies], 0.03, 0.03, 0.03))
    with pytest.raises(InputError, match="is expected of these elements"):
        check_units(_labelled(copies, 0.03, 0.03, 0.03))


def _of(symbol, frame):
    """The same structure and labels for another element."""
    other = frame.copy()
    other.symbols[:] = symbol
    other.calc = SinglePointCalculator(
        other,
        energy=frame.get_potential_energy(),
        forces=frame.get_forces(),
        stress=frame.get_stress(),
    )
    return other
