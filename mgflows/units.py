"""Every unit conversion of mgflows, in one place.

Outside the surrogate everything is in angstrom, eV, kelvin, femtoseconds, atomic mass units and,
for pressures and elastic constants, gigapascal. Inside :mod:`mgflows.surrogate` quantities are in
Lennard-Jones units and their names say ``reduced``.

Sign conventions differ between codes:

========================  ===================  ====================================================
quantity                  positive means       convention of
========================  ===================  ====================================================
``stress`` (eV/A^3)       stretched (tension)  ASE, and mgflows throughout
``virial`` (eV per cell)  compressed           GPUMD/NEP ``virial=``; equals ``-volume * stress``
``pressure`` (GPa)        compressed           common; minus a third of the trace of the stress
VASP stress (kbar)        compressed           ``vasprun.xml``, atomate2 task documents
========================  ===================  ====================================================

Constants are CODATA 2018 (exact where the SI defines them).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ELEMENTARY_CHARGE = 1.602176634e-19
"""Coulomb; also one eV in joule (exact)."""
BOLTZMANN = 8.617333262145179e-5
"""eV/K: 1.380649e-23 J/K over the elementary charge (exact)."""
AVOGADRO = 6.02214076e23
"""1/mol (exact)."""
ATOMIC_MASS = 1.66053906660e-27
"""Kilogram per atomic mass unit."""

EV_PER_A3_IN_GPA = ELEMENTARY_CHARGE * 1e30 / 1e9
"""One eV/A^3 in GPa: 160.2176634."""
KBAR_IN_GPA = 0.1
"""One kbar in GPa."""
BAR_IN_GPA = 1e-4
"""One bar in GPa."""
EV_FS_PER_A3_IN_MPA_S = EV_PER_A3_IN_GPA * 1e-3
"""One eV fs/A^3 in mPa s, the unit of viscosities: 0.1602176634."""
A2_PER_FS_IN_1E9_M2_PER_S = 1e4
"""One A^2/fs in 1e-9 m^2/s, the unit of diffusion coefficients."""
GAS_CONSTANT = BOLTZMANN * ELEMENTARY_CHARGE * AVOGADRO
"""J/(mol K)."""
KJ_PER_MOL = 1e3 / (ELEMENTARY_CHARGE * AVOGADRO)
"""eV."""
HARTREE = 27.211386245988
"""eV."""
RYDBERG = HARTREE / 2.0
"""eV; cutoffs of Quantum ESPRESSO and CP2K are in Ry."""
BOHR = 0.529177210903
"""A."""
FS_PER_LJ_TIME = 1e15 * math.sqrt(ATOMIC_MASS * 1e-20 / ELEMENTARY_CHARGE)
"""The time A sqrt(u/eV) in fs: 10.1805 fs."""


def ev_per_a3_to_gpa(value: ArrayLike) -> Any:
    """Stress or modulus in eV/A^3 to GPa; the sign stays."""
    return np.asarray(value, dtype=float)[()] * EV_PER_A3_IN_GPA


def gpa_to_ev_per_a3(value: ArrayLike) -> Any:
    """Stress or modulus in GPa to eV/A^3; the sign stays."""
    return np.asarray(value, dtype=float)[()] / EV_PER_A3_IN_GPA


def pressure_from_stress(stress: ArrayLike) -> float:
    """Pressure in GPa from a stress tensor in eV/A^3 with the ASE sign.

    Parameters
    ----------
    stress
        (3, 3) tensor or (6,) Voigt vector, positive when stretched.
    """
    stress = np.asarray(stress, dtype=float)
    trace = np.trace(stress) if stress.shape == (3, 3) else stress[:3].sum()
    return float(-trace / 3.0 * EV_PER_A3_IN_GPA)


def virial_from_stress(stress: ArrayLike, volume: float) -> NDArray[np.float64]:
    """Virial in eV per cell (positive when compressed) from the stress in eV/A^3 (ASE sign).

    ``W = -V sigma``, the convention of GPUMD's ``virial=`` key.
    """
    return -float(volume) * np.asarray(stress, dtype=float)


def stress_from_virial(virial: ArrayLike, volume: float) -> NDArray[np.float64]:
    """Stress in eV/A^3 (ASE sign) from the virial in eV per cell (positive when compressed)."""
    return -np.asarray(virial, dtype=float) / float(volume)


def stress_from_vasp(stress_kbar: ArrayLike) -> NDArray[np.float64]:
    """Stress in eV/A^3 (ASE sign) from VASP's stress in kbar (positive when compressed).

    atomate2 stores the stresses of *all* its codes, ASE calculators included, in this VASP
    convention.
    """
    return -np.asarray(stress_kbar, dtype=float) * KBAR_IN_GPA / EV_PER_A3_IN_GPA


def stress_to_vasp(stress: ArrayLike) -> NDArray[np.float64]:
    """Stress in kbar (VASP sign) from the stress in eV/A^3 (ASE sign)."""
    return -np.asarray(stress, dtype=float) * EV_PER_A3_IN_GPA / KBAR_IN_GPA


def forces_from_atomic_units(forces: ArrayLike) -> NDArray[np.float64]:
    """Forces in eV/A from forces in Hartree/bohr, the unit in which CP2K prints them."""
    return np.asarray(forces, dtype=float) * HARTREE / BOHR


def voigt_to_tensor(voigt: ArrayLike) -> NDArray[np.float64]:
    """(3, 3) symmetric tensor from the Voigt vector xx, yy, zz, yz, xz, xy (ASE's order)."""
    xx, yy, zz, yz, xz, xy = np.asarray(voigt, dtype=float)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def tensor_to_voigt(tensor: ArrayLike) -> NDArray[np.float64]:
    """Voigt vector xx, yy, zz, yz, xz, xy (ASE's order) of a symmetric (3, 3) tensor."""
    t = np.asarray(tensor, dtype=float)
    return np.array(
        [
            t[0, 0],
            t[1, 1],
            t[2, 2],
            (t[1, 2] + t[2, 1]) / 2,
            (t[0, 2] + t[2, 0]) / 2,
            (t[0, 1] + t[1, 0]) / 2,
        ]
    )


def lj_temperature_unit(epsilon: float) -> float:
    """The temperature ``epsilon / k_B`` in K for an energy unit in eV: T in K is T* times this."""
    return epsilon / BOLTZMANN


def lj_time_unit(sigma: float, epsilon: float, mass: float) -> float:
    """The time ``sigma sqrt(mass / epsilon)`` in fs.

    Paper, Methods, "Estimating the supercooling".

    Parameters
    ----------
    sigma, epsilon, mass
        Length unit in A, energy unit in eV, mass unit in u. 445.8 fs for Zr in the
        table as printed.
    """
    return sigma * math.sqrt(mass / epsilon) * FS_PER_LJ_TIME


def lj_pressure_unit(sigma: float, epsilon: float) -> float:
    """The pressure ``epsilon / sigma^3`` in GPa for sigma in A and epsilon in eV."""
    return epsilon / sigma**3 * EV_PER_A3_IN_GPA


def mass_density(number_density: float, mean_mass: float) -> float:
    """Mass density in g/cm^3 from atoms per A^3 and the mean atomic mass in u."""
    return number_density * mean_mass * ATOMIC_MASS * 1e3 / 1e-24


def number_density(mass_density: float, mean_mass: float) -> float:
    """Atoms per A^3 from the mass density in g/cm^3 and the mean atomic mass in u."""
    return mass_density * 1e-24 / (mean_mass * ATOMIC_MASS * 1e3)


def duration(seconds: float) -> str:
    """Format a time: ``4.2 s``, ``34 s``, ``6 min 12 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
