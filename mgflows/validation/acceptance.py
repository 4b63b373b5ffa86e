"""Acceptance tests of a trained potential; a good one passes them in 20 CPU seconds.

Small errors on test frames do not guarantee that a melt stays condensed: the melt of a potential
with test errors of 5 meV/atom and 106 meV/A doubled its volume within 2 ps at 2000 K. Such
potentials fail the tests here: a melt at zero pressure, the errors along it, dimers at short range,
elastic stability, and the evaluation of the same file by a second program.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError

from mgflows.errors import InputError, PotentialFailureError
from mgflows.geometry import check_bulk
from mgflows.md import protocols
from mgflows.md.quench import HoldResult, hold
from mgflows.nep.calculator import nep_calculator, potential_text
from mgflows.nep.checks import (
    Check,
    WorstFrame,
    agreement_checks,
    out_of_range_check,
    worst_frames,
)
from mgflows.nep.results import ParityTable, parity
from mgflows.text import listed
from mgflows.validation.dimers import HARMLESS_BARRIER, DimerCurve, dimer_curves
from mgflows.validation.elasticity import elastic_constants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mgflows.nep.calculator import Device

__all__ = [
    "AcceptanceFrames",
    "AcceptanceResult",
    "AcceptanceSettings",
    "accept_potential",
    "choose_glasses",
]

logger = logging.getLogger(__name__)

_LARGEST_ERROR_RATIO = 5.0
"""Largest ratio of the force error of the worst test frame to that of all test frames."""


@dataclass(frozen=True, kw_only=True)
class AcceptanceSettings:
    """What an acceptance measures, and its limits.

    Parameters
    ----------
    melt_temperature
        K: the highest temperature of later dynamics, such as the start of a quench.
    melt_time
        ps at that temperature and 0 GPa, from a glass.
    n_glasses
        Glasses that are melted.
    n_frames
        Frames along each melt whose errors are measured.
    largest_density_error
        Relative density error of the melt, against the melt of the label method.
    volume_growth
        Allowed range of the volume of the melt over that of the glass, used without a label method.
        The ratio is 1.12 for liquid Cu-Zr-Al at 2000 K.
    largest_energy_error
        meV/atom, along the melt.
    largest_force_error
        Root mean square error of the force components along the melt over the root mean square of
        the components themselves: 1 eV/A in Cu-Zr-Al at 2000 K.
    smallest_barrier
        eV, in front of an attractive hole at short range.
    """

    melt_temperature: float = 2000.0
    melt_time: float = 2.0
    n_glasses: int = 2
    n_frames: int = 20
    largest_density_error: float = 0.05
    volume_growth: tuple[float, float] = (0.9, 1.3)
    largest_energy_error: float = 30.0
    largest_force_error: float = 0.2
    smallest_barrier: float = HARMLESS_BARRIER

    def __post_init__(self) -> None:
        for name in ("melt_temperature", "melt_time", "n_glasses", "n_frames"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name):g} but must be positive")
        object.__setattr__(self, "volume_growth", tuple(self.volume_growth))


@dataclass(frozen=True)
class AcceptanceResult:
    """Result of the tests of one potential.

    Parameters
    ----------
    checks
        The tests, the most important first.
    worst
        Test frames with the largest force errors.
    cpu_seconds
        Processor time.
    """

    checks: tuple[Check, ...]
    worst: tuple[WorstFrame, ...] = field(default=())
    cpu_seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no test failed."""
        return not any(check.outcome == "failed" for check in self.checks)

    @property
    def reason(self) -> str:
        """Why the potential is not accepted; empty if it is."""
        return "; ".join(check.sentence for check in self.checks if check.outcome == "failed")


class AcceptanceFrames(NamedTuple):
    """Labelled frames of an acceptance.

    Attributes
    ----------
    known
        Training frames, for the range of their descriptors.
    test
        Frames that were not trained on.
    test_errors
        Their errors, where they are known; computed otherwise.
    """

    known: Sequence[Atoms] = ()
    test: Sequence[Atoms] = ()
    test_errors: ParityTable | None = None


def accept_potential(
    potential: str | Path,
    glasses: Sequence[Atoms],
    *,
    settings: AcceptanceSettings | None = None,
    reference: Calculator | None = None,
    frames: AcceptanceFrames | None = None,
    device: Device = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> AcceptanceResult:
    """Test a potential.

    A test that cannot be made is ``skipped`` with the reason; one in which the potential fails is
    ``failed``.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    glasses
        Relaxed glasses, the deepest first (:func:`choose_glasses`).
    settings
        What is measured, and the limits.
    reference
        The label method as a calculator, if one evaluation takes milliseconds: the same melt is run
        with it, and it labels the frames of the potential's melt.
    frames
        Labelled frames; without them the tests that need them are skipped.
    device
        Where the potential is evaluated.
    seed
        Seed of velocities and noise.
    progress
        Called with the name of each test.

    Raises
    ------
    InputError
        If the file is not a NEP or lacks a species of the glasses, or there is no glass.
    """
    settings = settings or AcceptanceSettings()
    known, test, test_errors = frames or AcceptanceFrames()
    if not glasses:
        raise InputError(
            "there is no glass to test the potential on", hint="give a relaxed structure"
        )
    for number, glass in enumerate(glasses, start=1):
        check_bulk(glass, f"glass {number} ({glass.get_chemical_formula()})")
    started = time.process_time()
    text = potential_text(potential)
    tell = progress or (lambda _: None)
    calculator = nep_calculator(text, device)
    species = sorted({symbol for glass in glasses for symbol in glass.get_chemical_symbols()})
    if test and test_errors is None:
        test_errors = parity(text, test)

    tell("melt")
    own = _Melt(glasses, calculator, settings, seed)
    checks = [own.density_check(settings, reference and _Melt(glasses, reference, settings, seed))]
    checks += _own_errors(text, own, reference, settings)
    tell("dimers")
    checks += _dimer_checks(dimer_curves(calculator, species), settings)
    tell("elastic constants")
    checks.append(_elastic_check(glasses, calculator))
    tell("second calculator")
    checks += agreement_checks(text, [*glasses[:1], *own.frames[-2:], *test[:2]])
    worst: tuple[WorstFrame, ...] = ()
    if test_errors is not None:
        worst = worst_frames(test_errors, test)
        checks.append(_worst_check(worst, test_errors))
    if known and own.frames:
        tell("range of the training frames")
        checks.append(
            out_of_range_check(
                text, known, own.frames, f"of the melt at {settings.melt_temperature:g} K"
            )
        )
    return AcceptanceResult(tuple(checks), worst, time.process_time() - started)


def choose_glasses(frames: Iterable[Atoms], number: int = 3) -> list[Atoms]:
    """Choose relaxed glasses among labelled frames, the deepest first.

    They are frames of the subset ``dft_minimized`` or, if there are none, the non-crystalline
    frames with the smallest pressures. At most one frame per family is taken.

    Parameters
    ----------
    frames
        Labelled frames, read once and in order.
    number
        Largest number of glasses.
    """
    best: dict[str, tuple[_Preference, Atoms]] = {}
    for index, frame in enumerate(frames):
        preference = _Preference.of(frame, index)
        family = str(frame.info.get("family") or f"frame {index}")
        if family not in best or preference < best[family][0]:
            best[family] = (preference, frame)
    chosen = sorted(best.values(), key=lambda each: each[0])
    return [frame for preference, frame in chosen if preference.kind == chosen[0][0].kind][:number]


class _Preference(NamedTuple):
    """Order in which glasses are chosen, the smallest first."""

    kind: int
    """0 for relaxed glasses, 2 for crystals, 1 for others."""
    depth: tuple[float, float]
    place: int

    @classmethod
    def of(cls, frame: Atoms, index: int) -> _Preference:
        subset = frame.info.get("subset")
        if subset == "dft_minimized":
            time = float(frame.info.get("log10_time", -np.inf))
            return cls(0, (-time, frame.get_potential_energy() / len(frame)), index)
        return cls(2 if subset == "crystal" else 1, (_pressure(frame), 0.0), index)


def _pressure(frame: Atoms) -> float:
    try:
        return float(abs(np.trace(frame.get_stress(voigt=False))))
    except PropertyNotImplementedError:
        return float("inf")


class _Melt:
    """Melts of glasses at zero pressure under one calculator."""

    def __init__(
        self,
        glasses: Sequence[Atoms],
        calculator: Calculator,
        settings: AcceptanceSettings,
        seed: int,
    ) -> None:
        self.growth: list[float] = []
        self.frames: list[Atoms] = []
        self.failure = ""
        for number, glass in enumerate(glasses[: settings.n_glasses]):
            try:
                run = hold(
                    glass,
                    calculator,
                    protocols.hold(
                        settings.melt_temperature,
                        settings.melt_time,
                        equilibration_time=0.0,
                        n_frames=settings.n_frames,
                    ),
                    seed=seed + number,
                )
            except PotentialFailureError as error:
                self.failure = error.message
                return
            self.growth.append(_late_volume(run) * len(glass) / glass.get_volume())
            self.frames += run.frames

    def density_check(self, settings: AcceptanceSettings, reference: _Melt | None) -> Check:
        """Compare the volume of the melts with those of the label method, or of the glasses."""
        name = "melt density"
        where = f"after {settings.melt_time:g} ps at {settings.melt_temperature:g} K and 0 GPa"
        if self.failure:
            return Check(name, "failed", f"the melt fails {where}: {self.failure}")
        growth = float(np.mean(self.growth))
        if reference is None or reference.failure:
            smallest, largest = settings.volume_growth
            return Check.within(
                name,
                growth,
                f"{where} the volume is {growth:.2f} times that of the glass ({smallest:g} to "
                f"{largest:g} is plausible)",
                smallest=smallest,
                largest=largest,
            )
        # The glasses are the same: the ratio of the densities is that of the growths.
        ratio = float(np.mean(reference.growth)) / growth
        limit = settings.largest_density_error
        return Check.within(
            name,
            ratio,
            f"{where} the density differs by {ratio - 1.0:+.1%} from that of the labels' method "
            f"({limit:.0%} is allowed), and the volume is {growth:.2f} times that of the glass",
            smallest=1.0 - limit,
            largest=1.0 + limit,
        )


def _late_volume(run: HoldResult) -> float:
    """Mean volume per atom of the second half of a hold in A^3."""
    volume = run.trace.volume
    return float(volume[len(volume) // 2 :].mean())


def _own_errors(
    text: str, own: _Melt, reference: Calculator | None, settings: AcceptanceSettings
) -> list[Check]:
    """Errors along the potential's own melt, where the labels are cheap."""
    names = ("melt energy error", "melt force error")
    if reference is None:
        reason = "not measured: no method that labels these frames cheaply is given"
        return [Check(name, "skipped", reason) for name in names]
    if not own.frames:
        return [Check(name, "skipped", "not measured: the melt failed") for name in names]
    errors = parity(text, [_labelled(frame, reference) for frame in own.frames])
    components = np.concatenate([forces.ravel() for forces in errors.labels.forces])
    scale = 1e3 * float(np.sqrt(np.mean(components**2)))
    energy, force = errors.overall.energy_rmse, errors.overall.force_rmse
    where = f"along its own melt at {settings.melt_temperature:g} K"
    return [
        Check.within(
            names[0],
            energy,
            f"{where} the energy error is {energy:.1f} meV/atom (at most "
            f"{settings.largest_energy_error:g})",
            largest=settings.largest_energy_error,
            unit="meV/atom",
        ),
        Check.within(
            names[1],
            force,
            f"{where} the force error is {force:.0f} meV/A, {force / scale:.0%} of the forces (at "
            f"most {settings.largest_force_error:.0%})",
            largest=settings.largest_force_error * scale,
            unit="meV/A",
        ),
    ]


def _labelled(frame: Atoms, reference: Calculator) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = frame.copy()
    atoms.calc = reference
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def _dimer_checks(curves: dict[str, DimerCurve], settings: AcceptanceSettings) -> list[Check]:
    return [
        Check(f"dimer {pair}", "passed", curve.verdict)
        if curve.barrier is None
        else Check.within(
            f"dimer {pair}",
            curve.barrier,
            curve.verdict,
            smallest=settings.smallest_barrier,
            unit="eV",
        )
        for pair, curve in curves.items()
    ]


def _elastic_check(glasses: Sequence[Atoms], calculator: Calculator) -> Check:
    name = "elastic stability"
    glass = glasses[0]
    try:
        result = elastic_constants(glass, calculator)
    except (PotentialFailureError, InputError) as error:
        return Check(name, "failed", f"the glass has no elastic constants: {error.message}")
    lowest = float(np.linalg.eigvalsh(result.stiffness).min())
    moduli = result.moduli
    return Check.within(
        name,
        lowest,
        f"the relaxed glass is elastically stable: B {moduli.bulk_modulus:.0f} GPa, G "
        f"{moduli.shear_modulus:.0f} GPa",
        smallest=0.0,
        unit="GPa",
    )


def _worst_check(worst: Sequence[WorstFrame], table: ParityTable) -> Check:
    frame = max(worst, key=lambda each: each.force_rmse)
    name = listed([word for word in (frame.subset, frame.family, frame.frame_id) if word])
    ratio = frame.force_rmse / table.overall.force_rmse
    return Check.within(
        "worst test frame",
        frame.force_rmse,
        f"the test frame with the largest force error ({name or 'without a name'}) has "
        f"{frame.force_rmse:.0f} meV/A, {ratio:.1f} times that of all",
        largest=_LARGEST_ERROR_RATIO * table.overall.force_rmse,
        unit="meV/A",
        otherwise="warning",
    )
