"""mgflows: from a composition to a validated interatomic potential for its metallic glass.

Only :class:`Alloy` is imported here; everything else is imported where it is used, so that ``import mgflows`` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.alloy import Alloy

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase
    from mgflows.flows.campaign import CampaignMaker

__all__ = ["Alloy", "CampaignMaker", "GlassDatabase", "__version__"]
__version__ = "0.1.0"

_LAZY = {"CampaignMaker": "mgflows.flows.campaign", "GlassDatabase": "mgflows.database"}


def __getattr__(name: str) -> Any:
    """Import the workflow and database entry points on first use."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mgflows' has no attribute {name!r}")
