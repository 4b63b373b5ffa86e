"""Moduli and g(r) of an embedded-atom glass against a script of LAMMPS alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.analysis.elasticity import ElasticTensor

from mgflows.eam import stand_in_setfl
from mgflows.eam.setfl import write_setfl
from mgflows.eam.zhou2004 import zhou_model
from mgflows.md import protocols
from mgflows.md.engines import LammpsEngine
from mgflows.md.potentials import EamPotential, StandInPotential
from mgflows.validation.elasticity import elastic_constants
from mgflows.validation.rdf import curve_distance, radial_distribution
from mgflows.validation.statistics import mean_error
from tests.helpers.lammps_reference import open_lammps
from tests.helpers.potentials import eam_of_2011

SPECIES = ("Cu", "Zr", "Al")


@pytest.fixture(scope="module")
def glass():
    """108 atoms, melted by displacements and relaxed by the potential that is measured."""
    atoms = bulk("Cu", "fcc", a=4.05, cubic=True).repeat(3)
    generator = np.random.default_rng(2)
    atoms.set_chemical_symbols(generator.choice(SPECIES, 108, p=[0.46, 0.46, 0.08]).tolist())
    atoms.rattle(0.35, seed=2)
    return elastic_constants(atoms, StandInPotential().calculator(), force_tolerance=3e-5)


def start(lmp, atoms, table):
    """The relaxed glass in LAMMPS, in the orientation of its triclinic cells."""
    lower, rotation = (np.asarray(matrix) for matrix in atoms.cell.standard_form())
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = lower.tolist()
    lmp.commands_string(
        f"""
        units metal
        atom_style atomic
        atom_modify map array
        box tilt large
        region box prism 0 {lx} 0 {ly} 0 {lz} {xy} {xz} {yz}
        create_box 3 box
        """
    )
    wrapped = atoms.get_scaled_positions(wrap=True) @ lower
    types = [SPECIES.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, wrapped.ravel().tolist())
    lmp.commands_string(
        f"""
        pair_style eam/alloy
        pair_coeff * * {table} Cu Zr Al
        neigh_modify one 20000 page 400000
        thermo_modify norm no
        """
    )
    return rotation


@pytest.mark.slow
@pytest.mark.physics
def test_moduli_equal_those_of_a_lammps_script(glass, tmp_path):
    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    lmp = open_lammps()
    start(lmp, glass.atoms, table)
    size, names = 1e-3, ("x", "y", "z", "yz", "xz", "xy")
    pressures = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
    lengths = dict(zip(("x", "y", "z"), (lmp.get_thermo(f"l{a}") for a in "xyz"), strict=True))
    lmp.command("min_modify norm inf")
    columns = []
    for name in names:
        stresses = []
        for sign in (1.0, -1.0):
            lmp.command(f"write_restart {tmp_path}/state")
            if len(name) == 1:
                # Affine, tilts of the box included, like the strain of a column.
                change = f"{name} scale {1.0 + sign * size}"
                lmp.command(f"change_box all {change} remap units box")
            else:
                shift = sign * size * lengths[name[1]]
                lmp.command(f"change_box all {name} delta {shift} remap units box")
            lmp.command("minimize 0.0 1e-5 20000 200000")
            lmp.command("run 0")
            stresses.append([-1e-4 * lmp.get_thermo(p) for p in pressures])
            lmp.command("clear")
            start(lmp, glass.atoms, table)
            lmp.command("min_modify norm inf")
        columns.append((np.array(stresses[0]) - stresses[1]) / (2.0 * size))
    lmp.close()
    stiffness = np.array(columns).T
    tensor = ElasticTensor.from_voigt((stiffness + stiffness.T) / 2.0)
    # A shear of the box is a strain and a rotation, and rotations do not change the averages.
    assert glass.moduli.bulk_modulus == pytest.approx(tensor.k_vrh, rel=0.01)
    assert glass.moduli.shear_modulus == pytest.approx(tensor.g_vrh, rel=0.02)
    assert 0.0 < tensor.g_vrh < tensor.k_vrh


@pytest.mark.physics
def test_partials_equal_those_of_a_lammps_script(glass, tmp_path):
    """Numbers of neighbours and, up to the N/(N - 1) of like pairs, g(r)."""
    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    lmp = open_lammps()
    start(lmp, glass.atoms, table)
    lmp.command("compute rdf all rdf 60 1 1 1 2 2 2 cutoff 6.0")
    lmp.command("comm_modify cutoff 10.0")
    lmp.command(f"fix out all ave/time 1 1 1 c_rdf[*] mode vector file {tmp_path}/rdf")
    lmp.command("run 0")
    lmp.close()
    rows = np.array(
        [
            [float(word) for word in line.split()]
            for line in (tmp_path / "rdf").read_text().splitlines()
            if not line.startswith("#") and len(line.split()) == 8
        ]
    )
    own = radial_distribution(glass.atoms, distance_max=6.0, n_bins=60)
    symbols = glass.atoms.get_chemical_symbols()
    np.testing.assert_allclose(rows[:, 1], own.distance, atol=1e-6)
    edges = np.linspace(0.0, 6.0, 61)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3) / glass.atoms.get_volume()
    for column, (a, b) in ((2, ("Cu", "Cu")), (4, ("Cu", "Zr")), (6, ("Zr", "Zr"))):
        n_a, n_b = symbols.count(a), symbols.count(b)
        curve = own.partial[f"{a}-{b}" if f"{a}-{b}" in own.partial else f"{b}-{a}"]
        # Sums of neighbours: a pair at the edge of a bin may be on either side of it.
        np.testing.assert_allclose(
            rows[:, column + 1], np.cumsum(curve * shells) * n_b, atol=2.1 / n_a
        )
        factor = n_a / (n_a - 1.0) if a == b else 1.0
        assert np.mean(np.abs(rows[:, column] - factor * curve)) < 5e-3


class Held(NamedTuple):
    """A glass held at 300 K and 0 GPa: volumes per atom and X-ray g(r), and halves of the time."""

    volume: np.ndarray
    distance: np.ndarray
    xray: np.ndarray
    halves: tuple[np.ndarray, ...] = ()


def held_by_lammps(atoms, table, folder) -> Held:
    """By a script of LAMMPS: another thermostat, barostat and analysis."""
    lmp = open_lammps()
    start(lmp, atoms, table)
    lmp.commands_string(
        f"""
        timestep 0.002
        velocity all create 600 4711
        fix move all npt temp 300 300 0.1 iso 0 0 1.0
        run 2000
        reset_timestep 0
        comm_modify cutoff 10.0
        compute rdf all rdf 60 1 1 1 2 2 2 1 3 2 3 3 3 cutoff 6.0
        fix rdf all ave/time 10 400 4000 c_rdf[*] mode vector file {folder}/rdf
        variable vol equal vol
        fix volume all ave/time 10 1 10 v_vol file {folder}/volume
        run 4000
        """
    )
    lmp.close()
    rows = np.loadtxt(folder / "rdf", skiprows=4)
    numbers = [atoms.get_chemical_symbols().count(symbol) for symbol in SPECIES]
    charges = np.array([29.0, 40.0, 13.0]) * numbers
    xray = np.zeros(60)
    for column, (a, b) in zip(
        range(2, 14, 2), ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)), strict=True
    ):
        # LAMMPS leaves an atom out of its own surroundings in the density of like pairs.
        factor = (numbers[a] - 1.0) / numbers[a] if a == b else 2.0
        xray += factor * charges[a] * charges[b] / charges.sum() ** 2 * rows[:, column]
    return Held(np.loadtxt(folder / "volume")[:, 1] / len(atoms), rows[:, 1], xray)


def held_by_mgflows(atoms, potential) -> Held:
    stages = protocols.hold(300.0, 8.0, equilibration_time=4.0, n_frames=40)
    run = LammpsEngine(potential).run(atoms, stages, seed=1)
    last = int(run.samples.stage.max())
    frames = run.frames[last]
    whole, *halves = (
        radial_distribution(part, distance_max=6.0, n_bins=60)
        for part in (frames, frames[:20], frames[20:])
    )
    xrays = tuple(half.xray for half in halves)
    return Held(run.trace(last).volume, whole.distance, whole.xray, xrays)


@pytest.fixture(scope="module")
def stand_in(glass, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand-in")
    table = stand_in_setfl(folder / "model.eam.alloy")
    return (
        held_by_mgflows(glass.atoms, StandInPotential()),
        held_by_lammps(glass.atoms, table, folder),
    )


@pytest.mark.slow
@pytest.mark.physics
def test_density_and_xray_distribution_equal_those_of_a_lammps_script(stand_in):
    own, script = stand_in
    error = np.hypot(mean_error(own.volume), mean_error(script.volume))
    assert abs(own.volume.mean() - script.volume.mean()) < 4.0 * error
    assert error < 2e-3 * own.volume.mean()
    noise = distance(own.distance, own.halves[0], own.distance, own.halves[1])
    found = distance(own.distance, own.xray, script.distance, script.xray)
    assert found < 2.0 * noise
    # A glass 2 % denser would be seen.
    denser = script.distance * 0.98 ** (1 / 3)
    assert distance(own.distance, own.xray, denser, script.xray) > 2.0 * found


@pytest.mark.slow
@pytest.mark.physics
@pytest.mark.parametrize("name", ["Zhou 2004", "EAM of 2011"])
def test_the_distance_of_two_potentials_is_that_of_two_lammps_scripts(
    name, glass, stand_in, tmp_path
):
    """The paper's measure of Fig. 4a, between embedded-atom models."""
    table = tmp_path / "zhou.eam.alloy"
    if name == "Zhou 2004":
        write_setfl(table, zhou_model(SPECIES))
    else:
        table = eam_of_2011()
    own = held_by_mgflows(glass.atoms, EamPotential(table))
    script = held_by_lammps(glass.atoms, table, tmp_path)
    ours, theirs = (
        distance(one.distance, one.xray, other.distance, other.xray)
        for one, other in zip(stand_in, (own, script), strict=True)
    )
    noise = distance(own.distance, own.halves[0], own.distance, own.halves[1])
    assert abs(ours - theirs) < 2.0 * noise
    assert ours > 3.0 * noise


def distance(*curves):
    return curve_distance(*curves, distance_range=(2.3, 5.9)).mean_absolute_error
