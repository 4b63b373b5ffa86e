"""Glasses and reference calculators of the commands that test a NEP without a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mgflows.nep.calculator import Device

_GLASSES = 3
_SWEEPS = 10_000


def common_species(species: tuple[str, ...], reference: str | None) -> tuple[str, ...]:
    """Species of the potential that the reference also has, in the potential's order."""
    from mgflows.nep.calculator import potential_text, read_potential

    if reference is None:
        return species
    if reference == "stand-in":
        from mgflows.eam.stand_in import SPECIES

        others: tuple[str, ...] = SPECIES
    else:
        others = read_potential(potential_text(Path(reference))).species
    known = tuple(symbol for symbol in species if symbol in others)
    if not known:
        raise InputError(
            f"the potential ({', '.join(species)}) and the reference ({', '.join(others)}) have no "
            "species in common",
            hint="give another reference",
        )
    return known


def reference_calculator(
    reference: str | None, structures: list[Atoms], device: Device
) -> Calculator | None:
    """Calculator of the reference, checked for the species of the structures."""
    if reference is None:
        return None
    species = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    if reference == "stand-in":
        from mgflows.eam import stand_in_calculator

        return stand_in_calculator(species)
    from mgflows.nep.calculator import nep_calculator, potential_text, read_potential

    read_potential(potential_text(Path(reference)), species)
    return nep_calculator(Path(reference), device)


def check_species(structures: Sequence[Atoms], species: tuple[str, ...], path: Path | None) -> None:
    """Raise InputError if structures of a file have elements that a potential lacks."""
    unknown = sorted(
        {symbol for atoms in structures for symbol in atoms.get_chemical_symbols()} - set(species)
    )
    if unknown:
        raise InputError(
            f"{path} contains {', '.join(unknown)}, but the potential is for {', '.join(species)}",
            hint="give other structures or another potential",
        )


def sample_glasses(
    species: tuple[str, ...] | None,
    formula: str | None,
    seed: int,
    check: Callable[[Atoms], None] | None = None,
) -> list[Atoms]:
    """Three glasses of a formula, or of Cu46Zr46Al8 or equal parts of the species.

    Before that, ``check`` is called with a quickly sampled structure. Without ``species``, the
    formula decides.
    """
    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.glasses import GlassProtocol, sample_glass

    if formula is None:
        formula = (
            "Cu46Zr46Al8"
            if {"Cu", "Zr", "Al"} <= set(species or ())
            else "".join(f"{symbol}1" for symbol in species or ())
        )
    names = Alloy.from_formula(formula, number_density=1.0).species
    if species is not None and not set(names) <= set(species):
        missing = ", ".join(sorted(set(names) - set(species)))
        raise InputError(
            f"{formula} contains {missing}, but the potentials are for {', '.join(species)}",
            hint="give another --formula",
        )
    lj = LennardJones.for_species(names)
    composition = Alloy.from_formula(formula, number_density=1.0).composition
    alloy = Alloy.from_formula(formula, number_density=lj.number_density(composition))
    if check is not None:
        probe = sample_glass(lj, alloy, GlassProtocol(10, equilibration_sweeps=10), seed)
        assert probe is not None
        check(probe.atoms)
    protocol = GlassProtocol(_SWEEPS)
    glasses = (sample_glass(lj, alloy, protocol, seed, stream=stream) for stream in range(_GLASSES))
    return [glass.atoms for glass in glasses if glass is not None]
