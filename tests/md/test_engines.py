"""Three engines under the same potentials."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mgflows.checkpoints import checkpoints_kept
from mgflows.errors import (
    InputError,
    MissingProgramError,
    PotentialFailureError,
    ServiceError,
)
from mgflows.md import protocols
from mgflows.md.engines import (
    AseEngine,
    GpumdEngine,
    LammpsEngine,
    RunPausedError,
    fastest_engine,
)
from mgflows.md.langevin import NPTSettings
from mgflows.md.potentials import CalculatorPotential, NepPotential, StandInPotential
from mgflows.validation.statistics import mean_error
from tests.helpers import gpumd_stand_in
from tests.helpers.potentials import random_potential

GPUMD = f"{sys.executable} {gpumd_stand_in.__file__}"
NEP = NepPotential(Path(__file__).parents[1] / "data" / "tiny_nep.txt")
EAM = StandInPotential()


@pytest.fixture
def alloy():
    """A rattled crystal in an orthogonal cell."""
    atoms = bulk("Cu", "bcc", a=3.2, cubic=True).repeat((3, 3, 3))
    atoms.symbols[::2] = "Zr"
    atoms.rattle(0.05, seed=1)
    return atoms


def skewed(atoms):
    skewed = atoms.copy()
    shear = np.eye(3) + [[0.0, 0.05, -0.02], [0.03, 0.0, 0.04], [0.0, 0.01, 0.02]]
    skewed.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return skewed


ENGINES = {
    "nep lammps": (AseEngine(NEP), LammpsEngine(NEP), 1e-9),
    "nep gpumd": (AseEngine(NEP), GpumdEngine(NEP, command=GPUMD), 1e-7),
    "eam lammps": (AseEngine(EAM), LammpsEngine(EAM), 1e-8),
    "eam lammps executable": (AseEngine(EAM), LammpsEngine(EAM, command="lmp"), 1e-8),
}


def test_a_left_handed_cell_is_the_same_crystal(alloy):
    left = alloy.copy()
    left.set_cell(-alloy.cell.array)
    engine = LammpsEngine(EAM)
    same, right = engine.evaluate(left), engine.evaluate(alloy)
    np.testing.assert_allclose(same.forces, right.forces, atol=1e-9)
    run, other = (engine.run(atoms, protocols.nve(0.02, 300.0), seed=1) for atoms in (left, alloy))
    np.testing.assert_allclose(run.atoms.positions, other.atoms.positions, atol=1e-6)


@pytest.mark.physics
@pytest.mark.parametrize("pair", ENGINES)
def test_all_engines_give_the_same_energy_forces_and_stress(pair, alloy):
    one, other, tolerance = ENGINES[pair]
    atoms = skewed(alloy)
    first, second = one.evaluate(atoms), other.evaluate(atoms)
    assert second.energy == pytest.approx(first.energy, abs=tolerance * len(atoms))
    np.testing.assert_allclose(second.forces, first.forces, atol=tolerance)
    np.testing.assert_allclose(second.stress, first.stress, atol=tolerance)
    assert np.abs(first.stress - np.diag(np.diag(first.stress))).max() > 1e-3


@pytest.mark.physics
@pytest.mark.parametrize("engine", [AseEngine(EAM), LammpsEngine(EAM)], ids=lambda e: e.name)
def test_the_energy_is_conserved(engine, alloy):
    run = engine.run(alloy, protocols.nve(0.4, 600.0), npt=NPTSettings(timestep=1.0), seed=2)
    energy = run.samples.potential_energy + run.samples.kinetic_energy
    assert np.ptp(energy) / len(alloy) < 1e-4
    assert np.ptp(run.samples.potential_energy) / len(alloy) > 1e-3
    np.testing.assert_allclose(run.atoms.get_momenta().sum(axis=0), 0.0, atol=1e-8)


@pytest.mark.physics
def test_lammps_starts_like_ase(alloy):
    """The same velocities, and the same trajectory until rounding separates them."""
    atoms = skewed(alloy)
    runs = [
        engine.run(atoms, protocols.nve(0.02, 900.0, sample_every=1), seed=5)
        for engine in (AseEngine(EAM), LammpsEngine(EAM))
    ]
    one, other = (run.samples for run in runs)
    # LAMMPS has Boltzmann's constant of 1998, 1.2e-6 larger.
    np.testing.assert_allclose(other.temperature, one.temperature, rtol=2e-6)
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-6)
    np.testing.assert_allclose(other.potential_energy, one.potential_energy, atol=1e-5)
    np.testing.assert_allclose(runs[1].atoms.cell.array, atoms.cell.array, atol=1e-10)
    shift = runs[1].atoms.get_scaled_positions() - runs[0].atoms.get_scaled_positions()
    assert np.abs(shift - np.rint(shift)).max() < 1e-6
    np.testing.assert_allclose(runs[1].atoms.get_momenta(), runs[0].atoms.get_momenta(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.physics
@pytest.mark.parametrize("shape", ["isotropic", "full"])
def test_averages_at_constant_pressure_agree(shape):
    """Langevin dynamics in Python and Nose-Hoover chains in LAMMPS sample one ensemble."""
    crystal = bulk("Cu", cubic=True).repeat(2)
    crystal.rattle(0.05, seed=1)
    found = []
    for engine, time in ((AseEngine(EAM), 4.0), (LammpsEngine(EAM), 20.0)):
        stages = protocols.hold(500.0, time, equilibration_time=1.0, shape=shape, sample_every=5)
        run = engine.run(crystal, stages, npt=NPTSettings(pressure=2.0), seed=3)
        trace = run.trace(1)
        found.append([trace.volume, trace.potential_energy, trace.pressure])
        for series, expected in ((trace.temperature, 500.0), (trace.pressure, 2.0)):
            assert series.mean() == pytest.approx(expected, abs=4.0 * mean_error(series))
        angles = run.frames[1][-1].cell.angles()
        assert (np.ptp(angles) > 1e-3) == (shape == "full")
    for one, other in zip(*found, strict=True):
        error = np.hypot(mean_error(one), mean_error(other))
        assert one.mean() == pytest.approx(other.mean(), abs=4.0 * error)


@pytest.mark.physics
def test_a_deformation_strains_the_cell_at_its_rate(alloy):
    stages = protocols.deform((0.0, 0.0, 0.0, 0.0, 0.0, 0.1), 0.01, 300.0, sample_every=5)
    runs = [engine.run(alloy, stages, seed=1) for engine in (AseEngine(EAM), LammpsEngine(EAM))]
    strained = alloy.cell.array.copy()
    strained[1, 0] = 0.01 * strained[1, 1]
    for run in runs:
        np.testing.assert_allclose(run.atoms.cell.array, strained, atol=1e-8)
        # The crystal resists the shear xy, and no other.
        stress = run.samples.stress[-6:].mean(axis=0)
        assert stress[5] > 2.0 * max(abs(stress[3]), abs(stress[4]))


STAGES = [
    protocols.Stage("npt", 0.02, 600.0, 300.0, n_frames=2, sample_every=2),
    protocols.Stage("nvt", 0.02, 300.0, strain_rate=(0.1, 0, 0, 0, 0.2, 0), sample_every=3),
    protocols.Stage("nve", 0.01, 300.0, sample_every=1),
    protocols.Stage("npt", 0.02, 300.0, shape="full", n_frames=3, sample_every=5),
]


def run_in_pieces(engine, atoms, stages, path, **options):
    """Run with a wall time that is always over, until the run is complete."""
    for number in range(100):
        try:
            return engine.run(atoms, stages, checkpoint=path, wall_time=0.0, **options), number
        except RunPausedError:
            assert path.is_file()
    raise AssertionError("the run does not end")


def test_ase_resumes_bitwise_in_every_ensemble(alloy, tmp_path, monkeypatch):
    monkeypatch.setattr("mgflows.md.engines.base.Session.atom_steps", 3.0 * len(alloy))
    engine = AseEngine(NEP)
    whole = engine.run(alloy, STAGES, seed=4)
    resumed, pauses = run_in_pieces(engine, alloy, STAGES, tmp_path / "run.npz", seed=4)
    assert pauses > 10
    assert list(tmp_path.iterdir()) == []
    for name in ("step", "stage", "temperature", "potential_energy", "stress", "volume"):
        np.testing.assert_array_equal(getattr(resumed.samples, name), getattr(whole.samples, name))
    np.testing.assert_array_equal(resumed.atoms.positions, whole.atoms.positions)
    assert {stage: len(frames) for stage, frames in whole.frames.items()} == {0: 2, 3: 3}
    for stage, frames in whole.frames.items():
        for one, two in zip(frames, resumed.frames[stage], strict=True):
            np.testing.assert_array_equal(one.positions, two.positions)


def test_a_kept_checkpoint_holds_the_whole_run(alloy, tmp_path):
    """Inside a worker the file stays until the result is stored."""
    stages, path = STAGES[:1], tmp_path / "run.npz"
    with checkpoints_kept():
        whole = LammpsEngine(EAM).run(alloy, stages, seed=4, checkpoint=path)
        again = LammpsEngine(EAM).run(
            alloy, stages, seed=4, checkpoint=path, progress=lambda *_: pytest.fail("it ran again")
        )
    np.testing.assert_array_equal(again.samples.stress, whole.samples.stress)
    np.testing.assert_array_equal(again.atoms.positions, whole.atoms.positions)
    assert len(again.frames[0]) == 2
    assert not path.exists()


@pytest.mark.parametrize("command", [None, "lmp"])
def test_lammps_resumes_from_its_complete_state(command, alloy, tmp_path, monkeypatch):
    """A short run, so that rounding has no time to grow: chains of the barostat included."""
    monkeypatch.setattr(
        "mgflows.md.engines.lammps._ATOM_STEPS",
        dict.fromkeys([(True, True), (True, False)], 5.0 * len(alloy)),
    )
    engine, stages = LammpsEngine(EAM, command=command), [STAGES[0], *STAGES[2:3]]
    resumed, pauses = run_in_pieces(engine, alloy, stages, tmp_path / "run.npz", seed=4)
    whole = engine.run(alloy, stages, seed=4)
    assert pauses == 2
    np.testing.assert_array_equal(resumed.samples.step, whole.samples.step)
    np.testing.assert_allclose(resumed.samples.volume, whole.samples.volume, rtol=1e-8)
    np.testing.assert_allclose(resumed.samples.stress, whole.samples.stress, atol=1e-6)


@pytest.mark.parametrize("full_precision", [True, False])
def test_gpumd_runs_in_launches_and_resumes(full_precision, alloy, tmp_path, monkeypatch):
    monkeypatch.setattr("mgflows.md.engines.gpumd._GpumdSession.atom_steps", 5.0 * len(alloy))
    engine = GpumdEngine(
        NEP, command=GPUMD, full_precision=full_precision, directory=tmp_path / "gpumd"
    )
    stages = [
        protocols.Stage("npt", 0.02, 600.0, 300.0, n_frames=2, sample_every=2),
        protocols.Stage("nve", 0.02, 300.0, sample_every=2),
    ]
    run, pauses = run_in_pieces(engine, alloy, stages, tmp_path / "run.npz", seed=4)
    assert pauses == 3
    assert run.samples.step.tolist() == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert [frame.get_velocities().any() for frame in run.frames[0]] == [True, True]
    assert run.samples.set_temperature[:5].tolist() == [540.0, 480.0, 420.0, 360.0, 300.0]
    energy = (run.samples.potential_energy + run.samples.kinetic_energy)[5:]
    assert np.ptp(energy) / len(alloy) < (2e-4 if full_precision else 5e-4)
    model, state = (
        (tmp_path / "gpumd" / "launch-00001" / name).read_text().splitlines()
        for name in ("model.xyz", "state.xyz" if full_precision else "restart.xyz")
    )
    assert len(model) == len(state) == len(alloy) + 2


def test_what_gpumd_cannot_do_is_refused_before_it_starts(alloy):
    engine = GpumdEngine(NEP, command=GPUMD)
    with pytest.raises(InputError, match="GPUMD deforms"):
        engine.run(alloy, protocols.deform((0, 0, 0, 0, 0, 0.1), 0.01, 300.0), seed=0)
    with pytest.raises(InputError, match="orthogonal"):
        engine.run(skewed(alloy), protocols.hold(300.0, 0.1), seed=0)
    with pytest.raises(InputError, match="NEPs only"):
        GpumdEngine(EAM)
    with pytest.raises(MissingProgramError, match="'no-gpumd' was not found"):
        GpumdEngine(NEP, command="no-gpumd").run(alloy, protocols.hold(300.0, 0.1), seed=0)


@pytest.mark.faults
def test_programs_that_fail_are_reported_with_their_messages(alloy, tmp_path):
    with pytest.raises(ServiceError, match=r"[Uu]nrecognized pair style"):
        LammpsEngine(NEP, command="lmp").evaluate(alloy)
    script = tmp_path / "gpumd"
    script.write_text("#!/bin/sh\necho no CUDA device\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(ServiceError, match=r"exit status 3.*no CUDA device"):
        GpumdEngine(NEP, command=str(script)).evaluate(alloy)
    script.write_text("#!/bin/sh\necho Finished\n")
    with pytest.raises(ServiceError, match=r"no thermo\.out"):
        GpumdEngine(NEP, command=str(script)).evaluate(alloy)


@pytest.mark.faults
@pytest.mark.parametrize("engine", [AseEngine, LammpsEngine], ids=lambda e: e.__name__)
def test_atoms_that_fly_apart_are_a_failure_of_the_potential(engine, alloy):
    """Random parameters: LAMMPS' callback must end the run and keep the reason."""
    potential = NepPotential(random_potential(("Cu", "Zr")))
    stages = protocols.hold(3000.0, 20.0, n_frames=0)
    with pytest.raises(PotentialFailureError):
        engine(potential).run(alloy, stages, npt=NPTSettings(timestep=10.0), seed=1)


def test_bad_input_is_refused_before_anything_runs(alloy):
    nickel = alloy.copy()
    nickel.symbols[0] = "Ni"
    with pytest.raises(InputError, match="for Cu, Zr, Al, but not Ni"):
        LammpsEngine(EAM).run(nickel, protocols.hold(300.0, 0.1), seed=0)
    with pytest.raises(InputError, match="cannot evaluate EMT"):
        LammpsEngine(CalculatorPotential("ase.calculators.emt:EMT"))
    heavy = alloy.copy()
    heavy.set_masses([70.0, *heavy.get_masses()[1:]])
    with pytest.raises(InputError, match="masses of Zr differ"):
        LammpsEngine(EAM).run(heavy, protocols.hold(300.0, 0.1), seed=0)
    with pytest.raises(InputError, match="needs a checkpoint"):
        AseEngine(EAM).run(alloy, protocols.hold(300.0, 0.1), seed=0, wall_time=1.0)
    with pytest.raises(InputError, match="ensemble 'nph'"):
        protocols.Stage("nph", 1.0, 300.0)
    with pytest.raises(InputError, match="strain rate"):
        protocols.Stage("npt", 1.0, 300.0, strain_rate=(0, 0, 0, 0, 0, 1))
    with pytest.raises(InputError, match="no steps"):
        AseEngine(EAM).run(alloy, [protocols.Stage("nve", 0.0, 300.0)], seed=0)


def test_the_engine_is_chosen_by_the_potential():
    assert isinstance(fastest_engine(EAM), LammpsEngine)
    assert isinstance(fastest_engine(NEP), AseEngine)
