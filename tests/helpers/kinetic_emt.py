"""A calculator with the error that the check of trajectories detects."""

from __future__ import annotations

from ase.calculators.emt import EMT
from ase.stress import full_3x3_to_voigt_6_stress


class KineticEMT(EMT):
    """EMT whose stress includes the kinetic part."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, list(properties), list(system_changes))
        if atoms is not None and atoms.has("momenta"):
            momenta = atoms.get_momenta()
            kinetic = (momenta / atoms.get_masses()[:, None]).T @ momenta / atoms.get_volume()
            self.results["stress"] = self.results["stress"] - full_3x3_to_voigt_6_stress(kinetic)
