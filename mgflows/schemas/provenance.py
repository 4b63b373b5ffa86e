"""Where a document comes from: who made it, when, from what, with which versions and at which cost."""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

import mgflows
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_PACKAGES = ("ase", "atomate2", "fireworks", "jobflow", "numba", "numpy", "pymatgen", "scipy")


def _plain(value: Any) -> Any:
    """Monty turns stored dictionaries that name a class into objects of it; a document wants the dictionary."""
    as_dict = getattr(value, "as_dict", None)
    value = as_dict() if callable(as_dict) else value
    return (
        {key: member for key, member in value.items() if not key.startswith("@")}
        if isinstance(value, dict)
        else value
    )


PlainDict = Annotated[dict[str, Any], BeforeValidator(_plain)]
"""A dictionary of plain values; an object with ``as_dict`` may be given instead."""


class Provenance(BaseModel):
    """Origin and cost of one document."""

    created_at: str = Field(description="UTC time at which the computation began, ISO 8601")
    mgflows_version: str = Field(description="version of mgflows")
    packages: dict[str, str] = Field(
        description="versions of the packages that can change a result"
    )
    python: str = Field(description="version of Python")
    host: str = Field(description="name of the machine")
    pid: int = Field(description="process id on that machine")
    directory: str = Field(description="working directory of the computation on that machine")
    wall_seconds: float = Field(0.0, description="elapsed time in s")
    cpu_seconds: float = Field(
        0.0,
        description="processor time in s, child processes on this machine that have ended included",
    )
    n_cores: int = Field(
        1,
        description="cores that the computation used, as its job says; otherwise the cores that the process may use",
    )
    max_rss_mib: float = Field(
        0.0,
        description="largest resident memory in MiB, since the process began, of the process itself or of one of its child processes",
    )
    seed: int | None = Field(None, description="seed of every random choice made")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings as given")
    parents: list[str] = Field(
        default_factory=list, description="uuids of the jobs this one was made from"
    )


@cache
def package_versions(extra: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of the packages that can change a result, without importing them."""
    versions = {}
    for name in (*_PACKAGES, *extra):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@contextmanager
def record_provenance(
    *,
    seed: int | None = None,
    settings: dict[str, Any] | None = None,
    parents: list[str] | None = None,
    packages: tuple[str, ...] = (),
    n_cores: int | None = None,
) -> Iterator[Provenance]:
    """Measure a computation: the record is complete once the block has ended.

    Processor time is that of this process and of the child processes that it has waited for, as ``subprocess.run`` and process pools do: MPI ranks that
    ``mpirun`` starts on this machine count, ranks on other machines do not.

    Parameters
    ----------
    seed, settings, parents
        What the record says of them.
    packages
        Distributions whose versions are recorded besides the usual ones.
    n_cores
        Cores that the computation uses: MPI ranks times threads of each, on all machines. None: the cores that this process may use, which is more than
        the computation's where workers share a machine, and less where it starts ranks on other machines.

    Yields
    ------
    Provenance
        The record; what is known only inside the block may be set there, such as ``n_cores`` of a code that chooses it.

    Raises
    ------
    InputError
        If ``n_cores`` is not positive.

    Examples
    --------
    >>> with record_provenance(seed=1) as provenance:
    ...     pass
    >>> provenance.seed
    1
    """
    if n_cores is not None and n_cores < 1:
        raise InputError(f"n_cores is {n_cores} but must be at least 1: MPI ranks times threads")
    record = Provenance(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        mgflows_version=mgflows.__version__,
        packages=package_versions(packages),
        python=platform.python_version(),
        host=socket.gethostname(),
        pid=os.getpid(),
        directory=os.getcwd(),
        n_cores=len(os.sched_getaffinity(0)) if n_cores is None else n_cores,
        seed=seed,
        settings=settings or {},
        parents=parents or [],
    )
    wall, cpu = time.perf_counter(), cpu_seconds()
    try:
        yield record
    finally:
        record.wall_seconds = time.perf_counter() - wall
        record.cpu_seconds = cpu_seconds() - cpu
        record.max_rss_mib = max(resource.getrusage(who).ru_maxrss for who in _WHO) / 1024.0


def cpu_seconds() -> float:
    """Processor time in s of this process and of its child processes that have ended."""
    used = (resource.getrusage(who) for who in _WHO)
    return sum(u.ru_utime + u.ru_stime for u in used)
