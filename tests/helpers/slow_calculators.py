"""Calculators whose time passes outside this process, and that write files where they run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator

SIZES: list[int] = []
"""Numbers of atoms of all evaluations."""


class Waiting(Calculator):
    """Waits as for the answer of a server; refuses boxes shorter than `smallest` in A."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, seconds: float, smallest: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.smallest = smallest

    def calculate(self, atoms=None, properties=None, system_changes=()) -> None:
        super().calculate(atoms, properties, system_changes)
        if min(self.atoms.cell.lengths()) < self.smallest:
            raise ValueError("the cell is too small for the cutoff")
        SIZES.append(len(self.atoms))
        self.work()
        self.results = {
            "energy": 0.0,
            "forces": np.zeros((len(self.atoms), 3)),
            "stress": np.zeros(6),
        }

    def work(self) -> None:
        time.sleep(self.seconds)


class ChildProcess(Waiting):
    """Runs a program that needs CPU time, as ASE's calculators of DFT codes do."""

    def work(self) -> None:
        Path("INPUT").write_text("of the program")
        program = f"import time\nwhile time.process_time() < {self.seconds}: pass"
        subprocess.run([sys.executable, "-S", "-c", program], check=True)
