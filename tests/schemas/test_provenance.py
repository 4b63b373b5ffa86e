from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import datetime

import pytest

from mgflows.errors import InputError
from mgflows.schemas.provenance import record_provenance

_RANK = """
import sys, time
block = bytearray(int(sys.argv[1]) << 20)
while time.process_time() < 0.3:
    pass
"""


def test_child_processes_count_with_their_time_and_memory() -> None:
    """As ``mpirun`` on this machine: the ranks do the work, and this process waits for them."""
    # More than anything this process or one of its children has had before.
    mib = (
        max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        // 1024
        + 64
    )
    with record_provenance(n_cores=2) as provenance:
        ranks = [subprocess.Popen([sys.executable, "-c", _RANK, str(size)]) for size in (1, mib)]
        assert [rank.wait() for rank in ranks] == [0, 0]
    assert provenance.cpu_seconds >= 0.6
    assert mib < provenance.max_rss_mib < mib + 64
    assert provenance.n_cores == 2


def test_records_that_begin_within_a_second_are_in_order() -> None:
    with record_provenance() as first:
        time.sleep(0.01)
    with record_provenance() as second:
        pass
    assert first.created_at < second.created_at
    assert datetime.fromisoformat(second.created_at) > datetime.fromisoformat(first.created_at)


def test_a_child_that_was_not_waited_for_is_not_counted() -> None:
    with record_provenance() as provenance:
        rank = subprocess.Popen([sys.executable, "-c", _RANK, "1"])
    assert provenance.cpu_seconds < 0.3
    assert rank.wait() == 0


def test_cores_are_those_of_the_computation_if_it_reports_them() -> None:
    with record_provenance() as provenance:
        pass
    assert provenance.n_cores == len(os.sched_getaffinity(0))
    with record_provenance() as provenance:
        provenance.n_cores = 48
    assert provenance.n_cores == 48
    with (
        pytest.raises(InputError, match="n_cores is 0 but must be at least 1"),
        record_provenance(n_cores=0),
    ):
        pass
