"""Settings of the trainer of mgflows in addition to those in ``nep.in``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from mgflows.errors import InputError

__all__ = ["OptimiserName", "TrainingSettings"]

OptimiserName = Literal["soap", "adam"]
"""Optimisers of :mod:`mgflows.nep.training.optimisers`."""

_LARGEST_CORE = 2.2
"""A; the bond length of the copper dimer, one of the shortest of the metals of glasses."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of the fit of a NEP; the file ``training.json``.

    Attributes
    ----------
    optimiser
        ``soap`` (arXiv:2409.11321) or ``adam``.
    core_radius
        A; isolated pairs of atoms closer than this must repel each other
        (:mod:`mgflows.nep.training.core`), so that a melt has no attractive holes at distances that
        the frames do not contain. None: only the ZBL repulsion of the parameters acts there, as in
        the paper.
    core_weight
        Weight of this condition, relative to that of the forces of frames.
    energy_reference
        Whether energies of the elements, from a least-squares fit to the training energies, are
        removed before the training; the potential contains them, in one neuron per species. None:
        if they differ by more than 10 eV, as total energies do. The network learns smaller
        differences.
    subset_weights
        Weights of frames by subset, which multiply the errors like ``weight=`` of a frame.
    gradient_clip
        Largest norm of the gradient of a step; None for no limit.
    averaging
        Decay per step of the running mean of the parameters, which is the result; 0 for the last
        parameters.
    plateau
        Steps without a decrease of the mean training loss by a hundredth after which the learning
        rate is brought to its end, within a tenth of the steps done, and the training stops. None:
        all steps are done. Test frames are never used to decide.
    cache
        GiB of memory for quantities that depend on the frames alone; what does not fit is computed
        again for every batch, with the same result. 1000 frames of 150 atoms need about 1.1 GiB.
    checkpoint_interval
        Seconds of training that an interruption may cost.
    """

    optimiser: OptimiserName = "soap"
    core_radius: float | None = 2.0
    core_weight: float = 1.0
    energy_reference: bool | None = None
    subset_weights: dict[str, float] = field(default_factory=dict)
    gradient_clip: float | None = None
    averaging: float = 0.0
    plateau: int | None = None
    cache: float = 2.0
    checkpoint_interval: float = 30.0

    def __post_init__(self) -> None:
        if self.optimiser not in get_args(OptimiserName):
            raise InputError(
                f"optimiser is {self.optimiser!r} but must be one of: "
                f"{', '.join(get_args(OptimiserName))}"
            )
        if self.gradient_clip is not None and not self.gradient_clip > 0.0:
            raise InputError(
                f"gradient_clip is {self.gradient_clip:g} but must be positive or None"
            )
        if not 0.0 <= self.averaging < 1.0:
            raise InputError(f"averaging is {self.averaging:g} but must lie in [0, 1)")
        if self.plateau is not None and not (isinstance(self.plateau, int) and self.plateau >= 1):
            raise InputError(
                f"plateau is {self.plateau!r} but must be a number of steps, at least 1, or None"
            )
        if self.core_radius is not None and not 0.5 <= self.core_radius <= _LARGEST_CORE:
            raise InputError(
                f"core_radius is {self.core_radius:g} A but must lie in [0.5, {_LARGEST_CORE:g}] "
                "or be None",
                hint="pairs of metal atoms are always repulsive below 2 A",
            )
        for name in ("core_weight", "cache", "checkpoint_interval"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise InputError(f"{name} is {value:g} but must be finite and not negative")
        for subset, weight in self.subset_weights.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise InputError(
                    f"the weight of subset {subset} is {weight:g} but must not be negative"
                )

    def to_text(self) -> str:
        """The file ``training.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_text(cls, text: str) -> TrainingSettings:
        """Read a ``training.json``.

        Raises
        ------
        InputError
            For a file that is not valid, or a setting that does not exist.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise InputError(
                f"training.json is not valid JSON: {error}",
                hint="correct it, or delete it to train with the defaults",
            ) from error
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f"training.json has the unknown setting {unknown[0]!r}",
                hint=f"known are: {', '.join(sorted(known))}",
            )
        return cls(**values)
