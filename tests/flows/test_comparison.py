"""A validation as a flow: one job per sample, a collector, later samples."""

from __future__ import annotations

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from mgflows.errors import InputError
from mgflows.flows.comparison import ComparisonFlowMaker
from mgflows.flows.tags import all_jobs
from mgflows.md.potentials import CalculatorPotential, StandInPotential
from mgflows.schemas.comparison import ComparisonDocument, ValidationSampleDocument
from mgflows.validation.elasticity import relax_to_zero_stress
from mgflows.validation.plan import PROTOCOLS, SuiteProtocol
from tests.helpers.calculators import disordered_atoms, lennard_jones

GLASSY = SuiteProtocol(
    n_glasses=2,
    shear_directions=("xy",),
    n_quenches=1,
    quench_atoms=0,
    cooling_rate=4e4,
    hold_time=0.1,
    n_frames=2,
    melt_temperatures=(),
    equilibration_time=0.05,
    hot_time=0.1,
    drift_time=0.02,
)
LENNARD_JONES = CalculatorPotential(
    "tests.helpers.calculators:lennard_jones_of", {"symbols": ["Cu", "Zr"]}
)


@pytest.fixture
def disordered():
    return relax_to_zero_stress(disordered_atoms(), lennard_jones("Cu", "Zr"), 1e-3)


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


@pytest.mark.slow
def test_samples_are_documents_and_more_are_added_later(disordered, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PROTOCOLS, "tiny", GLASSY)
    glasses = [disordered, disordered]
    maker = ComparisonFlowMaker.of_suite("peers", "tiny")
    flow = maker.make([LENNARD_JONES], glasses, [-2.0, None])
    jobs = all_jobs(flow)
    assert [job.metadata["mgflows"]["stage"] for job in jobs] == ["validation"] * 5
    assert {job.metadata["mgflows"]["campaign"] for job in jobs} == {"peers"}
    assert {job.config.manager_config["_category"] for job in jobs} == {"md"}
    # One sample fails: the collector runs nevertheless.
    jobs[2].function_kwargs["label_energy"] = "not a number"
    run_locally(flow, store=store, raise_immediately=False, ensure_success=False)
    document = ComparisonDocument.model_validate(store.get_output(jobs[-1].uuid, load=True))
    (model,) = document.models
    assert (model.n_done, model.n_planned) == (3, 4)
    assert model.failures["samples"] == "1 of 4 samples have no result"
    assert model.estimates["bulk_modulus"].n_samples == 1
    assert model.estimates["density"].n_samples == 1
    samples = list(store.query({"output.@class": ValidationSampleDocument.__name__}))
    assert {sample["output"]["kind"] for sample in samples} == {"soundness", "glass", "quench"}
    assert all(sample["output"]["provenance"]["cpu_seconds"] > 0.0 for sample in samples)

    more = ComparisonFlowMaker.of_suite("peers", "tiny", first=1).make([LENNARD_JONES], glasses)
    assert len(all_jobs(more)) == 2
    run_locally(more, store=store, ensure_success=True)
    later = ComparisonDocument.model_validate(store.get_output(all_jobs(more)[-1].uuid, load=True))
    density = later.models[0].estimates["density"]
    assert density.n_samples == 2
    assert density.error > 0.0
    assert "radial distribution" in later.curves[later.models[0].name]


def test_what_cannot_run_is_refused_before_anything_is_submitted():
    atoms = disordered_atoms()
    maker = ComparisonFlowMaker.of_suite("peers", "tiny")
    with pytest.raises(InputError, match="cannot be built by another process"):
        maker.make([CalculatorPotential(instance=lennard_jones("Cu", "Zr"))], [atoms])
    atoms.symbols[0] = "Ni"
    with pytest.raises(InputError, match="not Ni"):
        maker.make([StandInPotential()], [atoms])
    with pytest.raises(InputError, match="no glass"):
        maker.make([StandInPotential()], [])
