from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Structure

from mgflows import units
from mgflows.errors import InputError
from mgflows.schemas.labels import (
    Frame,
    LabelDocument,
    LabelError,
    MethodFingerprint,
    atoms_from_structure,
    structure_from_atoms,
)
from mgflows.schemas.provenance import record_provenance


@pytest.fixture
def atoms():
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.symbols[:3] = "Al"
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    return atoms


@pytest.fixture
def method():
    return MethodFingerprint(
        code="ase:emt", version="1", settings={"cutoff": 5.0}, description="EMT"
    )


def _document(atoms, method):
    with record_provenance(seed=3) as provenance:
        pass
    return LabelDocument.from_atoms(atoms, method, provenance)


def test_a_label_survives_storage(atoms, method):
    document = _document(atoms, method)
    again = json.loads(json.dumps(document, cls=MontyEncoder), cls=MontyDecoder)
    assert isinstance(again, LabelDocument)
    assert again.frames[0].frame_id == document.summaries[0].frame_id
    labelled = again.frames[0].to_atoms(subset="crystal")
    assert labelled.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert labelled.get_forces() == pytest.approx(atoms.get_forces())
    assert labelled.get_stress() == pytest.approx(atoms.get_stress())
    assert labelled.info["subset"] == "crystal"


def test_virial_and_pressure_of_a_label(atoms, method):
    document = _document(atoms, method)
    stress = atoms.get_stress(voigt=False)
    assert np.array(document.virial) == pytest.approx(-atoms.get_volume() * stress)
    assert document.pressure == pytest.approx(-np.trace(stress) / 3 * units.EV_PER_A3_IN_GPA)


def test_the_label_of_moving_atoms_has_no_kinetic_part(atoms, method):
    still = Frame.from_atoms(atoms)
    atoms.set_velocities(np.full((len(atoms), 3), 0.05))
    assert np.array(Frame.from_atoms(atoms).stress) == pytest.approx(
        np.array(still.stress), abs=1e-12
    )


def test_the_frame_id_depends_on_every_value_and_not_on_storage(atoms):
    frame = Frame.from_atoms(atoms)
    assert Frame.model_validate(json.loads(frame.model_dump_json())).frame_id == frame.frame_id
    moved = frame.model_copy(
        update={"positions": (np.array(frame.positions) + [[1e-4, 0, 0]] * len(atoms)).tolist()}
    )
    relabelled = frame.model_copy(update={"energy": frame.energy + 1e-4})
    assert len({frame.frame_id, moved.frame_id, relabelled.frame_id}) == 3
    # Negative zeros and digits beyond the rounding are storage, not change.
    same = frame.model_copy(
        update={
            "cell": [[value if value else -0.0 for value in row] for row in frame.cell],
            "energy": frame.energy + 1e-9,
        }
    )
    assert same.frame_id == frame.frame_id


def test_labels_that_cannot_be_true_are_refused(atoms, method):
    atoms.positions[1] = atoms.positions[0] + 0.2
    with pytest.raises(LabelError, match="overlap"):
        Frame.from_atoms(atoms)

    class Broken(EMT):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["energy"] = self.results["free_energy"] = np.nan

    atoms.calc = Broken()
    with pytest.raises(LabelError, match=r"energy of .* not finite"):
        Frame.from_atoms(atoms)
    with (
        pytest.raises(LabelError, match="no structure could be labelled: a: broken"),
        record_provenance() as provenance,
    ):
        LabelDocument.from_frames([], method, provenance, failed=["a: broken"])


def test_a_free_energy_that_is_not_announced_is_the_energy(atoms):
    class Unannounced(EMT):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["free_energy"] = self.results["energy"] - 1.0

    energy = atoms.get_potential_energy()
    atoms.calc = Unannounced()
    assert Frame.from_atoms(atoms).energy == pytest.approx(energy - 1.0)


def test_fingerprints_distinguish_methods(method):
    finer = method.model_copy(update={"settings": {"cutoff": 6.0}})
    described = method.model_copy(update={"description": "another word for the same"})
    assert described.digest == method.digest != finer.digest
    assert method.differences(finer) == ["cutoff: 5.0 against 6.0"]


def test_invalid_structures_are_refused():
    disordered = Structure(np.eye(3) * 3, [{"Cu": 0.5, "Zr": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="partially occupied"):
        atoms_from_structure(disordered)
    with pytest.raises(InputError, match="failed"):
        atoms_from_structure(None)


def test_atoms_and_structures_keep_cell_and_positions(atoms):
    atoms.set_cell(atoms.cell + [[0, 0.1, 0], [0, 0, 0.2], [0.3, 0, 0]])
    again = atoms_from_structure(structure_from_atoms(atoms))
    assert again.cell.array == pytest.approx(atoms.cell.array)
    assert again.positions == pytest.approx(atoms.positions)
    assert list(again.symbols) == list(atoms.symbols)


def test_provenance_measures_the_work():
    with record_provenance(seed=7, settings={"a": 1}) as provenance:
        sum(i * i for i in range(2_000_000))
    assert provenance.seed == 7
    assert 0.0 < provenance.cpu_seconds <= provenance.wall_seconds * 4
    assert provenance.packages["jobflow"]
