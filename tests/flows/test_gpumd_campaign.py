"""A campaign with GPUMD's ``nep``; a script in its place returns a trained potential."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mgflows.database import GlassDatabase
from mgflows.launch import worker
from mgflows.launch.campaigns import submit
from mgflows.nep import GpumdTrainer, validate_nep_text
from tests.helpers.small_campaign import smallest_campaign

POTENTIAL = Path(__file__).parents[1] / "data" / "tiny_nep.txt"
NEP = """#!{python}
print("GPUMD version 5.6")
settings = dict(line.split(None, 1) for line in open("nep.in") if line.strip())
open("nep.restart", "w").write("0.1 0.1\\n" * {parameters})
step = settings["generation"].strip()
open("loss.out", "a").write(step + " 1.00 1.00 1.00 0.01 0.10 0.10 0.02 0.20 0.20\\n")
open("nep.txt", "w").write(open("{potential}").read())
"""


@pytest.mark.slow
@pytest.mark.mongo
def test_a_campaign_with_gpumd_uses_the_command_of_the_worker(settings, tmp_path, caplog):
    parameters = validate_nep_text(POTENTIAL.read_text())
    executable = tmp_path / "nep of this machine"
    executable.write_text(
        NEP.format(
            python=sys.executable, parameters=parameters.number_of_parameters, potential=POTENTIAL
        )
    )
    executable.chmod(0o755)
    settings.nep_command = f"'{executable}'"
    campaign = replace(smallest_campaign("evolved"), validation_maker=None)
    for flow_maker in (campaign.training_maker, campaign.retraining_maker):
        flow_maker.comparison_maker = None
        flow_maker.training_maker.trainer = GpumdTrainer()
        flow_maker.training_maker.parameters = parameters
    submit(campaign.make(), settings)
    with caplog.at_level(logging.WARNING):
        assert worker.work(settings) == worker.ExitCode.DONE
    potentials = sorted(
        GlassDatabase(settings).potentials("evolved"), key=lambda potential: potential.generation
    )
    assert [(potential.generation, potential.started_from) for potential in potentials] == [
        (0, None),
        (1, None),
    ]
    assert {potential.trainer.settings["command"] for potential in potentials} == {
        settings.nep_command
    }
    assert {potential.trainer.version for potential in potentials} == {"gpumd 5.6"}
    assert {potential.nep_txt for potential in potentials} == {POTENTIAL.read_text()}
