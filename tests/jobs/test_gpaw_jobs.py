from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mgflows.jobs.labels import AseLabelMaker
from mgflows.methods.gpaw import GpawMethod
from mgflows.schemas.labels import LabelDocument, structure_from_atoms

REFERENCES = Path(__file__).parent.parent / "data" / "dft_reference"


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
def test_a_label_passes_the_gate_and_records_its_method(run):
    atoms = Atoms(
        "ZrCu", scaled_positions=[[0.5, 0.48, 0.51], [0, 0, 0]], cell=[3.26] * 3, pbc=True
    )
    maker = AseLabelMaker(method=GpawMethod(cutoff=300.0, k_spacing=1.0))
    label = LabelDocument.model_validate(run(maker.make(structure_from_atoms(atoms))))
    assert label.structure.species[0].symbol == "Cu"
    # The same calculation in a script of ASE and GPAW alone.
    assert label.energy == pytest.approx(-11.063327, abs=1e-5)
    assert np.array(label.forces)[1] == pytest.approx([0.0, -0.09841, 0.05379], abs=2e-4)
    assert label.quality.not_checked == ["ionic convergence"]
    assert label.quality.k_mesh == (2, 2, 2)
    assert label.fingerprint.is_dft
    assert label.fingerprint.potentials.keys() == {"Cu", "Zr"}
    # GPAW is a separate process: its time counts.
    assert label.provenance.cpu_seconds > 1.0
    assert (Path(label.provenance.directory) / "gpaw.txt").stat().st_size > 1000
