"""Label three cells with one code and compare with stored labels of other codes.

    python docs/examples/compare_dft_codes.py gpaw --cutoff 450 --cells A

A is AlCu3Zr4 on the B2 lattice (8 atoms, rattled by 0.08 A), B a Cu6Zr6Al1 glass at the surrogate's
density (13 atoms), C the same at the density of the real glass. The stored labels
(tests/data/dft_reference) were computed with scripts of ASE and the codes alone (GPAW 26.7, Quantum
ESPRESSO 6.7, CP2K 2023.1): PBE, Fermi-Dirac 0.1 eV, without symmetry. GPAW's energies are
extrapolated to zero smearing, so that comparable energies are compared; energies of different codes
have different zeros. Prints one row of docs/how_to/gpaw.md per label.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import read

from mgflows import units
from mgflows.jobs.labels import calculator_of
from mgflows.methods.cp2k import Cp2kMethod
from mgflows.methods.espresso import EspressoMethod
from mgflows.methods.gpaw import GpawMethod
from mgflows.schemas.labels import Frame
from mgflows.schemas.provenance import record_provenance

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[2] / "tests" / "data" / "dft_reference"
METHODS: dict[str, Callable[[], Any]] = {
    "gpaw": GpawMethod,
    "espresso": EspressoMethod,
    "cp2k": Cp2kMethod,
}
_ENGINES = {"gpaw": "gpaw", "espresso": "qe", "cp2k": "cp2k"}
# Cell: its file, the k-spacing that gives the mesh of the stored labels, and these.
CELLS = {
    "A": (
        "A_b2.extxyz",
        0.48,
        ("gpaw_A_224_450", "gpaw_A_224_600", "gpaw_A_224_800", "qe_A_224_90", "cp2k_A_224"),
    ),
    "B": ("B_glass.extxyz", 0.48, ("gpaw_B_222", "gpaw_B_222_600", "qe_B_222_90", "cp2k_B_222")),
    "C": ("C_glass_expdens.extxyz", 0.48, ("gpaw_C_222",)),
    "C4": ("C_glass_expdens.extxyz", 0.26, ("gpaw_C_444",)),
}


def deviator(stress: np.ndarray) -> float:
    """Root mean square of the components of a stress without its isotropic part, GPa."""
    return float(
        np.sqrt(np.mean(units.ev_per_a3_to_gpa(stress - np.trace(stress) / 3.0 * np.eye(3)) ** 2))
    )


def main() -> None:
    """Label and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("code", choices=METHODS)
    parser.add_argument("--cutoff", type=float, help="eV; by default the method's")
    parser.add_argument("--cells", default="A", help=f"of {','.join(CELLS)}")
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    print(
        "| cell, k-mesh | label | stored | F RMSE (eV/Å) | F max (eV/Å) | P (GPa) | P stored | "
        "deviator of the difference (GPa) | E0 difference (meV/atom) | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for cell in options.cells.split(","):
        file, k_spacing, references = CELLS[cell]
        atoms = read(DATA / file)
        method = replace(METHODS[options.code](), k_spacing=k_spacing, n_ranks=options.ranks)
        method = replace(method, cutoff=options.cutoff or method.cutoff)
        with (
            record_provenance(n_cores=method.n_cores) as provenance,
            calculator_of(method, atoms) as calculator,
        ):
            atoms.calc = calculator
            frame = Frame.from_atoms(atoms)
            report = method.report(calculator)
            energy = float(calculator.results["energy"]) if options.code == "gpaw" else frame.energy
        forces, stress = np.array(frame.forces), np.array(frame.stress)
        for name in references:
            stored = json.loads((DATA / f"{name}.json").read_text())
            off = forces - np.array(stored["F"])
            other = units.voigt_to_tensor(stored["S"])
            cells = (
                f"{cell}, {'x'.join(map(str, report.k_mesh or ()))}",
                f"{options.code} {method.cutoff:.0f} eV",
                f"{name}, {'x'.join(map(str, stored['kpts']))}",
                f"{np.sqrt(np.mean(off**2)):.4f}",
                f"{np.abs(off).max():.4f}",
                f"{units.pressure_from_stress(stress):.2f}",
                f"{units.pressure_from_stress(other):.2f}",
                f"{deviator(stress - other):.3f}",
                f"{1e3 * (energy - stored['E']) / len(atoms):+.2f}"
                if stored["engine"] == _ENGINES[options.code]
                else "",
                f"{provenance.cpu_seconds:.0f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
