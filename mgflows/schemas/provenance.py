"""Origin of a document: host, time, settings, parents, package versions and cost."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import time
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from monty.json import MontyEncoder
from pydantic import BaseModel, Field

import mgflows
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import Maker

__all__ = ["Provenance", "cpu_seconds", "maker_settings", "package_versions", "record_provenance"]

_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_PACKAGES = ("ase", "atomate2", "fireworks", "jobflow", "numba", "numpy", "pymatgen", "scipy")


class Provenance(BaseModel):
    """Origin and cost of one document."""

    created_at: str = Field(
        description="UTC time at which the computation began, ISO 8601 with milliseconds"
    )
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
        description="processor time in s, with child processes on this machine that have ended",
    )
    n_cores: int = Field(
        1,
        description="cores that the computation used according to its job; otherwise the cores "
        "available to the process",
    )
    max_rss_mib: float = Field(
        0.0,
        description="largest resident memory in MiB, since the start of the process, of the "
        "process itself or of one of its child processes",
    )
    seed: int | None = Field(None, description="seed of every random choice made")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="every setting of the Maker and arguments of the call"
    )
    parents: list[str] = Field(
        default_factory=list, description="uuids of the jobs whose outputs were used"
    )


def maker_settings(maker: Maker, **arguments: Any) -> dict[str, Any]:
    """Return all settings of a Maker, and the arguments of the call, as plain values.

    Parameters
    ----------
    maker
        The Maker; every field is recorded, nested objects with the name of their class.
    arguments
        Arguments of the call that determine the result, such as a seed or a length.

    Examples
    --------
    >>> from mgflows.jobs.strain import DeformationMaker
    >>> maker_settings(DeformationMaker(kind="elastic"))
    {'maker': 'DeformationMaker', 'name': 'deform', 'kind': 'elastic'}
    """
    values = {field.name: getattr(maker, field.name) for field in fields(maker)}
    return {"maker": type(maker).__name__, **_plain(values | arguments)}


@cache
def package_versions(extra: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions of the packages that can change a result, without importing them."""
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
    """Measure a computation; the record is complete after the end of the block.

    Processor time is that of this process and of the child processes that it has waited for, as
    ``subprocess.run`` and process pools do: MPI ranks that ``mpirun`` starts on this machine
    count, ranks on other machines do not.

    Parameters
    ----------
    seed, parents
        Recorded as given.
    settings
        Recorded as given; :func:`maker_settings` collects those of a Maker.
    packages
        Distributions whose versions are recorded besides the usual ones.
    n_cores
        Cores that the computation uses: MPI ranks times threads per rank, on all machines.
        None: the cores available to this process, which is too many where workers share a machine
        and too few where the computation starts ranks on other machines.

    Yields
    ------
    Provenance
        The record; values known only inside the block may be set there, such as ``n_cores`` of
        a code that chooses it.

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
        # Documents are sorted by it, and several can begin within a second.
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
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


def _plain(value: Any) -> Any:
    """Return JSON values, with the class of an object as ``class``, which monty ignores."""
    return _without_modules(json.loads(json.dumps(value, cls=MontyEncoder)))


def _without_modules(value: Any) -> Any:
    if isinstance(value, dict):
        named = {"class": value["@class"]} if "@class" in value else {}
        return named | {
            key: _without_modules(member)
            for key, member in value.items()
            if not key.startswith("@")
        }
    return [_without_modules(member) for member in value] if isinstance(value, list) else value
