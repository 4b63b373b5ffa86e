"""A program with the files of GPUMD, run in its place where there is no GPU.

It reads run.in and model.xyz as GPUMD does, integrates with the integrators of mgflows, and writes
thermo.out, dump_xyz files and restart.xyz in GPUMD's formats and precisions. Called as
``python gpumd_stand_in.py`` in the directory of the inputs.
"""

from __future__ import annotations

from pathlib import Path

import ase.units
import numpy as np
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from mgflows import units
from mgflows.md.engines.gpumd_files import parse_run_in, read_model
from mgflows.md.langevin import LangevinNPT, NPTSettings
from mgflows.md.verlet import VelocityVerlet
from mgflows.nep.calculator import nep_calculator


def write_frame(stream, atoms, columns, number, forces):
    cell = " ".join(number % value for value in atoms.cell.array.ravel())
    names = {"mass": "mass:R:1", "velocity": "vel:R:3", "force": "forces:R:3"}
    properties = ":".join(["species:S:1:pos:R:3", *(names[column] for column in columns)])
    stream.write(f'{len(atoms)}\npbc="T T T" Lattice="{cell}" Properties={properties}\n')
    data = {
        "mass": atoms.get_masses()[:, None],
        "velocity": atoms.get_velocities() * ase.units.fs,
        "force": forces,
    }
    table = np.hstack([atoms.get_positions(wrap=True), *(data[column] for column in columns)])
    for symbol, row in zip(atoms.get_chemical_symbols(), table, strict=True):
        stream.write(" ".join([symbol, *(number % value for value in row)]) + "\n")


def main() -> None:
    atoms = read_model(Path("model.xyz"))[0]
    once: dict[str, list[str]] = {}
    dumps: list[list[str]] = []
    with open("thermo.out", "a") as thermo:
        for keyword, parameters in parse_run_in(Path("run.in").read_text()):
            if keyword == "potential":
                atoms.calc = nep_calculator(parameters[0])
            elif keyword == "velocity" and not atoms.get_velocities().any():
                MaxwellBoltzmannDistribution(atoms, temperature_K=float(parameters[0]))
            elif keyword == "dump_xyz":
                dumps.append(parameters)
            once[keyword] = parameters
            if keyword == "run":
                run(atoms, once, dumps, thermo)
                # Settings of one run only.
                dumps = []
                for name in ("ensemble", "dump_thermo", "dump_restart"):
                    once.pop(name, None)


def run(atoms, once, dumps, thermo) -> None:
    timestep, (kind, *values) = float(once["time_step"][0]), once["ensemble"]
    numbers = [float(value) for value in values]
    n_steps, start, end = int(once["run"][0]), 0.0, 0.0
    seed = np.random.SeedSequence()
    if kind == "npt_scr":
        start, end = numbers[:2]
        settings = NPTSettings(timestep=timestep, pressure=numbers[3])
        dynamics = LangevinNPT(atoms, settings, isotropic=len(numbers) == 6, seed=seed)
    else:
        coupling = None
        if kind == "nvt_bdp":
            start, end = numbers[:2]
            coupling = numbers[2] * timestep
        # A step of 0 fs moves nothing.
        dynamics = VelocityVerlet(atoms, timestep or 1e-12, thermostat_time=coupling, seed=seed)
    thermo.write(f"# dump_thermo {once['dump_thermo'][0]}\n# format_version 1\n")
    for step in range(1, n_steps + 1):
        dynamics.step(start + (end - start) * step / n_steps)
        forces = dynamics.evaluation.forces
        if step % int(once["dump_thermo"][0]) == 0:
            pressure = -units.ev_per_a3_to_gpa(dynamics.stress)
            row = [
                dynamics.temperature,
                dynamics.kinetic_energy,
                dynamics.evaluation.energy,
                *(pressure[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))),
                *atoms.cell.array.ravel(),
            ]
            thermo.write("".join(f"{value:20.10e}" for value in row) + "\n")
        for interval, name, *options in dumps:
            if step % int(interval) == 0:
                double = options[:2] == ["precision", "double"]
                columns = options[2:] if double else options
                with open(name, "a") as stream:
                    write_frame(stream, atoms, columns, "%.17g" if double else "%.9g", forces)
        if "dump_restart" in once and step % int(once["dump_restart"][0]) == 0:
            with open("restart.xyz", "w") as stream:
                write_frame(stream, atoms, ["mass", "velocity"], "%g", forces)


if __name__ == "__main__":
    main()
