from __future__ import annotations

import pytest
from jobflow import run_locally
from jobflow.core.store import JobStore
from maggma.stores import MemoryStore

from mgflows.jobs.quench import QuenchMaker
from mgflows.schemas.labels import structure_from_atoms
from tests.helpers.calculators import lennard_jones


@pytest.mark.faults
def test_a_quench_that_evaporates_fails_and_is_not_labelled(monkeypatch):
    """The structure of an evaporated melt must not reach the label job."""
    from ase.build import bulk

    weak = lennard_jones("Cu", "Al", epsilon=0.03)
    monkeypatch.setattr("mgflows.nep.calculator.nep_calculator", lambda *_: weak)
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    atoms.symbols[::3] = "Al"
    maker = QuenchMaker(timestep=4.0, equilibration_time=2.0)
    job = maker.make(structure_from_atoms(atoms), "nep", "id", 1000.0, 1)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    assert run_locally(job, store=store, log=False, create_folders=False) == {}
    with pytest.raises(RuntimeError, match="evaporates"):
        run_locally(
            maker.make(structure_from_atoms(atoms), "nep", "id", 1000.0, 1),
            store=store,
            log=False,
            create_folders=False,
            raise_immediately=True,
        )
