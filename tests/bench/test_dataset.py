"""The benchmark of datasets runs; its times are not tested."""

from __future__ import annotations

import pytest

from mgflows.bench.dataset import bench_dataset
from mgflows.errors import InputError

pytestmark = pytest.mark.mongo


@pytest.mark.slow
def test_every_step_is_measured_and_the_database_is_dropped(settings) -> None:
    from pymongo import MongoClient

    steps = bench_dataset(settings, 60, 8)
    assert [step.name for step in steps] == [
        "write",
        "import",
        "query",
        "freeze",
        "load",
        "train",
        "export",
    ]
    assert all(step.seconds > 0.0 and step.peak_mib > 10.0 for step in steps)
    with MongoClient(settings.uri) as client:
        assert not [name for name in client.list_database_names() if name.startswith("bench_")]


def test_too_few_frames_are_refused(settings) -> None:
    with pytest.raises(InputError, match="3 frames of 150 atoms are too few"):
        bench_dataset(settings, 3)
