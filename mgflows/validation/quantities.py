"""Titles and units of the quantities that samples, averages and measured values share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CURVES", "QUANTITIES", "Quantity", "title_of"]


@dataclass(frozen=True)
class Quantity:
    """Title and unit of a quantity."""

    title: str
    unit: str


QUANTITIES: dict[str, Quantity] = {
    "density": Quantity("density, 300 K", "g/cm3"),
    "density_0K": Quantity("density, 0 K", "g/cm3"),
    "melt_density": Quantity("density of the melt", "g/cm3"),
    "thermal_expansion_glass": Quantity("linear thermal expansion, glass", "1e-6/K"),
    "thermal_expansion_liquid": Quantity("linear thermal expansion, liquid", "1e-6/K"),
    "glass_transition": Quantity("glass transition", "K"),
    "glass_transition_volume": Quantity("glass transition, volume", "K"),
    "glass_transition_enthalpy": Quantity("glass transition, enthalpy", "K"),
    "heat_capacity_fluctuations": Quantity("heat capacity of the melt, fluctuations", "J/mol/K"),
    "heat_capacity_slope": Quantity("heat capacity of the melt, slope", "J/mol/K"),
    "bulk_modulus": Quantity("bulk modulus B", "GPa"),
    "shear_modulus": Quantity("shear modulus G", "GPa"),
    "young_modulus": Quantity("Young's modulus E", "GPa"),
    "poisson_ratio": Quantity("Poisson's ratio", ""),
    "shear_modulus_aqs": Quantity("G from quasi-static shear", "GPa"),
    "yield_stress": Quantity("largest shear stress", "GPa"),
    "yield_strain": Quantity("shear strain at the largest stress", ""),
    "delta_cb": Quantity("neighbours kept on relaxation, Delta_CB", ""),
    "displacement": Quantity("mean displacement on relaxation", "A"),
    "viscosity": Quantity("viscosity", "mPa s"),
    "viscosity_helfand": Quantity("viscosity, Helfand moment", "mPa s"),
    "activation_energy": Quantity("activation energy of the viscosity", "eV"),
    "vogel_temperature": Quantity("Vogel temperature", "K"),
    "diffusion": Quantity("self-diffusion", "1e-9 m2/s"),
    "diffusion_corrected": Quantity("size-corrected self-diffusion", "1e-9 m2/s"),
    "relaxation_time": Quantity("alpha relaxation time", "ps"),
    "coordination": Quantity("neighbours within 4 A", ""),
    "warren_cowley": Quantity("Warren-Cowley parameter", ""),
    "largest_void": Quantity("radius of the largest void", "A"),
    "icosahedra": Quantity("fraction of Voronoi index <0 0 12 0>", ""),
    "voronoi": Quantity("fraction of Voronoi index", ""),
    "energy_slope": Quantity("slope of energies against the labels", ""),
    "energy_offset": Quantity("mean energy less that of the labels", "eV/atom"),
    "rdf_distance": Quantity("X-ray g(r): mean distance to the first potential", ""),
    "rdf_distance_measured": Quantity("X-ray g(r): mean distance to experiment", ""),
    "energy_drift": Quantity("energy drift at constant energy", "meV/atom/ps"),
}
"""Quantities of samples and experiments. The name of a pair or an element follows after a space, as
in ``diffusion Cu``."""

CURVES: dict[str, Quantity] = {
    "radial_distribution": Quantity("X-ray g(r)", "A"),
    "structure_factor": Quantity("X-ray S(q)", "1/A"),
}
"""Quantities measured as curves, with the unit of the abscissa."""


def title_of(key: str) -> str:
    """Title of a quantity or curve with its details, as tables and messages print it.

    Examples
    --------
    >>> title_of("viscosity_helfand 1400 K")
    'viscosity, Helfand moment, at 1400 K'
    >>> title_of("diffusion Cu 1400 K")
    'self-diffusion Cu at 1400 K'
    >>> title_of("warren_cowley Cu-Zr")
    'Warren-Cowley parameter Cu-Zr'
    """
    name, *details = key.split(" ")
    title = (QUANTITIES | CURVES)[name].title
    if details[-1:] != ["K"]:
        return " ".join([title, *details])
    *others, kelvin, _ = details
    comma = "," if "," in title else ""
    return f"{' '.join([title, *others])}{comma} at {kelvin} K"
