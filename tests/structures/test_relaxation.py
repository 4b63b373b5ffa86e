from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mgflows.errors import InputError
from mgflows.structures.relaxation import relax


@pytest.fixture
def strained():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) * 0.93 + [[0, 0.02, 0], [0, 0, 0], [0.01, 0, 0]]),
        scale_atoms=True,
    )
    return atoms


@pytest.mark.physics
def test_cell_and_positions_end_in_the_perfect_crystal(strained):
    perfect = relax(bulk("Cu", cubic=True) * 2, EMT(), force_tolerance=1e-4, stress_tolerance=1e-3)
    found = relax(strained, EMT(), force_tolerance=1e-4, stress_tolerance=1e-3)
    assert found.converged
    assert found.atoms.get_potential_energy() == pytest.approx(
        perfect.atoms.get_potential_energy(), abs=1e-5
    )
    assert found.atoms.get_volume() == pytest.approx(perfect.atoms.get_volume(), rel=1e-4)
    assert found.energy_before > found.atoms.get_potential_energy()
    assert found.largest_force <= 1e-4
    assert found.largest_stress <= 1e-3


def test_at_fixed_cell_the_cell_stays(strained):
    found = relax(strained, EMT(), relax_cell=False, force_tolerance=1e-3)
    assert found.converged
    assert found.atoms.cell.array == pytest.approx(strained.cell.array, abs=0.0)
    assert found.largest_stress == 0.0


def test_the_start_is_left_alone_and_too_few_steps_are_reported(strained):
    before = strained.positions.copy()
    found = relax(strained, EMT(), max_steps=3)
    assert not found.converged
    assert found.n_steps <= 3
    assert strained.positions == pytest.approx(before, abs=0.0)


@pytest.mark.parametrize("setting", ["force_tolerance", "stress_tolerance", "max_steps"])
def test_tolerances_must_be_positive(strained, setting):
    with pytest.raises(InputError, match=setting):
        relax(strained, EMT(), **{setting: 0})


LOOSE = {"force_tolerance": 0.05, "stress_tolerance": 0.2}


class Ended(BaseException):
    """As the walltime raises it in a worker."""


class CountingEMT(EMT):
    """EMT that counts its calculations and is interrupted at one of them."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        self.n_calls, self.stop = 0, stop

    def calculate(self, *arguments, **keywords):
        self.n_calls += 1
        if self.n_calls == self.stop:
            raise Ended
        super().calculate(*arguments, **keywords)


def test_an_interrupted_relaxation_resumes(strained, tmp_path, monkeypatch):
    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    checkpoint = tmp_path / "checkpoint-relaxation.npz"
    whole = relax(strained, undisturbed := CountingEMT(), **LOOSE)
    with pytest.raises(Ended):
        relax(strained, CountingEMT(stop=undisturbed.n_calls - 3), checkpoint=checkpoint, **LOOSE)
    seen = []
    rest = relax(
        strained,
        remaining := CountingEMT(),
        checkpoint=checkpoint,
        progress=lambda done, total, note: seen.append(done),
        **LOOSE,
    )
    assert rest.converged
    assert not checkpoint.exists()
    assert remaining.n_calls < undisturbed.n_calls / 2
    assert seen[0] >= undisturbed.n_calls - 6
    assert rest.n_steps == seen[-1]
    assert rest.energy_before == pytest.approx(whole.energy_before, abs=1e-10)
    assert rest.atoms.get_potential_energy() == pytest.approx(
        whole.atoms.get_potential_energy(), abs=0.02
    )


def test_a_checkpoint_of_the_same_composition_elsewhere_is_not_used(
    strained, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    checkpoint = tmp_path / "checkpoint-relaxation.npz"
    other = strained.copy()
    other.rattle(0.05, seed=9)
    with pytest.raises(Ended):
        relax(other, CountingEMT(stop=4), checkpoint=checkpoint, **LOOSE)
    assert checkpoint.exists()
    whole, resumed = (
        relax(strained, EMT(), **LOOSE),
        relax(strained, EMT(), checkpoint=checkpoint, **LOOSE),
    )
    assert "is of another run" in caplog.text
    assert resumed.n_steps == whole.n_steps
    assert resumed.energy_before == whole.energy_before


def test_damaged_checkpoints_are_ignored(strained, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    checkpoint = tmp_path / "checkpoint-relaxation.npz"
    whole = relax(strained, EMT(), **LOOSE)
    with pytest.raises(Ended):
        relax(strained, CountingEMT(stop=4), checkpoint=checkpoint, **LOOSE)
    content = checkpoint.read_bytes()
    for damaged in (content[: len(content) // 2], b'{"start": "another"}', b""):
        checkpoint.write_bytes(damaged)
        caplog.clear()
        assert relax(strained, EMT(), checkpoint=checkpoint, **LOOSE).n_steps == whole.n_steps
        assert "cannot be read" in caplog.text
