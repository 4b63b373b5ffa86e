"""``mgflows worker``: run jobs of campaigns on this machine, as batch jobs do."""

from __future__ import annotations

from mgflows.launch.worker import worker

__all__ = ["worker"]
