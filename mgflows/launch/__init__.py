"""Run campaigns with FireWorks: plan, compile, submit, and work.

Names are imported on first use, because importing FireWorks takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.lazy import lazy_names
from mgflows.moved import renamed

if TYPE_CHECKING:
    from mgflows.launch.campaigns import Advance, Submission, advance, submit, submit_campaign
    from mgflows.launch.validations import submit_validation
    from mgflows.launch.workflows import to_workflows

__all__ = [
    "Advance",
    "Submission",
    "advance",
    "submit",
    "submit_campaign",
    "submit_validation",
    "to_workflows",
]

_load = lazy_names(
    __name__,
    {
        "Advance": "mgflows.launch.campaigns",
        "Submission": "mgflows.launch.campaigns",
        "advance": "mgflows.launch.campaigns",
        "submit": "mgflows.launch.campaigns",
        "submit_campaign": "mgflows.launch.campaigns",
        "submit_validation": "mgflows.launch.validations",
        "to_workflows": "mgflows.launch.workflows",
    },
)
_load_renamed = renamed(__name__)


def __getattr__(name: str) -> Any:
    return _load(name) if name in __all__ else _load_renamed(name)
