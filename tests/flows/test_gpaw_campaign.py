"""The jobs of the example of a DFT campaign, which takes an hour to run."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mgflows.errors import InputError
from mgflows.flows.tags import all_jobs
from mgflows.jobs.labels import AseRelaxMaker
from mgflows.methods.gpaw import GpawMethod

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "dft_campaign.py"


@pytest.fixture(scope="module")
def maker():
    specification = importlib.util.spec_from_file_location("dft_campaign", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.campaign(300.0, 1.0)


def test_gpaw_labels_each_structure_in_a_separate_job(maker):
    jobs = all_jobs(maker.make())
    tags = [job.metadata["mgflows"] for job in jobs]
    assert Counter(tag["subset"] for tag in tags if tag.get("subset")) == {
        "lj_surrogate": 12,
        "dft_minimized": 2,
        "expanded_compressed": 6,
        "aimd": 2,
        "crystal": 75,
    }
    assert {job.maker.method for job in jobs if hasattr(job.maker, "method")} == {
        GpawMethod(cutoff=300.0, k_spacing=1.0)
    }


def test_two_settings_of_gpaw_in_one_campaign_are_refused(maker):
    other = replace(
        maker.label_maker,
        relax_maker=AseRelaxMaker(method=GpawMethod(cutoff=400.0, k_spacing=1.0)),
    )
    with pytest.raises(InputError, match=r"cutoff: 300\.0 against 400\.0"):
        replace(maker, label_maker=other).make()
