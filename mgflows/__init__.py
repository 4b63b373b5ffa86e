"""mgflows: from a composition to a validated interatomic potential for its metallic glass.

Only :class:`Alloy` is imported here; all other names are imported on first use, so that
``import mgflows`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.alloy import Alloy
from mgflows.lazy import lazy_names
from mgflows.moved import install

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase
    from mgflows.flows.campaign import CampaignMaker

__all__ = ["Alloy", "CampaignMaker", "GlassDatabase", "__version__"]
__version__ = "0.1.0"

install()

__getattr__ = lazy_names(
    __name__, {"CampaignMaker": "mgflows.flows.campaign", "GlassDatabase": "mgflows.database"}
)
