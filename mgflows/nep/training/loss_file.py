"""The loss curve in the format of GPUMD."""

from __future__ import annotations

from dataclasses import astuple, dataclass

__all__ = ["LossRow", "loss_text"]

_HEADER = (
    "# format_version 1\n# output_interval {interval}\n"
    "# columns generation total l1 l2 rmse_energy_train rmse_force_train rmse_virial_train "
    "rmse_energy_test rmse_force_test rmse_virial_test\n"
)


@dataclass(frozen=True)
class LossRow:
    """One line of ``loss.out``.

    Attributes
    ----------
    step
        Steps done.
    total, l1, l2
        Mean loss of the batches since the last line, and its regularisation terms.
    energy_train, force_train, virial_train
        RMSEs of these batches in eV/atom, eV/A and eV/atom, each with the parameters of its step;
        weighted like the loss.
    energy_test, force_test, virial_test
        RMSEs of all test frames; NaN without test frames.
    """

    step: int
    total: float
    l1: float
    l2: float
    energy_train: float
    force_train: float
    virial_train: float
    energy_test: float
    force_test: float
    virial_test: float


def loss_text(rows: list[LossRow], interval: int) -> str:
    """The file ``loss.out``."""
    lines = [
        f"{row.step:<8d}" + " ".join(f"{value:12.5e}" for value in astuple(row)[1:]) + "\n"
        for row in rows
    ]
    return _HEADER.format(interval=interval) + "".join(lines)
