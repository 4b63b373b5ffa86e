"""The trainer of mgflows: the NEP4 of the paper fitted on CPU cores with exact gradients.

Read in this order: :mod:`~mgflows.nep.training.basis` (radial functions),
:mod:`~mgflows.nep.training.harmonics` (angular functions and invariants),
:mod:`~mgflows.nep.training.kernels` (energies, forces, virials and gradients),
:mod:`~mgflows.nep.training.loss`, :mod:`~mgflows.nep.training.optimisers`, and
:mod:`~mgflows.nep.training.training`, which puts them together.
"""

from __future__ import annotations

from mgflows.nep.training.loss import LossWeights
from mgflows.nep.training.settings import TrainingSettings
from mgflows.nep.training.trainer import NepTrainer, TrainingPausedError

__all__ = ["LossWeights", "NepTrainer", "TrainingPausedError", "TrainingSettings"]
