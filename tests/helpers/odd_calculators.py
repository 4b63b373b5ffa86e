"""Calculators with results that are no labels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class OddCalculator(Calculator):
    """Zero energy, forces and stress, except for one result."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        results: dict[str, Any] = {
            "energy": 0.0,
            "forces": np.zeros((len(self.atoms), 3)),
            "stress": np.zeros((3, 3)),
        }
        if self.kind == "nan":
            results["forces"][0, 1] = np.nan
        elif self.kind == "short":
            results["forces"] = results["forces"][:-1]
        elif self.kind == "asymmetric":
            results["stress"][0, 1] = 0.1
        elif self.kind == "no stress":
            del results["stress"]
        elif self.kind == "fails":
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.results = results
