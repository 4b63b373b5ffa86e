"""Folders of campaigns, without a database."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mgflows.errors import InputError
from mgflows.flows.scales import stand_in_campaign
from mgflows.flows.tags import all_jobs
from mgflows.flows.teacher import TeacherFlowMaker
from mgflows.machine.estimates import LabelCost, label_cost, stage_costs
from mgflows.machine.local_campaign import add_wall_seconds, check_directory, start
from mgflows.machine.new_campaign import (
    CampaignRequest,
    Rounds,
    Teacher,
    alloy_for,
    campaign_folder,
    demonstration,
    load_campaign,
    method_source,
    write_campaign,
)
from mgflows.methods.ase import AseMethod
from mgflows.nep import ErrorTarget
from mgflows.surrogate import LennardJones

NEP = "mgflows.nep.nep_calculator"
TINY_POTENTIAL = Path(__file__).parents[1] / "data" / "tiny_nep.txt"
ALLOY = alloy_for("Zr50Cu40Ni10", LennardJones.for_species(("Zr", "Cu", "Ni")), 120)


def request(labels: str = "stand-in", scale: str = "tiny", **changes) -> CampaignRequest:
    return CampaignRequest(
        changes.pop("formula", "Zr50Cu40Ni10"), ALLOY.number_density, 120, labels, scale, **changes
    )


def test_the_density_is_compressed_as_in_the_paper() -> None:
    """The paper's alloy has 1.21 times the density of its glass; others as much over the metals."""
    lj = LennardJones.cuzral()
    assert alloy_for("Cu46Zr46Al8", lj, 150).mass_density == pytest.approx(8.457, abs=0.01)
    volumes = {"Zr": 23.3, "Cu": 11.8, "Ni": 10.9}
    mean = sum(x * volumes[symbol] for symbol, x in ALLOY.composition.items())
    assert ALLOY.number_density * mean == pytest.approx(1.20, abs=0.02)
    assert alloy_for("Zr50Cu50", lj, 100, mass_density=7.0).mass_density == pytest.approx(7.0)


def test_the_file_is_a_campaign_and_well_formed(tmp_path) -> None:
    path = write_campaign(tmp_path, request(seed=5))
    campaign = load_campaign(tmp_path)
    assert campaign.name == "Zr50Cu40Ni10-tiny"
    assert campaign.alloy.counts == {"Zr": 60, "Cu": 48, "Ni": 12}
    assert campaign.alloy.number_density == pytest.approx(ALLOY.number_density, rel=1e-5)
    assert campaign.label_maker.label_maker.method == AseMethod.stand_in(
        ("Zr", "Cu", "Ni"), johnson_mixing=True
    )
    assert "labels from stand-in EAM" in campaign.scaled_down
    command = [sys.executable, "-m", "ruff", "check", "--select", "E,F,I,W", "--line-length", "100"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_teacher_and_rounds_are_written(tmp_path) -> None:
    rounds = Rounds("farthest", force=60.0, label_budget=30)
    taught = request(
        labels="ase.calculators.emt.EMT", rounds=rounds, teacher=Teacher("stand-in", 9)
    )
    path = write_campaign(tmp_path, taught)
    campaign = load_campaign(tmp_path)
    assert campaign.teacher.method == AseMethod.stand_in(("Zr", "Cu", "Ni"), johnson_mixing=True)
    assert campaign.teacher.choice_maker.n_labels == 9
    settings = campaign.rounds_maker.settings
    assert (settings.selection, settings.target) == ("farthest", ErrorTarget(force=60.0))
    assert (settings.label_budget, settings.maximum_rounds) == (30, 5)
    command = [sys.executable, "-m", "ruff", "check", "--select", "E,F,I,W", "--line-length", "100"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_campaign_of_the_paper_alloy_is_that_of_the_quickstart(tmp_path) -> None:
    """Same jobs; only the words on the labels differ."""
    campaign = demonstration("Cu46Zr46Al8", "tiny", seed=3)
    other = stand_in_campaign("tiny", seed=3)
    assert [job.name for job in all_jobs(campaign.make())] == [
        job.name for job in all_jobs(other.make())
    ]
    assert campaign.sampling_maker == other.sampling_maker
    assert campaign.feedback_maker == other.feedback_maker
    assert campaign.retraining_maker == other.retraining_maker
    assert campaign.validation_maker == other.validation_maker


def test_density_functionals_label_everything_but_are_no_reference_of_validations(tmp_path) -> None:
    for labels, name in (("gpaw", "AseLabelMaker"), ("vasp", "VaspLabelMaker")):
        write_campaign(tmp_path, request(labels))
        campaign = load_campaign(tmp_path)
        assert type(campaign.label_maker.label_maker).__name__ == name
        assert type(campaign.feedback_maker.label_maker).__name__ == name
        assert campaign.label_maker.heating_maker.n_steps == 60
        assert campaign.validation_maker.validation_maker.reference is None


def test_a_potential_labels_and_is_the_reference(tmp_path) -> None:
    campaign_request = request(str(TINY_POTENTIAL), formula="Cu46Zr46Al8")
    write_campaign(tmp_path, campaign_request)
    campaign = load_campaign(tmp_path)
    method = campaign.label_maker.label_maker.method
    assert method.kwargs == {"potential": str(TINY_POTENTIAL)}
    assert campaign.validation_maker.validation_maker.reference == method
    with pytest.raises(InputError, match="but not Ni"):
        method_source(str(TINY_POTENTIAL), ALLOY)


def test_the_scale_of_the_paper_is_the_default_campaign(tmp_path) -> None:
    write_campaign(tmp_path, request("ase.calculators.emt.EMT", "paper", formula="Cu50Ni50"))
    campaign = load_campaign(tmp_path)
    assert campaign.scaled_down == ""
    assert max(campaign.sampling_maker.samples)[0] == 100_000_000
    costs = {cost.stage: cost for cost in stage_costs(campaign)}
    assert costs["feedback"].core_hours > 50.0
    assert not any(cost.n_unknown for cost in costs.values())


def test_every_stage_is_estimated_from_the_cost_of_a_label() -> None:
    """The numbers of frames are those of docs/reference/quickstart_results.md."""
    campaign = stand_in_campaign("small")
    hour = 3600.0
    costs = {each.stage: each for each in stage_costs(campaign, LabelCost(hour, 0.0, 0.0, True))}
    # Samples, volumes, distortions, strained crystals, and the last frame of a heating.
    assert costs["labels"].n_labels == 80 + 48 + 288 + 8 * 24 + 1
    assert costs["labels"].core_hours == pytest.approx(costs["labels"].n_labels, abs=0.02)
    assert costs["feedback"].n_labels == 48
    with_relaxations = stage_costs(campaign, LabelCost(0.0, hour, 0.0, True))
    assert with_relaxations[1].core_hours == pytest.approx(10 + 8, abs=0.02)
    with_heatings = stage_costs(campaign, LabelCost(0.0, 0.0, hour, True))
    assert with_heatings[1].core_hours == pytest.approx(4 * 120, abs=0.02)
    measured = label_cost(campaign.label_maker.label_maker, campaign.alloy)
    assert measured.is_measured
    assert 0.0 < measured.heating_step < measured.relaxation
    own = AseMethod("nowhere.Calculator", elements=("Cu", "Zr", "Al"))
    assert label_cost(own, campaign.alloy) is None


def test_the_rounds_and_the_teacher_are_estimated_as_a_lower_limit() -> None:
    teacher = TeacherFlowMaker(method=AseMethod(NEP, {"potential": str(TINY_POTENTIAL)}))
    campaign = replace(stand_in_campaign("tiny"), selection="random", teacher=teacher)
    costs = {each.stage: each for each in stage_costs(campaign)}
    assert costs["feedback"].n_unknown == 1, "the job that decides about further rounds"
    assert costs["labels"].n_labels == teacher.choice_maker.n_labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kampagne = 1\n", "defines nothing as campaign"),
        ("campaign = 1\n", "defines a int as campaign"),
        ("import os\nx = 1 +\n", r"campaign.py, line 2: SyntaxError"),
        ("import os\n\n1 / 0\n", r"campaign.py, line 3: ZeroDivisionError"),
        (
            "from mgflows import Alloy\nAlloy.from_formula('Zz')\n",
            r"campaign.py, line 2: 0 densities are given",
        ),
    ],
)
def test_a_wrong_file_is_explained_by_its_line(tmp_path, text, words) -> None:
    (tmp_path / "campaign.py").write_text(text)
    with pytest.raises(InputError, match=words):
        load_campaign(tmp_path)


def test_a_missing_file_names_the_command(tmp_path) -> None:
    with pytest.raises(InputError, match="mgflows new FORMULA"):
        load_campaign(tmp_path)


def test_every_part_of_another_alloy_uses_its_labels(tmp_path) -> None:
    """No Maker keeps the method of the stand-in campaign that the scale is taken from."""
    write_campaign(tmp_path, request())
    campaign = load_campaign(tmp_path)
    method = campaign.label_maker.label_maker.method
    for stage in (campaign.training_maker, campaign.retraining_maker):
        assert stage.training_maker.reference == method
        assert stage.comparison_maker.acceptance is None
        assert stage.comparison_maker.reference is None
    assert campaign.feedback_maker.label_maker.method == method
    assert campaign.validation_maker.validation_maker.reference == method


def test_the_folder_of_a_campaign_is_found_above_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MGFLOWS_DIRECTORY", raising=False)
    folder = tmp_path / "glass"
    below = folder / "launches" / "one"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert campaign_folder(None, None) == below
    (folder / "campaign.py").write_text("")
    assert campaign_folder(None, None) == folder
    assert campaign_folder(Path("x"), None) == below / "x"
    assert campaign_folder(None, Path("y")) == below / "y"
    monkeypatch.setenv("MGFLOWS_DIRECTORY", str(tmp_path / "z"))
    assert campaign_folder(None, None) == tmp_path / "z"
    with pytest.raises(InputError, match="give one of them"):
        campaign_folder(Path("x"), Path("y"))


def test_results_of_another_campaign_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"campaign": "Cu50Zr50"}')
    maker = stand_in_campaign("tiny")
    with pytest.raises(
        InputError,
        match=r"results of the campaign Cu50Zr50, which those of .* would replace.*delete "
        r"summary\.json",
    ):
        start(maker, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_results_do_not_overwrite_files_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "mgflows.yaml").write_text("n_workers: 1\n")
    (tmp_path / "train.xyz").write_text("mine")
    with pytest.raises(InputError, match=r"holds train\.xyz of something else"):
        check_directory(tmp_path)
    # After a run they are results.
    add_wall_seconds(tmp_path, 1.0)
    check_directory(tmp_path)
