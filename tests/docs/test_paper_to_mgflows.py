"""The page *Paper to mgflows* names parameters that exist, with their defaults."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from mgflows import Alloy
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.jobs import dataset, heating, labels, onset, quench, sampling
from mgflows.md.quench import AIMD_SETTINGS
from mgflows.methods.vasp.method import GLASS_INCAR, VaspMethod
from mgflows.nep import NepParameters
from mgflows.structures import similarity, strain
from mgflows.surrogate import LennardJones, SwapMonteCarlo, fit_supercooling_clock
from mgflows.validation import elasticity, plan, rdf, shear

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "paper_to_mgflows.md"
CALL = re.compile(r"`([A-Za-z_.]+)\((\w+)=([^`]+)\)`")
NAMES: dict[str, Any] = {
    "Alloy.cuzral": Alloy.cuzral,
    "LennardJones.cuzral": LennardJones.cuzral,
    "LennardJones.from_species": LennardJones.from_species,
    "OnsetMaker": onset.OnsetMaker,
    "DatasetMaker": dataset.DatasetMaker,
    "AseHeatingMaker": heating.AseHeatingMaker,
    "AseRelaxMaker": labels.AseRelaxMaker,
    "QuenchMaker": quench.QuenchMaker,
    "SwapMonteCarloMaker": sampling.SwapMonteCarloMaker,
    "SupercoolingMaker": sampling.SupercoolingMaker,
    "compare_structures": similarity.compare_structures,
    "curve_distance": rdf.curve_distance,
    "ShearSettings": shear.ShearSettings,
    "SuiteProtocol": plan.SuiteProtocol,
    **{
        each.__name__: each
        for each in (
            *(FeedbackFlowMaker, LabelFlowMaker, SamplingFlowMaker, SwapMonteCarlo),
            *(VaspMethod, NepParameters, strain.volume_deformations),
            *(strain.elastic_deformations, strain.crystal_deformations),
            *(elasticity.elastic_constants, fit_supercooling_clock),
        )
    },
}
CALLS = CALL.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "parameter", "value"), CALLS, ids=" ".join)
def test_a_parameter_has_the_default_that_the_page_states(name, parameter, value) -> None:
    default = inspect.signature(NAMES[name]).parameters[parameter].default
    assert default == ast.literal_eval(value)


def test_the_page_covers_every_group_of_the_methods() -> None:
    assert len(CALLS) > 40
    assert GLASS_INCAR["ENCUT"] == 450
    assert GLASS_INCAR["EDIFF"] == 1e-6
    assert Alloy.cuzral().n_atoms == 150
    assert (AIMD_SETTINGS.friction, AIMD_SETTINGS.lattice_friction) == (20.0, 5.0)
