"""Frames in a file are those that were written, and can be chosen without copies."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.errors import ServiceError
from mgflows.nep.frame_file import FrameFile


def test_frames_are_those_that_were_written(tmp_path, emt_frames) -> None:
    frames = FrameFile(tmp_path)
    for frame in emt_frames:
        frames.append(frame)
    assert not list(tmp_path.iterdir())
    assert len(frames) == len(emt_frames)
    for frame, written in zip(frames, emt_frames, strict=True):
        assert frame == written
        assert frame.info == written.info
        for name, value in written.calc.results.items():
            np.testing.assert_array_equal(frame.calc.results[name], value)
    frames[0].info["weight"] = 2.0
    assert "weight" not in frames[0].info
    extended = emt_frames[0].copy()
    extended.calc = SinglePointCalculator(extended, energy=1.0)
    extended.calc.results["node_energy"] = np.zeros(len(extended))
    frames.append(extended)
    assert frames[-1].calc.results == {"energy": 1.0}
    part = frames.chosen([3, 1])
    del frames
    assert [frame == emt_frames[index] for frame, index in zip(part, (3, 1), strict=True)] == [
        True
    ] * 2
    assert part[:1][0] == part[-2] == emt_frames[3]
    with pytest.raises(IndexError):
        part[2]


def test_a_missing_folder_is_an_error_with_its_reason(tmp_path) -> None:
    with pytest.raises(ServiceError, match="cannot be written to the disk: No such file"):
        FrameFile(tmp_path / "missing")
