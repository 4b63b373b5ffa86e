"""The suites of a validation: amount of measurements, and the protocol in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mgflows.validation.shear import Direction

__all__ = [
    "FEWEST_ATOMS",
    "GLASS_TEMPERATURE",
    "MELT_TEMPERATURE",
    "SUITES",
    "SuiteSettings",
    "describe_protocol",
]

MELT_TEMPERATURE = 2000.0
GLASS_TEMPERATURE = 300.0
"""K (paper, section III)."""
FEWEST_ATOMS = 15
"""In a glass that is validated: an atom and its 14 neighbours. In a smaller cell its first shell
contains images, and the results would be blamed on the potential."""


@dataclass(frozen=True)
class SuiteSettings:
    """How much of each quantity a suite measures.

    Parameters
    ----------
    n_elastic, n_shear
        Largest numbers of glasses strained for elastic constants and for quasi-static shear; the
        first of those given are taken.
    shear_directions
        Directions in which every chosen glass is sheared.
    hold_time, n_frames
        ps at 300 K, and frames averaged for g(r).
    cooling_rate
        K/ps from 2000 K, to quench the glass again before g(r) is measured and to measure the
        heat capacity; None takes the glass as given.
    viscosity_temperature, viscosity_time
        Temperature in K and length in ps of the Green-Kubo run; None for no viscosity.
    melt_time
        ps to equilibrate a melt before it is cooled or sampled.
    melt_hold_time
        ps at 2000 K and 0 GPa in which the melt must stay condensed; 0 for no such test.
    """

    n_elastic: int
    n_shear: int
    shear_directions: tuple[Direction, ...]
    hold_time: float
    n_frames: int
    cooling_rate: float | None
    viscosity_temperature: float | None
    viscosity_time: float
    melt_time: float = 2.0
    melt_hold_time: float = 0.0


SUITES: dict[str, SuiteSettings] = {
    "tiny": SuiteSettings(
        n_elastic=1,
        n_shear=1,
        shear_directions=("xy",),
        hold_time=0.2,
        n_frames=5,
        cooling_rate=None,
        viscosity_temperature=None,
        viscosity_time=0.0,
    ),
    "quick": SuiteSettings(
        n_elastic=1,
        n_shear=2,
        shear_directions=("xy",),
        hold_time=2.0,
        n_frames=40,
        cooling_rate=None,
        viscosity_temperature=None,
        viscosity_time=0.0,
        melt_time=1.0,
        melt_hold_time=3.0,
    ),
    "standard": SuiteSettings(
        n_elastic=8,
        n_shear=8,
        shear_directions=("xy", "xz", "yz"),
        hold_time=5.0,
        n_frames=100,
        cooling_rate=100.0,
        viscosity_temperature=1600.0,
        viscosity_time=50.0,
        melt_hold_time=4.0,
    ),
}
"""``tiny`` is for tests of workflows; ``quick`` takes half a minute and runs after every
training; ``standard`` takes minutes on one core."""


def describe_protocol(suite: str, settings: SuiteSettings, glasses: Sequence[Atoms]) -> str:
    """State what a suite measures, and how it is smaller than the paper's protocol."""
    n_atoms = len(glasses[0])
    origin = (
        "relaxed"
        if settings.cooling_rate is None
        else f"quenched from {MELT_TEMPERATURE:g} K at {settings.cooling_rate * 1e3:g} K/ns"
    )
    elastic, shear, all_glasses = (
        _glasses(min(n, len(glasses))) for n in (settings.n_elastic, settings.n_shear, len(glasses))
    )
    structure = (
        f"g(r) and density: one glass of {n_atoms} atoms, {origin}, over {settings.hold_time:g} ps "
        f"at {GLASS_TEMPERATURE:g} K and 0 GPa; distances beyond half the box over periodic "
        "images (paper: 80 samples of 1500 atoms cooled at 100 K/ns)."
    )
    strains = (
        f"Elastic constants: {elastic} at 0 K and zero stress, ions relaxed, strains of +-0.2 % or "
        "less, Voigt-Reuss-Hill (paper: 85). "
        f"Athermal quasi-static shear: {shear} along {', '.join(settings.shear_directions)}, steps "
        "of 5e-4, slope from 0.004 to 0.006 without plastic events."
    )
    sentences = [
        f"Suite '{suite}', smaller than the paper's protocol.",
        structure,
        strains,
        f"Energies: {all_glasses} as given.",
    ]
    if settings.melt_hold_time > 0.0:
        duration = settings.melt_hold_time
        sentences.append(f"Melt: {duration:g} ps at {MELT_TEMPERATURE:g} K and 0 GPa.")
    if settings.cooling_rate is not None:
        sentences.append("Heat capacity: slope of the enthalpy of that one cooling.")
    if settings.viscosity_temperature is not None:
        sentences.append(
            f"Viscosity: Green-Kubo over one run of {settings.viscosity_time:g} ps of {n_atoms} "
            f"atoms at {settings.viscosity_temperature:g} K (paper: 20 runs of 4500 atoms)."
        )
    else:
        sentences.append("No viscosity and no heat capacity.")
    return " ".join(sentences)


def _glasses(n: int) -> str:
    return "one glass" if n == 1 else f"{n} glasses"
