"""Split a flow into small FireWorks workflows, each of which starts when its inputs are available.

FireWorks rewrites a whole workflow, under a lock, at every change of one firework: the cost per
campaign grows with the square of its size and reaches a second per job at 10^4 fireworks. One
workflow per family and stage keeps it at milliseconds, and a family can be labelled while others
are still sampled.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobflow import Flow, Job

__all__ = ["MAX_FIREWORKS", "Piece", "connected", "jobs_of", "plan_pieces"]

MAX_FIREWORKS = 1000
"""Largest number of connected jobs in one workflow."""
_PACKED = 100
"""Independent jobs share a workflow up to this number."""


@dataclass(frozen=True)
class Piece:
    """The jobs of one workflow.

    Attributes
    ----------
    jobs
        (job, uuids of its parents in the same piece) pairs, parents first.
    inputs
        Uuids of jobs of other pieces (or flows) to whose outputs these jobs refer.
    required
        The inputs without which a job of the piece cannot run.
    gate
        Uuid of the job whose output must have ``passed`` before; None without a gate.
    """

    jobs: tuple[tuple[Job, tuple[str, ...]], ...]
    inputs: frozenset[str]
    required: frozenset[str]
    gate: str | None

    @property
    def uuids(self) -> list[str]:
        """Uuids of its jobs."""
        return [job.uuid for job, _ in self.jobs]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Stage, subset, number of jobs and estimated seconds of each kind of job.

        Jobs with an estimate of their run time are listed separately from those without one.
        """
        numbers: Counter[tuple[str | None, str | None, bool]] = Counter()
        seconds: Counter[tuple[str | None, str | None, bool]] = Counter()
        for job, _ in self.jobs:
            tags = _tags(job)
            kind = tags.get("stage"), tags.get("subset"), "seconds" in tags
            numbers[kind] += 1
            seconds[kind] += tags.get("seconds", 1.0)
        return [
            {
                "stage": stage,
                "subset": subset,
                "estimated": estimated,
                "n": n,
                "seconds": seconds[stage, subset, estimated],
            }
            for (stage, subset, estimated), n in numbers.items()
        ]


def plan_pieces(flow: Flow, max_fireworks: int = MAX_FIREWORKS) -> list[Piece]:
    """Split a flow.

    Jobs share a piece if they have the same stage, family and gate, and wait, directly or through
    each other, for the same outputs of other pieces.

    Parameters
    ----------
    flow
        A jobflow Flow.
    max_fireworks
        Largest number of jobs in one piece.

    Returns
    -------
    list of Piece
        Each after the pieces that it needs.

    Raises
    ------
    InputError
        If one piece has too many connected jobs.
    """
    jobs = jobs_of(flow)
    key_of: dict[str, tuple[Any, ...]] = {}
    members: dict[tuple[Any, ...], list[tuple[Job, tuple[str, ...]]]] = {}
    inputs_of: dict[str, frozenset[str]] = {}
    # A set of inputs may have thousands of members and be shared by as many jobs: equal sets are
    # one object with a number.
    numbers: dict[frozenset[str], int] = {}
    for job, parents in jobs:
        kind = _kind(job)
        waits: set[str] = set(job.input_uuids) - {job.uuid}
        for parent in parents:
            if parent in key_of and key_of[parent][:-1] == kind:
                waits.discard(parent)
                waits |= inputs_of[parent]
        inputs_of[job.uuid] = frozenset(waits)
        key_of[job.uuid] = (*kind, numbers.setdefault(inputs_of[job.uuid], len(numbers)))
        members.setdefault(key_of[job.uuid], []).append((job, parents))
    return [
        _piece(part, key[2])
        for key, group in members.items()
        for part in _pack(group, min(_PACKED, max_fireworks), max_fireworks, flow.name)
    ]


def jobs_of(flow: Flow) -> list[tuple[Job, tuple[str, ...]]]:
    """(job, uuids of its parents) of each job of a flow, parents first."""
    with warnings.catch_warnings():
        # A campaign begins with many independent jobs.
        warnings.filterwarnings("ignore", "Some jobs are not connected")
        return [(job, tuple(parents or ())) for job, parents in flow.iterflow()]


def connected(parents_of: dict[str, tuple[str, ...]]) -> list[list[str]]:
    """Split a graph, given by the parents of each node, into its connected components.

    Nodes keep their order.
    """
    root = {node: node for node in parents_of}

    def find(node: str) -> str:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for node, parents in parents_of.items():
        for parent in parents:
            if parent in root:
                root[find(node)] = find(parent)
    components: dict[str, list[str]] = {}
    for node in parents_of:
        components.setdefault(find(node), []).append(node)
    return list(components.values())


def _tags(job: Job) -> dict[str, Any]:
    return job.metadata.get("mgflows", {})


def _kind(job: Job) -> tuple[Any, ...]:
    tags = _tags(job)
    return tags.get("stage"), tags.get("family"), tags.get("gate")


def _pack(
    group: list[tuple[Job, tuple[str, ...]]], packed: int, largest: int, name: str
) -> Iterable[list[tuple[Job, tuple[str, ...]]]]:
    """Keep connected jobs together and let small components share a part."""
    by_uuid = {job.uuid: (job, parents) for job, parents in group}
    part: list[tuple[Job, tuple[str, ...]]] = []
    for component in connected({uuid: parents for uuid, (_, parents) in by_uuid.items()}):
        if len(component) > largest:
            raise InputError(
                f"the flow {name!r} has {len(component)} connected jobs of one stage and family, "
                f"and one workflow holds at most {largest}",
                hint="give them families or stages (mgflows.flows.tags), or let each job do a "
                "larger share",
            )
        if part and len(part) + len(component) > packed:
            yield part
            part = []
        part += [by_uuid[uuid] for uuid in component]
    yield part


def _piece(part: list[tuple[Job, tuple[str, ...]]], gate: str | None) -> Piece:
    from jobflow import OnMissing

    own = {job.uuid for job, _ in part}
    inputs: set[str] = set()
    required: set[str] = set()
    for job, _ in part:
        outside = set(job.input_uuids) - own
        inputs |= outside
        if job.config.on_missing_references == OnMissing.ERROR:
            required |= outside
    jobs = tuple(
        (job, tuple(parent for parent in parents if parent in own)) for job, parents in part
    )
    return Piece(jobs, frozenset(inputs), frozenset(required), gate)
