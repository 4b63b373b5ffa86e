"""How far a campaign is: the states of its fireworks, counted in an index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

DONE = "COMPLETED"
FAILED = "FIZZLED"
# A worker has it, or may take it now.
ACTIVE = ("READY", "RESERVED", "RUNNING")


@dataclass(frozen=True)
class Progress:
    """A snapshot.

    Attributes
    ----------
    groups
        ``{(stage, subset): {state: number of fireworks}}``; stage and subset are what the jobs' metadata say, or None.
    messages
        What happened since the snapshot before, in words.
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
        """Fireworks there are so far; dynamic jobs add some."""
        return sum(self.states.values())

    @property
    def n_done(self) -> int:
        """Fireworks that are completed."""
        return self.states.get(DONE, 0)

    @property
    def n_failed(self) -> int:
        """Fireworks that failed."""
        return self.states.get(FAILED, 0)

    @property
    def n_active(self) -> int:
        """Fireworks that run or may run now."""
        return sum(self.states.get(state, 0) for state in ACTIVE)

    @property
    def is_finished(self) -> bool:
        """Whether everything is completed, or was deliberately taken out."""
        return self.n_total > 0 and all(
            state in (DONE, "DEFUSED", "ARCHIVED") for state, n in self.states.items() if n
        )


def read_progress(
    database: Database, campaign: str | None = None, messages: tuple[str, ...] = ()
) -> Progress:
    """Count fireworks by stage, subset and state.

    Parameters
    ----------
    database
        The database, as `Settings.database` returns it.
    campaign
        Only this campaign; all by default.
    messages
        Put into the snapshot.
    """
    groups: dict[tuple[str | None, str | None], dict[str, int]] = {}
    for group, state, n in _counts(database, campaign):
        stage, _, subset = group.partition("/")
        groups.setdefault((stage or None, subset or None), {})[state] = n
    return Progress(groups, messages)


def _counts(database: Database, campaign: str | None) -> Iterator[tuple[str, str, int]]:
    fireworks = database["fireworks"]
    if campaign is None:
        for row in fireworks.aggregate(
            [{"$group": {"_id": {"group": "$spec.group", "state": "$state"}, "n": {"$sum": 1}}}]
        ):
            yield row["_id"].get("group") or "/", row["_id"]["state"], row["n"]
        return
    # Counting equal keys of an index, without looking at any document, is five times faster than grouping them.
    of_campaign = {"spec.mgflows.campaign": campaign}
    for group in fireworks.distinct("spec.group", of_campaign):
        for state in fireworks.distinct("state", {**of_campaign, "spec.group": group}):
            query = {**of_campaign, "spec.group": group, "state": state}
            yield group, state, database.command("count", "fireworks", query=query)["n"]
