"""Athermal quasi-static shear: strain in small steps, minimise after each.

Paper, section III, "Shear and energetics"; Maloney and Lemaitre, Phys. Rev. E 74, 016118 (2006),
doi:10.1103/PhysRevE.74.016118.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.structures.relaxation import minimise_positions
from mgflows.structures.strain import apply_deformation
from mgflows.validation.elasticity import FORCE_TOLERANCE, zero_stress_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ShearCurve",
    "ShearResult",
    "ShearSettings",
    "athermal_quasistatic_shear",
    "elastic_slope",
    "plastic_events",
]

Direction = Literal["xy", "xz", "yz", "yx", "zx", "zy"]
_AXES = {"x": 0, "y": 1, "z": 2}
_SMALLEST_EVENT = 0.2
"""Fraction of the elastic energy ``V G (strain step)^2 / 2`` of one step. A step that dissipates
more is a plastic event."""


@dataclass(frozen=True, eq=False)
class ShearCurve:
    """Stress against strain along one direction.

    Parameters
    ----------
    direction
        ``"xy"``: displacements along x that grow with y.
    strain
        (n,) engineering shear strain, from 0.
    stress
        (n,) shear stress in GPa, ASE sign: positive against a positive strain.
    energy
        (n,) eV per atom.
    shear_modulus
        Slope in GPa of the event-free pieces of the curve within the fit window; nan if there are
        none, or if the stress falls along them.
    events
        (n,) whether a plastic event happened in the step that leads to a strain.
    failure
        Why the curve ends early; empty if it is complete.
    """

    direction: str
    strain: NDArray[np.float64]
    stress: NDArray[np.float64]
    energy: NDArray[np.float64]
    shear_modulus: float
    events: NDArray[np.bool_] | None = None
    failure: str = ""

    @property
    def yield_point(self) -> tuple[float, float]:
        """Strain and stress in GPa at which the stress is largest; nan while it still rises.

        A maximum counts only if the stress falls by a tenth afterwards, because a single plastic
        event of a small glass is not yield.
        """
        last = int(np.argmax(self.stress))
        peak = float(self.stress[last])
        if peak <= 0.0 or self.stress[last:].min() > 0.9 * peak:
            return float("nan"), float("nan")
        return float(self.strain[last]), peak

    @property
    def n_events(self) -> int:
        """Number of steps with a plastic event."""
        return 0 if self.events is None else int(self.events.sum())


@dataclass(frozen=True, eq=False)
class ShearResult:
    """Shear modulus of one structure.

    Parameters
    ----------
    curves
        One per direction.
    shear_modulus
        Mean over the directions with a modulus in GPa; nan if there are none.
    shear_modulus_error
        Standard error of that mean; nan for one direction.
    fit_window
        Strains between which the slope was taken.
    """

    curves: tuple[ShearCurve, ...]
    shear_modulus: float
    shear_modulus_error: float
    fit_window: tuple[float, float]

    @property
    def problems(self) -> list[str]:
        """Directions without a modulus, or whose curve ends early, with the reason."""
        found = []
        for curve in self.curves:
            if curve.failure:
                found.append(f"{curve.direction}: {curve.failure}")
            elif not np.isfinite(curve.shear_modulus):
                low, high = self.fit_window
                inside = (curve.strain > low) & (curve.strain <= high)
                reason = (
                    "a plastic event in every step"
                    if curve.events is None or curve.events[inside].all()
                    else "a stress that falls with the strain"
                )
                found.append(
                    f"{curve.direction}: {reason} of the fit window {low:g} to {high:g} leaves no "
                    "elastic slope"
                )
        return found


@dataclass(frozen=True)
class ShearSettings:
    """Steps of a quasi-static shear and the fit of its modulus.

    Parameters
    ----------
    strain_step, strain_max
        Engineering strains; the paper's fit needs 0.006.
    fit_window
        Strains of the linear fit, both included (paper: 0.004 to 0.006). Plastic events inside it
        are left out of the fit, see :func:`elastic_slope`.
    force_tolerance
        eV/A, of all minimisations.

    Raises
    ------
    InputError
        For a step that is not positive, or a window with fewer than two strains in it.
    """

    strain_step: float = 5e-4
    strain_max: float = 6e-3
    fit_window: tuple[float, float] = (0.004, 0.006)
    force_tolerance: float = FORCE_TOLERANCE

    def __post_init__(self) -> None:
        if not 0.0 < self.strain_step <= self.strain_max:
            raise InputError(
                f"the strain step is {self.strain_step:g} but must be positive and at most "
                f"strain_max, {self.strain_max:g}",
                hint="the usual step is 5e-4",
            )
        if (n_strains := self.in_window.sum()) < 2:
            low, high = self.fit_window
            raise InputError(
                f"{n_strains} strains lie in the fit window {low:g} to {high:g}",
                hint="raise strain_max or take smaller steps",
            )

    @property
    def strains(self) -> NDArray[np.float64]:
        """(n,) strains, from 0 to the largest."""
        n_steps = round(self.strain_max / self.strain_step)
        return np.arange(n_steps + 1, dtype=np.float64) * self.strain_step

    @property
    def in_window(self) -> NDArray[np.bool_]:
        """(n,) whether a strain is in the fit window."""
        low, high = self.fit_window
        half_step = self.strain_step / 2.0
        return (self.strains > low - half_step) & (self.strains < high + half_step)


def athermal_quasistatic_shear(
    atoms: Atoms,
    calculator: Calculator,
    settings: ShearSettings | None = None,
    *,
    directions: Sequence[Direction] = ("xy",),
    relax_reference: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> ShearResult:
    """Simple shear ``F = 1 + strain a b`` in steps at constant volume.

    Positions are remapped affinely and minimised at every step. A minimisation that does not
    converge ends the curve of its direction, which is kept up to there.

    Parameters
    ----------
    atoms
        Any periodic structure; not changed. Constraints are not obeyed.
    calculator
        Any ASE calculator with forces and stress.
    settings
        Strains and tolerances; the defaults of :class:`ShearSettings` if None.
    directions
        Shear directions; all start from the same reference. A small glass is anisotropic: average
        over several directions.
    relax_reference
        First relax cell and ions to zero stress.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        For an unknown direction, or a structure that is not finite.
    PotentialFailureError
        If the relaxation of the reference does not converge.
    """
    settings = settings or ShearSettings()
    if not directions:
        raise InputError(
            "there is no shear direction", hint="give directions, such as ('xy', 'xz', 'yz')"
        )
    for direction in directions:
        if len(direction) != 2 or not set(direction) <= set(_AXES) or direction[0] == direction[1]:
            raise InputError(
                f"the shear direction {direction!r} is unknown",
                hint="give two different axes such as 'xy'",
            )

    reference = zero_stress_reference(
        atoms, calculator, settings.force_tolerance, relax=relax_reference
    )
    n_strains = len(settings.strains)
    curves = []
    for number, direction in enumerate(directions):

        def count(done: int, before: int = number * n_strains) -> None:
            if progress:
                progress(before + done, len(directions) * n_strains)

        curves.append(
            _shear(reference, calculator, settings, direction, relaxed=relax_reference, count=count)
        )
    moduli = np.array([curve.shear_modulus for curve in curves])
    moduli = moduli[np.isfinite(moduli)]
    spread = moduli.std(ddof=1) / np.sqrt(len(moduli)) if len(moduli) > 1 else np.nan
    mean = float(moduli.mean()) if len(moduli) else float("nan")
    return ShearResult(tuple(curves), mean, float(spread), settings.fit_window)


def _shear(
    reference: Atoms,
    calculator: Calculator,
    settings: ShearSettings,
    direction: Direction,
    *,
    relaxed: bool,
    count: Callable[[int], None],
) -> ShearCurve:
    """Shear along one direction, up to the first minimisation that does not converge."""
    along, gradient = _AXES[direction[0]], _AXES[direction[1]]
    increment = np.eye(3)
    increment[along, gradient] = settings.strain_step
    strain = settings.strains
    sheared, failure = reference.copy(), ""
    points: list[tuple[float, float]] = []
    for step in range(len(strain)):
        if step:
            sheared = apply_deformation(sheared, increment)
        sheared.calc = calculator
        try:
            if step or not relaxed:
                minimise_positions(sheared, settings.force_tolerance)
        except PotentialFailureError as error:
            failure = f"the curve ends at a strain of {strain[max(step - 1, 0)]:g}: {error}"
            break
        stress = units.ev_per_a3_to_gpa(sheared.get_stress(voigt=False)[along, gradient])
        points.append((float(stress), float(sheared.get_potential_energy())))
        count(step + 1)
    n = len(points)
    stresses, energies = np.array(points).reshape(n, 2).T
    events = plastic_events(strain[:n], stresses, energies, reference.get_volume())
    in_window = settings.in_window
    inside = in_window[:n]
    slope = np.nan
    if inside.sum() == in_window.sum():
        slope = elastic_slope(strain[:n][inside], stresses[inside], events[inside])
        if not slope > 0.0:
            slope = np.nan
    return ShearCurve(
        direction, strain[:n], stresses, energies / len(reference), slope, events, failure
    )


def plastic_events(
    strain: ArrayLike, stress: ArrayLike, energy: ArrayLike, volume: float
) -> NDArray[np.bool_]:
    """Steps in which a quasi-static shear dissipates energy.

    Along an elastic branch ``dE = V stress dstrain``. A rearrangement dissipates energy, so that
    the energy rises by less than the work of the stress.

    Parameters
    ----------
    strain
        (n,) at equal intervals.
    stress
        (n,) GPa.
    energy
        (n,) eV per cell.
    volume
        A^3.

    Returns
    -------
    (n,) boolean; element ``i`` concerns the step from ``i - 1`` to ``i``.
    """
    gamma, sigma, e = (np.asarray(values, dtype=float) for values in (strain, stress, energy))
    events = np.zeros(len(gamma), dtype=bool)
    if len(gamma) < 2:
        return events
    sigma = units.gpa_to_ev_per_a3(sigma)
    steps = np.diff(gamma)
    work = volume * (sigma[1:] + sigma[:-1]) / 2.0 * steps
    modulus = abs(float(np.median(np.diff(sigma)[:12] / steps[:12])))
    events[1:] = work - np.diff(e) > _SMALLEST_EVENT * volume * modulus * steps**2 / 2.0
    return events


def elastic_slope(strain: ArrayLike, stress: ArrayLike, events: ArrayLike) -> float:
    """Common least-squares slope of the pieces of a curve between plastic events.

    Without events it is the slope of the straight line through all points. An event shifts the
    stress, so that every piece has its own intercept.

    Parameters
    ----------
    strain, stress
        (n,) within the fit window; the slope has the unit of the stress.
    events
        (n,) whether an event happened in the step that leads to a strain; the first is ignored.

    Returns
    -------
    float
        nan if no two neighbouring points are free of an event.
    """
    gamma, sigma = np.asarray(strain, dtype=float), np.asarray(stress, dtype=float)
    begins = np.asarray(events, dtype=bool).copy()
    begins[:1] = False
    numerator = denominator = 0.0
    for piece in np.split(np.arange(len(gamma)), np.flatnonzero(begins)):
        x = gamma[piece] - gamma[piece].mean()
        numerator += float(x @ sigma[piece])
        denominator += float(x @ x)
    return numerator / denominator if denominator > 0.0 else float("nan")
