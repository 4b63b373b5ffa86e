"""``mgflows validate`` on real potentials."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write

from mgflows.cli.main import main
from mgflows.validation.suite import SUITES
from tests.helpers.potentials import random_potential

TINY = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


@pytest.fixture(autouse=True)
def shortest_suite(monkeypatch):
    settings = replace(SUITES["tiny"], n_elastic=1, n_shear=1, hold_time=0.02, n_frames=2)
    monkeypatch.setitem(SUITES, "tiny", settings)
    # Random potentials have no minima: do not search them for long.
    monkeypatch.setattr("mgflows.structures.relaxation.step_budget", lambda _: 300)


@pytest.fixture
def glass(tmp_path):
    """A disordered Cu-Zr cell in a file."""
    atoms = bulk("Cu", "bcc", a=3.1, cubic=True).repeat(2)
    atoms.symbols[::2] = "Zr"
    atoms.rattle(0.2, seed=1)
    write(tmp_path / "glass.xyz", atoms)
    return atoms, tmp_path / "glass.xyz"


@pytest.fixture
def run(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        with pytest.raises(SystemExit) as end:
            main(["validate", *map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code, captured.out, " ".join(captured.err.split())

    return run


@pytest.mark.faults
def test_failures_decide_the_exit_code(tmp_path, glass, run):
    """A random potential has no stable glass: the reasons are printed and the code is 1."""
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr")))
    arguments = (tmp_path / "nep.txt", "--suite", "tiny", "--glasses", glass[1])
    code, output, _ = run(*arguments, "--json")
    assert json.loads(output)["failures"]
    assert code == 1
    code, output, _ = run(*arguments)
    assert code == 1
    assert "failed:" in output


@pytest.mark.parametrize("reference", ["peer", "stand-in"])
def test_potentials_with_more_species_than_the_glass(tmp_path, glass, run, reference):
    """Both sides may have species that the glass does not contain, in any order."""
    species = ("Zr", "Ni", "Cu", "Al")
    (tmp_path / "nep.txt").write_text(random_potential(species))
    (tmp_path / "peer.txt").write_text(random_potential(("Al", "Cu", "Mg", "Zr"), seed=1))
    other = tmp_path / "peer.txt" if reference == "peer" else reference
    _, output, _ = run(
        *(tmp_path / "nep.txt", "--suite", "tiny", "--glasses", glass[1], "--reference", other),
        "--json",
    )
    found = json.loads(output)
    assert found["reference"] is not None
    assert sorted(found["dimers"]) == ["Cu-Cu", "Zr-Cu", "Zr-Zr"]
    assert found["energy_slope"] is None


def test_a_reference_without_the_species_is_refused(tmp_path, glass, run):
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr")))
    (tmp_path / "other.txt").write_text(random_potential(("Ni", "Cu")))
    code, _, error = run(
        *(tmp_path / "nep.txt", "--suite", "tiny", "--glasses", glass[1]),
        *("--reference", tmp_path / "other.txt"),
    )
    assert code == 2
    assert "for Ni, Cu, but not Zr" in error
    (tmp_path / "other.txt").write_text(random_potential(("Ni", "Mg")))
    code, _, error = run(tmp_path / "nep.txt", "--reference", tmp_path / "other.txt")
    assert code == 2
    assert "no species in common" in error


@pytest.mark.slow
def test_constraints_of_the_file_are_ignored_with_a_warning(tmp_path, glass, caplog, run):
    atoms, path = glass
    free = json.loads(run(TINY, "--suite", "tiny", "--glasses", path, "--json")[1])
    atoms.set_constraint(FixAtoms(range(8)))
    write(tmp_path / "fixed.xyz", atoms)
    caplog.clear()
    _, output, error = run(TINY, "--suite", "tiny", "--glasses", tmp_path / "fixed.xyz", "--json")
    fixed = json.loads(output)
    assert "constraints of the glasses are ignored" in caplog.text + error
    assert fixed["model"]["bulk_modulus"] == free["model"]["bulk_modulus"]
    assert fixed["model"]["shear_modulus"] == free["model"]["shear_modulus"]


def test_a_structure_that_is_not_finite_is_refused(tmp_path, glass, run):
    atoms, _ = glass
    atoms.positions[2] = np.nan
    write(tmp_path / "nan.xyz", atoms)
    code, _, error = run(TINY, "--suite", "tiny", "--glasses", tmp_path / "nan.xyz")
    assert code == 2
    assert "atom 2" in error
    assert "not finite" in error


LENNARD_JONES = 'tests.helpers.calculators:lennard_jones_of?{"symbols": ["Cu", "Zr"]}'
COMPARE = ("--suite", "tiny")


@pytest.fixture
def tiny_protocol(monkeypatch):
    from mgflows.validation.plan import PROTOCOLS

    shorter = replace(
        PROTOCOLS["tiny"], hold_time=0.02, n_frames=2, equilibration_time=0.02, hot_time=0.05
    )
    monkeypatch.setitem(
        PROTOCOLS, "tiny", replace(shorter, cooling_rate=4e4, drift_time=0.02, n_glasses=1)
    )


@pytest.mark.slow
def test_several_potentials_of_any_kind_side_by_side(tmp_path, glass, run, tiny_protocol):
    from mgflows.eam import stand_in_setfl

    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    arguments = (
        *("stand-in", "--glasses", glass[1], *COMPARE, "--against", f"eam:table={table}"),
        *("--against", f"calculator:LJ={LENNARD_JONES}"),
        *("--report", tmp_path / "report.html"),
    )
    code, output, _ = run(*arguments, "--json")
    found = json.loads(output)
    names = [model["name"] for model in found["models"]]
    assert names == ["stand-in", "table", "LJ"]
    one, same, _ = found["models"]
    for quantity in ("bulk_modulus", "density_0K", "shear_modulus"):
        if quantity in one["estimates"]:
            assert same["estimates"][quantity]["value"] == pytest.approx(
                one["estimates"][quantity]["value"], rel=1e-6
            )
    assert code == (1 if found["failures"] else 0)
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Quantities</h2>" in page
    assert "LJ" in page
    assert 'id="cold"' in page


def test_a_forecast_lists_samples_and_cost(tmp_path, glass, run):
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr")))
    arguments = (tmp_path / "nep.txt", "--glasses", glass[1], "--suite", "paper", "--forecast")
    code, output, _ = run(*arguments, "--json")
    found = json.loads(output)
    assert code == 0
    assert found["samples"] == {"soundness": 1, "glass": 1, "quench": 80, "melt": 120}
    # 80 quenches of 1500 atoms in 8.5e6 steps of 17 us per atom: 60 h each.
    assert found["core_hours"]["quench"] == pytest.approx(80 * 60, rel=0.05)
    _, output, _ = run(*arguments)
    assert "80" in output
    assert "core hours" in output


def test_wrong_peers_are_refused(tmp_path, glass, run):
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr")))
    for arguments, words in (
        (("--against", "mace:model"), "unknown kind 'mace'"),
        (("--against", tmp_path / "nep.txt"), "given twice"),
        (("--against", "stand-in", "--reference", "stand-in"), "belongs to the validation of one"),
        (("--against", "calculator:ase.calculators.emt:EMT"), "No EMT-potential for Zr"),
        (("--submit", "v", "--report", tmp_path / "v.html"), "--report is for a validation on"),
        (("--add-from", "4", "--against", "stand-in"), "needs --submit"),
        (("--against", "stand-in", "--experiments", tmp_path / "none.yaml"), "cannot be read"),
    ):
        code, _, error = run(tmp_path / "nep.txt", "--glasses", glass[1], *arguments)
        assert code == 2
        assert words in error
