"""Neuroevolution potentials: settings, frames, splits, trainers, the loss curve, and the calculator of the result."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "NepParameters": "parameters",
    "find_duplicates": "frames",
    "read_frames": "frames",
    "write_frames": "frames",
    "split_frames": "split",
    "GpumdTrainer": "trainers",
    "NeppoTrainer": "trainers",
    "Trainer": "trainers",
    "TrainingProgress": "trainers",
    "TrainingResult": "trainers",
    "LossTable": "results",
    "ParityTable": "results",
    "Predictions": "results",
    "parity": "results",
    "predict": "results",
    "read_loss": "results",
    "nep_calculator": "calculator",
    "validate_nep_text": "calculator",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import mgflows.nep`` costs nothing."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"mgflows.nep.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mgflows.nep' has no attribute {name!r}")
