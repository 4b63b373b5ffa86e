"""How the choices of the validation change its numbers, under the stand-in or any NEP.

    python docs/examples/validation_choices.py --coolings 4

Prints the tables of docs/concepts/validation.md: steps of relaxations, elastic constants against
force tolerance, strain and relaxed ions, quasi-static shear, and the errors of heat capacities
against the spread of several coolings.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows import Alloy
from mgflows.eam import stand_in_calculator
from mgflows.md import protocols
from mgflows.md.quench import quench
from mgflows.nep import nep_calculator
from mgflows.structures.relaxation import relax
from mgflows.surrogate import LennardJones, SwapMonteCarlo
from mgflows.validation.elasticity import elastic_constants, relax_to_zero_stress
from mgflows.validation.heat_capacity import heat_capacity_from_cooling
from mgflows.validation.shear import athermal_quasistatic_shear

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

TOLERANCES = (1e-3, 1e-4, 1e-5)
STRAINS = (1e-3, 2e-3, 4e-3)


def sample(n_glasses: int) -> list[Atoms]:
    """Glasses of 150 atoms, cooled in 10^4 sweeps."""
    alloy = Alloy.cuzral()
    glasses = []
    for stream in range(n_glasses):
        sampler = SwapMonteCarlo.from_alloy(LennardJones.cuzral(), alloy, (0, stream))
        sampler.equilibrate()
        sampler.cool(10_000)
        glasses.append(sampler.atoms)
    return glasses


def print_relaxations(glasses: list[Atoms], calculator: Calculator) -> list[Atoms]:
    """Relax each glass, and eight distorted copies of the first one in a cell."""
    print(
        "| atoms | steps | CPU s | largest force (eV/Å) | density (g/cm³) |\n|---|---|---|---|---|"
    )
    relaxed: list[Atoms] = []
    for number in range(len(glasses) + 1):
        if number < len(glasses):
            glass = glasses[number]
        else:
            glass = relaxed[0].repeat(2)
            glass.rattle(0.15, seed=0)
        start = time.process_time()
        found = relax(glass, calculator, force_tolerance=1e-4, stress_tolerance=0.01)
        density = found.atoms.get_masses().sum() / found.atoms.get_volume() * 1.66053907
        print(
            f"| {len(glass)} | {found.n_steps} | {time.process_time() - start:.1f} | "
            f"{found.largest_force:.1e} | {density:.2f} |"
        )
        relaxed.append(found.atoms)
    return relaxed[:-1]


def print_elastic_constants(glasses: list[Atoms], calculator: Calculator) -> None:
    """B and G against tolerance and strain, and with clamped ions."""

    def row(name: str, **settings: object) -> None:
        cells = []
        for glass in glasses:
            result = elastic_constants(glass, calculator, relax_reference=False, **settings)
            moduli = result.moduli
            cells.append(
                f"{moduli.bulk_modulus:.1f}, {moduli.shear_modulus:.1f}, {result.nonlinearity:.2f}"
            )
        print(f"| {name} | {' | '.join(cells)} |")

    names = [f"glass {number}: B, G, nonlinearity (GPa)" for number in range(1, len(glasses) + 1)]
    print(f"\n| choice | {' | '.join(names)} |\n|{'---|' * (len(glasses) + 1)}")
    for tolerance in TOLERANCES:
        tight = [relax_to_zero_stress(glass, calculator, tolerance) for glass in glasses]
        glasses = tight if tolerance == TOLERANCES[-1] else glasses
        row(f"forces below {tolerance:g} eV/Å", force_tolerance=tolerance)
    for strain in STRAINS:
        row(f"strain {strain:g}", strain=strain)
    row("clamped ions", relax_ions=False)


def print_shear(glasses: list[Atoms], calculator: Calculator) -> None:
    """Quasi-static shear along three planes."""
    print("\n| glass | G (GPa) of xy, xz, yz | plastic events |\n|---|---|---|")
    for number, glass in enumerate(glasses, start=1):
        result = athermal_quasistatic_shear(
            glass, calculator, directions=("xy", "xz", "yz"), relax_reference=False
        )
        values = ", ".join(f"{curve.shear_modulus:.1f}" for curve in result.curves)
        events = sum(curve.n_events for curve in result.curves)
        print(f"| {number} | {values} | {events} |")


def print_heat_capacity(glass: Atoms, calculator: Calculator, n_coolings: int) -> None:
    """Spread of the heat capacity over coolings at 100 K/ps against the quoted error."""
    curves = []
    for seed in range(n_coolings):
        result = quench(
            glass, calculator, protocols.quench(cooling_rate=100.0, sample_every=10), seed=seed
        )
        trace, cooling = result.trace, result.cooling
        curves.append(
            heat_capacity_from_cooling(
                trace.set_temperature[cooling], trace.enthalpy[cooling], n_windows=6
            )
        )
    values = np.array([curve.heat_capacity for curve in curves])
    errors = np.array([curve.error for curve in curves])
    print("\n| K | mean (J/mol/K) | spread of single coolings | quoted error |\n|---|---|---|---|")
    for index, temperature in enumerate(curves[0].temperature):
        print(
            f"| {temperature:.0f} | {values[:, index].mean():.1f} | "
            f"{values[:, index].std(ddof=1):.1f} | {np.sqrt((errors[:, index] ** 2).mean()):.1f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--potential", type=Path, help="a nep.txt instead of the stand-in")
    parser.add_argument("--glasses", type=int, default=2, help="glasses to strain")
    parser.add_argument("--coolings", type=int, default=0, help="coolings at 100 K/ps; 0 for none")
    options = parser.parse_args()
    calculator = nep_calculator(options.potential) if options.potential else stand_in_calculator()
    glasses = print_relaxations(sample(options.glasses), calculator)
    print_elastic_constants(glasses, calculator)
    print_shear(glasses, calculator)
    if options.coolings:
        print_heat_capacity(glasses[0], calculator, options.coolings)


if __name__ == "__main__":
    main()
