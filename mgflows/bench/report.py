"""Size and loading time of the report of a campaign that has many frames."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, ServiceError
from mgflows.schemas.training import EnergyParity, ForceParity, VirialParity

if TYPE_CHECKING:
    from numpy.random import Generator

    from mgflows.report import ReportData
    from mgflows.schemas.training import ParityTable

__all__ = ["ReportSize", "bench_report", "with_many_frames"]

_SPREAD = 0.02
"""Relative random change of repeated values, so that no two points coincide."""
_ELEMENTS = re.compile(r"<(path|use|image|text|rect|circle|polygon)\b")
_LOADED = """<script>addEventListener("load", () => {
  document.body.getBoundingClientRect();
  document.body.dataset.milliseconds = performance.now();
});</script>"""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class ReportSize:
    """What the report of a campaign costs.

    Attributes
    ----------
    n_frames
        Labelled frames of the campaign.
    megabytes
        Size of the page, 10^6 bytes.
    n_elements
        Drawn elements in all figures: lines, markers, texts and images.
    render_seconds
        Processor time of making the page, s.
    load_seconds
        From the start of the navigation to the end of the layout in headless Chromium, s; None
        without Chromium.
    """

    n_frames: int
    megabytes: float
    n_elements: int
    render_seconds: float
    load_seconds: float | None


def with_many_frames(data: ReportData, n_frames: int, seed: int = 0) -> ReportData:
    """Return the content of a report with its frames repeated to a number, slightly changed.

    Parameters
    ----------
    data
        A campaign with labelled frames, and a potential if its parity plots shall count.
    n_frames
        Number of frames, at least those of the campaign.
    seed
        Seed of the choice of repeated frames and of their changes.

    Raises
    ------
    InputError
        If the campaign has no frame, or more than `n_frames`.
    """
    if not 0 < len(data.frames) <= n_frames:
        raise InputError(
            f"the campaign {data.campaign.campaign} has {len(data.frames)} frames, which cannot "
            f"be repeated to {n_frames}",
            hint="give a larger number, or a campaign with labels",
        )
    generator = np.random.default_rng(seed)
    frames = list(data.frames)
    for index in generator.integers(len(data.frames), size=n_frames - len(frames)):
        frame = data.frames[index]
        energy, pressure = generator.normal(1.0, _SPREAD, 2)
        frames.append(
            frame.model_copy(
                update={
                    "frame_id": f"{frame.frame_id}-{len(frames)}",
                    "energy_per_atom": frame.energy_per_atom * energy,
                    "pressure": frame.pressure * pressure,
                }
            )
        )
    best = data.best_potential
    if best is None or not best.parity:
        return replace(data, frames=frames)
    total = sum(len(table.subset) for table in best.parity.values())
    parity = {
        side: _repeated(table, round(n_frames * len(table.subset) / total), generator)
        for side, table in best.parity.items()
    }
    longer = best.model_copy(update={"parity": parity})
    return replace(
        data, frames=frames, potentials=[longer if p is best else p for p in data.potentials]
    )


def _repeated(table: ParityTable, n: int, generator: Generator) -> ParityTable:
    """A parity table of `n` frames; a campaign stores a fixed number of force components."""
    chosen = generator.integers(len(table.subset), size=n)
    factors = generator.normal(1.0, _SPREAD, n)
    energy, virial = (
        {
            which: np.asarray(getattr(values, which))[chosen] * factors.reshape(shape)
            for which in ("reference", "predicted")
        }
        for values, shape in ((table.energy, (n,)), (table.virial, (n, 1)))
    )
    return table.model_copy(
        update={
            "subset": [table.subset[index] for index in chosen],
            "energy": EnergyParity(**{k: v.tolist() for k, v in energy.items()}),
            "virial": VirialParity(**{k: v.tolist() for k, v in virial.items()}),
            "force": ForceParity.model_validate(table.force.model_dump()),
        }
    )


def bench_report(data: ReportData, n_frames: int, seed: int = 0) -> ReportSize:
    """Measure the report of a campaign whose frames are repeated to a number.

    Parameters
    ----------
    data, n_frames, seed
        As for :func:`with_many_frames`.

    Raises
    ------
    InputError
        As :func:`with_many_frames`.
    ServiceError
        If Chromium is installed but fails.
    """
    from mgflows.report.page import render_report

    many = with_many_frames(data, n_frames, seed)
    begin = time.process_time()
    page = render_report(many)
    seconds = time.process_time() - begin
    return ReportSize(
        n_frames=len(many.frames),
        megabytes=1e-6 * len(page.encode()),
        n_elements=len(_ELEMENTS.findall(page)),
        render_seconds=seconds,
        load_seconds=_load_seconds(page),
    )


def _load_seconds(page: str) -> float | None:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return None
    # The page itself forbids scripts.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_text(page.replace("</body>", f"{_LOADED}</body>"), encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            f"--user-data-dir={folder}/profile",
            "--window-size=1200,1200",
            "--dump-dom",
            path.as_uri(),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False
        )
    found = re.search(r'data-milliseconds="([\d.]+)"', done.stdout)
    if found is None:
        raise ServiceError(
            f"{browser} did not load the report (exit code {done.returncode})",
            hint="check the installation of Chromium",
        )
    return 1e-3 * float(found[1])
