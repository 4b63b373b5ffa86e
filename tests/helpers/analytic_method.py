"""A method with known errors.

Those of the cutoff decrease exponentially, those of the k-mesh with the square of its divisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mgflows import units
from mgflows.methods.base import k_mesh
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.quality import CalculationReport


@dataclass(frozen=True)
class AnalyticMethod:
    cutoff: float = 600.0
    k_spacing: float = 0.162
    n_ranks: int = 1
    description: str = "analytic"
    n_cores: int = 1

    def build(self, atoms):
        return AnalyticCalculator(self, np.prod(k_mesh(atoms.cell.array, self.k_spacing)))

    def fingerprint(self, species=()):
        return MethodFingerprint(code="analytic", version="1", settings={"cutoff": self.cutoff})

    def report(self, calculator):
        return CalculationReport()


class AnalyticCalculator(Calculator):
    """Pressure 5 GPa + 36 GPa exp(-(E - 300 eV) / 50 eV), with the cutoff energy E.

    Forces are off by 1/n, with n points in the k-mesh; the energy by 100 eV exp(...) per atom.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, method, n_points):
        super().__init__()
        self.small = np.exp(-(method.cutoff - 300.0) / 50.0)
        self.n_points = n_points

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = len(atoms) * 100.0 * self.small + 0.1 * atoms.get_volume()
        pressure = units.gpa_to_ev_per_a3(5.0 + 36.0 * self.small)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.full((len(atoms), 3), 1.0 + 1.0 / self.n_points),
            "stress": np.array([-pressure] * 3 + [0.0] * 3),
        }
