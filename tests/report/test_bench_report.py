"""The report of a large campaign stays small; its times are not tested."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mgflows.bench.report import bench_report, with_many_frames
from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.report import ReportData


def test_ten_thousand_frames_make_a_small_page(full: ReportData, monkeypatch) -> None:
    monkeypatch.setattr("mgflows.bench.report._load_seconds", lambda page: None)
    # Only what grows with the frames: the other figures take seconds.
    part = replace(full, samples=[], supercooling=None, relaxations=[], quenches=[], validations=[])
    found = bench_report(part, 10_000)
    assert found.n_frames == 10_000
    # Points are in images; a page with a vector element for each would have 100 000 and 15 MB.
    assert found.megabytes < 2.0
    assert found.n_elements < 10_000


def test_repeated_frames_are_spread_over_subsets_and_sides(full: ReportData) -> None:
    many = with_many_frames(full, 1_000)
    assert len(many.frames) == len({frame.frame_id for frame in many.frames}) == 1_000
    assert {frame.subset for frame in many.frames} == {frame.subset for frame in full.frames}
    parity = many.best_potential.parity
    assert sum(len(table.subset) for table in parity.values()) == 1_000
    for side, table in parity.items():
        assert len(table.energy.reference) == len(table.virial.predicted) == len(table.subset)
        before = full.best_potential.parity[side]
        assert len(table.force.reference) == len(before.force.reference)
    for data, number in ((full, 3), (replace(full, frames=[]), 10)):
        with pytest.raises(InputError, match=f"cannot be repeated to {number}"):
            with_many_frames(data, number)
