"""The same campaign without FireWorks: jobflow runs it in one process."""

from __future__ import annotations

import pytest
from jobflow import run_locally

from mgflows.connections import open_job_store
from mgflows.flows.tags import all_jobs
from mgflows.schemas.training import PotentialDocument
from tests.helpers.small_campaign import smallest_campaign


@pytest.mark.slow
@pytest.mark.mongo
def test_a_campaign_runs_under_run_locally(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_job_store(settings)
    flow = smallest_campaign().make()
    responses = run_locally(flow, store=store, create_folders=True, log=False)
    assert set(responses) == {job.uuid for job in all_jobs(flow)}
    potential = PotentialDocument.model_validate(
        store.get_output(flow.output["potential"].uuid, load=True)
    )
    assert potential.generation == 1
    assert potential.nep_txt.startswith("nep4")
    validation = store.get_output(flow.output["validation"].uuid, load=True)
    assert validation["potential_id"] == potential.potential_id
