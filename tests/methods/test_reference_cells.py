"""Recorded labels of AlCu3Zr4 against labels that were made without mgflows.

B2 lattice, 8 atoms rattled by 0.08 A, mesh 2x2x4.
``python -m tests.methods.test_reference_cells`` prints the table of docs/how_to/dft_codes.md.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read

from mgflows import units
from mgflows.methods.cp2k import read_output
from mgflows.methods.espresso import read_report

DATA = Path(__file__).parents[1] / "data"
REFERENCES = DATA / "dft_reference"
CODES = {
    "CP2K": ("cp2k/cell_a.out", "cp2k_A_224"),
    "Quantum ESPRESSO": ("espresso/cell_a.pwo", "qe_A_224_90"),
}


def recorded_label(code: str) -> tuple[dict[str, Any], Any]:
    """Results and report of a recorded output, atoms grouped by species."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "output"
        path.write_bytes(gzip.decompress((DATA / f"{CODES[code][0]}.gz").read_bytes()))
        if code == "CP2K":
            return read_output(path, 8)
        return read(path, format="espresso-out").calc.results, read_report(path)


def stored(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Forces (grouped by species), stress and energy of a stored label."""
    numbers = read(REFERENCES / "A_b2.extxyz").numbers
    label = json.loads((REFERENCES / f"{name}.json").read_text())
    return (
        np.array(label["F"])[np.argsort(numbers, kind="stable")],
        np.array(label["S"]),
        label["E"],
    )


def compare(code: str, name: str) -> dict[str, float]:
    results, report = recorded_label(code)
    forces, stress, energy = stored(name)
    off = results["forces"] - forces
    return {
        "force_rmse": float(np.sqrt(np.mean(off**2))),
        "force_max": float(np.abs(off).max()),
        "pressure": units.pressure_from_stress(results["stress"]),
        "pressure_stored": units.pressure_from_stress(stress),
        "energy_per_atom": 1e3 * (results["free_energy"] - energy) / len(forces),
        "mesh": report.k_mesh,
    }


@pytest.mark.physics
@pytest.mark.parametrize(("code", "bound"), [("CP2K", 0.015), ("Quantum ESPRESSO", 5e-4)])
def test_the_label_is_the_stored_one_of_the_same_code(code, bound):
    """The relative cutoff and precision of CP2K's stored label are not recorded.

    They may explain the difference of its forces, which was not investigated.
    """
    found = compare(code, CODES[code][1])
    assert found["mesh"] == (2, 2, 4)
    assert found["force_rmse"] < bound
    assert found["pressure"] == pytest.approx(found["pressure_stored"], abs=0.1)
    assert abs(found["energy_per_atom"]) < 1.0


@pytest.mark.physics
@pytest.mark.parametrize(("code", "bound"), [("CP2K", 0.0163), ("Quantum ESPRESSO", 0.0045)])
def test_the_codes_agree(code, bound):
    """With GPAW at 800 eV, within what was found without mgflows."""
    found = compare(code, "gpaw_A_224_800")
    assert found["force_rmse"] <= bound
    assert found["pressure"] == pytest.approx(found["pressure_stored"], abs=0.5)


if __name__ == "__main__":
    lines = [
        (
            "| label | against | F RMSE (eV/Å) | F max (eV/Å) | P (GPa) | P stored (GPa) "
            "| free energy difference (meV/atom) |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for each, (_, same) in CODES.items():
        for other in (same, "gpaw_A_224_800"):
            row = compare(each, other)
            energy = f"{row['energy_per_atom']:+.3f}" if other == same else "another zero"
            numbers = (
                f"{row[name]:.{digits}f}"
                for name, digits in (
                    ("force_rmse", 4),
                    ("force_max", 4),
                    ("pressure", 2),
                    ("pressure_stored", 2),
                )
            )
            lines.append(f"| {each} | {other} | {' | '.join(numbers)} | {energy} |")
    sys.stdout.write("\n".join(lines) + "\n")
