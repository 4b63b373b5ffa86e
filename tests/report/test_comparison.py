"""The page of a comparison of potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.report.comparison import write_comparison
from mgflows.validation.comparison import Comparison, Estimate, ModelResults

if TYPE_CHECKING:
    from pathlib import Path


def model(name: str, scale: float) -> ModelResults:
    strain = np.linspace(0.0, 0.2, 201)
    distance = np.linspace(0.01, 0.99, 50)
    return ModelResults(
        name,
        estimates={
            "yield_stress": Estimate(1.5 * scale, 0.1, 4),
            "yield_strain": Estimate(0.1, 0.01, 4),
            "delta_cb": Estimate(0.985, 0.002, 8),
            "displacement": Estimate(0.1 * scale, 0.01, 8),
            **{
                f"relaxation_time {t:g} K": Estimate(scale * tau, 0.1 * tau, 2, temperature=t)
                for t, tau in ((1400.0, 8.0), (1650.0, 1.0))
            },
        },
        curves={
            "stress-strain": {
                "strain": strain.tolist(),
                "stress": (1.5 * scale * np.tanh(20.0 * strain)).tolist(),
            },
            "displacements": {
                "distance": distance.tolist(),
                "density": (np.exp(-distance / 0.1) * (distance < 0.5)).tolist(),
            },
        },
        n_planned=20,
        n_done=12,
    )


def test_figures_and_table_of_relaxation_yield_and_displacements(tmp_path: Path) -> None:
    result = Comparison("standard", {"Cu": 0.5, "Zr": 0.5}, [model("a", 1.0), model("b", 1.2)], [])
    page = write_comparison(result, tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("stress-strain", "displacements", "relaxation-times"):
        assert f'id="{name}"' in page
    assert "1.5 ± 0.1 (4)" in page
    assert "a: 12 of 20 samples have a result." in page
