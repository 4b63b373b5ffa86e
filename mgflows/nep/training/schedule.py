"""The learning rate during a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CosineSchedule"]


@dataclass(frozen=True)
class CosineSchedule:
    """Half a cosine, from the rate ``first`` at step ``start`` to ``last`` at step ``end``."""

    first: float
    last: float
    start: int
    end: int

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        progress = min(1.0, max(0.0, (step - self.start) / max(1, self.end - 1 - self.start)))
        return self.last + 0.5 * (self.first - self.last) * (1.0 + math.cos(math.pi * progress))

    def shortened(self, step: int) -> CosineSchedule:
        """The schedule that ends within a tenth of the steps done, counted from ``step``."""
        end = min(self.end, step + max(1, step // 10))
        return CosineSchedule(self.rate(step), self.last, step, end)
