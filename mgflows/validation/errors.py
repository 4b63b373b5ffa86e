"""What goes wrong when a potential meets a structure that it does not know."""

from __future__ import annotations

from mgflows.errors import MgflowsError


class PotentialFailureError(MgflowsError, RuntimeError):
    """Forces that are not finite, a cell that runs away, or a minimisation that finds no minimum: the potential fails for this structure."""
