"""Neuroevolution potentials: parameters, frames, splits, trainers, errors and the calculator.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.nep.calculator import nep_calculator, validate_nep_text
    from mgflows.nep.committee import Committee, train_committee
    from mgflows.nep.frames import find_duplicates, read_frames, write_frames
    from mgflows.nep.learning_curve import LearningCurve, learning_curve
    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.results import LossTable, ParityTable, Predictions, parity, predict, read_loss
    from mgflows.nep.selection import SpreadWindow, select_frames
    from mgflows.nep.split import split_frames
    from mgflows.nep.targets import ErrorTarget, certificate
    from mgflows.nep.trainers import (
        GpumdTrainer,
        NeppoTrainer,
        Trainer,
        TrainingProgress,
        TrainingResult,
    )
    from mgflows.nep.training import NepTrainer

__all__ = [
    "Committee",
    "ErrorTarget",
    "GpumdTrainer",
    "LearningCurve",
    "LossTable",
    "NepParameters",
    "NepTrainer",
    "NeppoTrainer",
    "ParityTable",
    "Predictions",
    "SpreadWindow",
    "Trainer",
    "TrainingProgress",
    "TrainingResult",
    "certificate",
    "find_duplicates",
    "learning_curve",
    "nep_calculator",
    "parity",
    "predict",
    "read_frames",
    "read_loss",
    "select_frames",
    "split_frames",
    "train_committee",
    "validate_nep_text",
    "write_frames",
]

__getattr__ = lazy_names(
    __name__,
    {
        "nep_calculator": "mgflows.nep.calculator",
        "validate_nep_text": "mgflows.nep.calculator",
        "Committee": "mgflows.nep.committee",
        "train_committee": "mgflows.nep.committee",
        "find_duplicates": "mgflows.nep.frames",
        "read_frames": "mgflows.nep.frames",
        "write_frames": "mgflows.nep.frames",
        "LearningCurve": "mgflows.nep.learning_curve",
        "learning_curve": "mgflows.nep.learning_curve",
        "NepParameters": "mgflows.nep.parameters",
        "LossTable": "mgflows.nep.results",
        "ParityTable": "mgflows.nep.results",
        "Predictions": "mgflows.nep.results",
        "parity": "mgflows.nep.results",
        "predict": "mgflows.nep.results",
        "read_loss": "mgflows.nep.results",
        "SpreadWindow": "mgflows.nep.selection",
        "select_frames": "mgflows.nep.selection",
        "split_frames": "mgflows.nep.split",
        "ErrorTarget": "mgflows.nep.targets",
        "certificate": "mgflows.nep.targets",
        "GpumdTrainer": "mgflows.nep.trainers",
        "NepTrainer": "mgflows.nep.training",
        "NeppoTrainer": "mgflows.nep.trainers",
        "Trainer": "mgflows.nep.trainers",
        "TrainingProgress": "mgflows.nep.trainers",
        "TrainingResult": "mgflows.nep.trainers",
    },
)
