"""Provenance records every setting of a Maker."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mgflows.alloy import Alloy
from mgflows.jobs.clock import SupercoolingMaker, SurrogateMDMaker
from mgflows.jobs.dataset import DatasetMaker
from mgflows.jobs.fitness import FitnessMaker, SimilarityMaker
from mgflows.jobs.heating import AseHeatingMaker, TrajectoryCheckMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.jobs.onset import OnsetMaker
from mgflows.jobs.quench import QuenchMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.jobs.strain import DeformationMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.jobs.validation import ValidationMaker
from mgflows.jobs.vasp import VaspHeatingMaker, VaspLabelMaker, VaspRelaxMaker
from mgflows.schemas.provenance import maker_settings

MAKERS = [
    AseHeatingMaker,
    AseLabelMaker,
    AseRelaxMaker,
    DatasetMaker,
    DeformationMaker,
    FitnessMaker,
    OnsetMaker,
    QuenchMaker,
    SimilarityMaker,
    SupercoolingMaker,
    SurrogateMDMaker,
    SwapMonteCarloMaker,
    TrainingMaker,
    TrajectoryCheckMaker,
    ValidationMaker,
    VaspHeatingMaker,
    VaspLabelMaker,
    VaspRelaxMaker,
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_every_field_of_a_maker_is_recorded(maker):
    settings = maker_settings(maker(), seed=3)
    assert settings["maker"] == maker.__name__
    assert settings["seed"] == 3
    assert {field.name for field in fields(maker)} <= settings.keys()


def test_nested_settings_are_plain_values_with_the_name_of_their_class():
    settings = maker_settings(SurrogateMDMaker(), alloy=Alloy.cuzral(n_atoms=24))
    assert settings["thresholds"]["class"] == "OrderThresholds"
    assert settings["thresholds"]["cna_555_fraction"] == 0.45
    assert settings["alloy"]["n_atoms"] == 24
    assert "@module" not in str(settings)


def test_a_document_has_the_settings_of_its_maker(run):
    from ase.build import bulk

    from mgflows.schemas.labels import structure_from_atoms

    structure = structure_from_atoms(bulk("Cu", cubic=True))
    document = run(DeformationMaker(kind="volume").make(structure))
    assert document["provenance"]["settings"] == {
        "maker": "DeformationMaker",
        "name": "deform",
        "kind": "volume",
    }
