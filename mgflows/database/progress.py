"""Progress of a campaign: the states of its fireworks, counted in an index."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.errors import InputError
from mgflows.moved import renamed
from mgflows.schemas.campaign import CAMPAIGNS, PLANNED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

__all__ = ["ACTIVE", "DONE", "FAILED", "Progress", "campaign_progress", "require_campaign"]

DONE = "COMPLETED"
FAILED = "FIZZLED"
ACTIVE = ("READY", "RESERVED", "RUNNING")
"""States of fireworks that a worker runs or may take now."""


@dataclass(frozen=True)
class Progress:
    """A snapshot.

    Attributes
    ----------
    groups
        ``{(stage, subset): {state: number of fireworks}}``; stage and subset are those of the jobs'
        metadata, or None.
    messages
        Events since the previous snapshot.
    """

    groups: dict[tuple[str | None, str | None], dict[str, int]]
    messages: tuple[str, ...] = field(default=())

    @property
    def states(self) -> dict[str, int]:
        """Number of fireworks in each state."""
        total: Counter[str] = Counter()
        for counts in self.groups.values():
            total.update(counts)
        return dict(total)

    @property
    def stages(self) -> dict[str | None, dict[str, int]]:
        """Number of fireworks in each state, for each stage."""
        stages: dict[str | None, Counter[str]] = {}
        for (stage, _), counts in self.groups.items():
            stages.setdefault(stage, Counter()).update(counts)
        return {stage: dict(counts) for stage, counts in stages.items()}

    @property
    def n_total(self) -> int:
        """Current number of fireworks; dynamic jobs add more."""
        return sum(self.states.values())

    @property
    def n_done(self) -> int:
        """Completed fireworks."""
        return self.states.get(DONE, 0)

    @property
    def n_failed(self) -> int:
        """Failed fireworks."""
        return self.states.get(FAILED, 0)

    @property
    def n_active(self) -> int:
        """Fireworks that run or may run now."""
        return sum(self.states.get(state, 0) for state in ACTIVE)

    @property
    def is_finished(self) -> bool:
        """Whether every firework is completed or was deliberately taken out."""
        return self.n_total > 0 and all(
            state in (DONE, "DEFUSED", "ARCHIVED") for state, n in self.states.items() if n
        )


def campaign_progress(
    database: Database, campaign: str | None = None, messages: tuple[str, ...] = ()
) -> Progress:
    """Count fireworks by stage, subset and state.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Only this campaign; all by default.
    messages
        Copied into the snapshot.
    """
    groups: dict[tuple[str | None, str | None], dict[str, int]] = {}
    for group, state, n in _counts(database, campaign):
        stage, _, subset = group.partition("/")
        groups.setdefault((stage or None, subset or None), {})[state] = n
    return Progress(groups, messages)


def require_campaign(database: Database, campaign: str) -> None:
    """Raise InputError, with the existing names, if a campaign does not exist in the database."""
    for collection, key in (
        (CAMPAIGNS, "campaign"),
        (PLANNED, "campaign"),
        ("fireworks", "spec.mgflows.campaign"),
        ("outputs", "metadata.mgflows.campaign"),
    ):
        if database[collection].find_one({key: campaign}, {"_id": 1}) is not None:
            return
    names = sorted({*database[CAMPAIGNS].distinct("campaign")})
    close = difflib.get_close_matches(campaign, names, n=1)
    listing = f"its campaigns: {', '.join(names[:20])}" if names else "it has no campaigns yet"
    raise InputError(
        f"there is no campaign {campaign!r} in the database {database.name}",
        hint=f"did you mean {close[0]!r}? ({listing})" if close else listing,
    )


def _counts(database: Database, campaign: str | None) -> Iterator[tuple[str, str, int]]:
    fireworks = database["fireworks"]
    if campaign is None:
        for row in fireworks.aggregate(
            [{"$group": {"_id": {"group": "$spec.group", "state": "$state"}, "n": {"$sum": 1}}}]
        ):
            yield row["_id"].get("group") or "/", row["_id"]["state"], row["n"]
        return
    # Counting equal keys of an index reads no document and is five times faster than grouping.
    of_campaign = {"spec.mgflows.campaign": campaign}
    for group in fireworks.distinct("spec.group", of_campaign):
        for state in fireworks.distinct("state", {**of_campaign, "spec.group": group}):
            query = {**of_campaign, "spec.group": group, "state": state}
            yield group, state, database.command("count", "fireworks", query=query)["n"]


__getattr__ = renamed(__name__)
