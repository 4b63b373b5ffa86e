"""Findings of a recovery, and the steps that repair them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgflows.database.failures import Failure

__all__ = ["Action", "Recovery", "Step"]


class Action(enum.StrEnum):
    """Possible repairs."""

    RERUN = "rerun"
    SET_ASIDE = "set aside"
    FINISH = "finish"
    UNLOCK = "unlock"
    REMOVE = "remove"
    RESTORE = "restore"
    PREPARE = "prepare"
    COLLECT = "collect"
    RECORD = "record"


@dataclass(frozen=True)
class Step:
    """One repair.

    Attributes
    ----------
    action
        `RERUN` makes a firework READY (or WAITING for its parents), `SET_ASIDE` marks a firework
        that keeps killing its worker as FIZZLED, `FINISH` records a known end everywhere, `UNLOCK`
        unlocks a workflow and completes an interrupted update, `REMOVE` deletes fireworks that
        belong to no workflow, `RESTORE` inserts deleted jobs, or the spec of a damaged one, again,
        `PREPARE` creates missing indexes and counters, `COLLECT` stores the result of a job that
        ran offline, `RECORD` inserts a deleted launch.
    problem
        The problem in one or two words.
    fireworks
        The fireworks concerned; none for deleted jobs.
    name
        Name of the job, workflow or campaign.
    reason
        The cause.
    seen
        The state on which the decision is based; if it has changed since, the step is skipped.
    """

    action: Action
    problem: str
    fireworks: tuple[int, ...]
    name: str
    reason: str
    seen: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass
class Recovery:
    """Findings, and the steps that were or would be taken.

    Attributes
    ----------
    steps
        The repairs, in order.
    failures
        Jobs that failed with an error and are not rerun.
    running
        Fireworks whose worker runs, or which may run on a machine that cannot be queried from here.
    unclear
        Silent fireworks whose state cannot be determined from here, with the reason; they are left
        alone.
    stalled
        Running fireworks that have changed no file for `stall_seconds`, with the reason; they are
        left alone.
    """

    steps: list[Step] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    unclear: dict[int, str] = field(default_factory=dict)
    stalled: dict[int, str] = field(default_factory=dict)

    @property
    def rerun(self) -> dict[int, str]:
        """Fireworks that are rerun, each with the reason."""
        return {
            step.fireworks[0]: step.reason for step in self.steps if step.action is Action.RERUN
        }

    @property
    def set_aside(self) -> dict[int, str]:
        """Fireworks that failed because they keep killing their worker, each with the reason."""
        return {
            step.fireworks[0]: step.reason for step in self.steps if step.action is Action.SET_ASIDE
        }

    @property
    def completed(self) -> list[int]:
        """Fireworks whose end was known but not recorded everywhere."""
        return [
            fw_id
            for step in self.steps
            if step.action in (Action.FINISH, Action.UNLOCK)
            for fw_id in step.fireworks
        ]

    @property
    def unlocked(self) -> int:
        """Number of workflows that were locked by a dead worker."""
        return sum(step.action is Action.UNLOCK and step.seen["locked"] for step in self.steps)

    @property
    def removed(self) -> list[int]:
        """Fireworks in no workflow, left by a process that died while adding them."""
        return [
            fw_id for step in self.steps if step.action is Action.REMOVE for fw_id in step.fireworks
        ]

    @property
    def changed(self) -> bool:
        """Whether there are any repairs."""
        return bool(self.steps)
