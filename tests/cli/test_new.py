"""``mgflows new``, ``run`` and ``submit``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mgflows.machine import PrivateMongod
from mgflows.machine.new_campaign import load_campaign
from mgflows.settings import Settings


def test_new_shows_what_will_happen_and_overwrites_nothing(run, tmp_path) -> None:
    code, out, err = run(
        "new", "Zr50Cu40Ni10", "--scale", "tiny", "--glass-density", "7.4", "--no-database"
    )
    assert code == 0, err
    words = " ".join(out.split())
    assert "Ni 2.283 0.516" in words
    assert "exchanges: Ni-Cu, Cu-Zr" in words
    assert "8.81 g/cm3 in the samples, 1.20 times the mixed elements (7.33), 1.19 times" in words
    assert "not DFT" in words
    assert "mgflows run Zr50Cu40Ni10" in words
    folder = tmp_path / "Zr50Cu40Ni10"
    assert sorted(path.name for path in folder.iterdir()) == ["campaign.py", "mgflows.yaml"]
    assert re.search(r"sampling \d+ <?[\d.]+ labels \d+ <?[\d.]+ training \d+ <?[\d.]+ ", words)
    assert re.search(r"rough estimates: a label took [\d.]+ core seconds here", words)
    assert out.rstrip().endswith("mgflows run Zr50Cu40Ni10")
    code, _, err = run("new", "Zr50Cu40Ni10")
    assert code == 2
    assert "exists already; choose another --directory or overwrite with --force" in err


def test_new_as_json(run) -> None:
    code, out, _ = run(
        "new", "Cu46Zr46Al8", "--label-with", "gpaw", "--scale", "paper", "--json", "--no-database",
        "--teacher", "stand-in", "--target-energy", "2",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["teacher"].startswith("stand-in EAM")
    assert "ErrorTarget(energy=2.0)" in Path(result["file"]).read_text()
    assert result["density"]["samples"] == pytest.approx(8.46, abs=0.01)
    assert {cost["stage"] for cost in result["cost"]} >= {"sampling", "labels", "feedback"}
    assert result["crystals"] == {"n": 48, "with_all_elements": 3}
    for cost in result["cost"]:
        assert (cost["core_hours"] is None) == (cost["n_unknown"] == cost["n_jobs"])
    assert result["label_cost"]["label"] == 113 * 3600


@pytest.mark.parametrize(
    ("formula", "glass_density", "exchanges"),
    [
        ("Zr46Cu30Ni14Al10", 6.8, ["Ni-Cu", "Cu-Al", "Al-Zr"]),
        ("Pd40Ni40P20", 9.4, ["P-Ni", "Ni-Pd"]),
        ("Mg65Cu25Y10", 3.2, ["Cu-Mg", "Mg-Y"]),
    ],
)
def test_new_for_alloys_of_other_groups(run, formula, glass_density, exchanges) -> None:
    code, out, said = run(
        "new", formula, "--label-with", "gpaw", "--scale", "tiny",
        "--glass-density", str(glass_density), "--json", "--no-database",
    )  # fmt: skip
    assert code == 0, said
    facts = json.loads(out)
    assert facts["exchanges"] == exchanges
    # Only pairs with metalloids are not mixed by the rule of Lorentz and Berthelot.
    assert list(facts["pairs"]) == (["Pd-P", "Ni-P"] if "P" in facts["surrogate"] else [])
    # As compressed as the paper's samples, by the one rule for every composition.
    assert facts["density"]["samples"] / glass_density == pytest.approx(1.2, abs=0.03)


@pytest.mark.parametrize("labels", ["gpaw", "espresso", "cp2k", "vasp"])
def test_new_points_out_what_dft_costs_and_where_it_runs(run, labels) -> None:
    code, out, said = run(
        "new", "Zr50Cu50", "--scale", "tiny", "--label-with", labels, "--no-database"
    )
    assert code == 0, said
    assert "with DFT: in the paper, with VASP, one label of 150 atoms took 113 core hours" in out
    assert "mgflows doctor --category dft" in out
    assert "mgflows submit Zr50Cu50" in out


def test_new_points_out_a_density_and_an_expensive_stage(run) -> None:
    code, out, _ = run(
        "new", "Cu50Zr50", "--scale", "paper", "--mass-density", "6.5", "--glass-density", "6.4",
        "--no-database",
    )  # fmt: skip
    assert code == 0
    warning = "27% less dense than the default for this composition (8.88 g/cm3)"
    assert out.count(warning) == 1
    assert out.splitlines()[-2].startswith("before that: the samples are 27%")
    assert "2% denser than the glass" in out
    assert "feedback needs about" in out


def test_an_absurd_density_can_be_forced(run) -> None:
    forced = ("Zr50Cu50", "--mass-density", "2", "--any-density")
    code, out, said = run("new", *forced, "--scale", "tiny", "--no-database")
    assert code == 0, said
    assert "the samples are 77% less dense than the default" in out
    code, _, said = run("sample", "Cu", "--sweeps", "10", "--samples", "1", "--workers", "1")
    assert code == 0, said
    assert "slowly cooled samples of it crystallise" in said


def test_new_labels_with_a_calculator_and_its_arguments(run, tmp_path) -> None:
    calculator = ("new", "Zr50Cu50", "--scale", "tiny", "--no-database", "--label-with")
    lj, arguments = "ase.calculators.lj.LennardJones", '{"sigma": 2.4, "epsilon": 0.4}'
    code, out, said = run(*calculator, lj, "--label-arguments", arguments, "-C", "lj")
    assert code == 0, said
    assert f"labels: {lj} through ASE" in out
    assert load_campaign(tmp_path / "lj").label_maker.label_maker.method.kwargs == json.loads(
        arguments
    )
    talkative = "tests.helpers.calculators.talkative"
    code, out, said = run(*calculator, talkative, "--json", "-C", "talkative")
    assert (code, json.loads(out)["label_cost"]["is_measured"]) == (0, True)
    assert "ready" in said
    for given, words in (
        ((lj, "--label-arguments", "sigma=2.4"), "'sigma=2.4' is not JSON"),
        ((lj, "--label-arguments", "[1]"), 'is not an object such as {"model": "medium"}'),
        (("gpaw", "--label-arguments", arguments), "'gpaw' take no keyword arguments"),
        (("ase.calculators.eam.EAM",), "the keyword arguments that it needs (--label-arguments)"),
    ):
        code, _, said = run(*calculator, *given, "-C", "other")
        assert (code, words in said) == (2, True), said
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "Zr50Xx50"), "'Xx' is not a chemical element"),
        (("new", "Zr50Cu50", "--label-with", "nope"), "neither a method nor a file"),
        (("new", "Zr50Cu50", "--label-with", "nope.Calc"), "error: the calculator 'nope.Calc'"),
        (
            ("new", "Ca50Mg50"),
            "the stand-in has no parameters for Ca; label with",
        ),
        (("new", "Pd40Ni40P20"), "the stand-in has no parameters for P;"),
        (("new", "Mg65Cu25Y10"), "the stand-in has no parameters for Y;"),
        (("new", "Zr50Cu50", "--atoms", "4"), "at least 8 atoms"),
        (("new", "Cu"), "Cu is a pure element: it forms no glass"),
        (("quickstart", "--alloy", "Cu", "-C", "cu"), "Cu is a pure element: it forms no glass"),
        (
            ("new", "Zr50Cu50", "--mass-density", "2"),
            "2 g/cm3, is 0.23 times the default for this composition, 8.88 g/cm3",
        ),
        (("sample", "Zr50Cu50", "--mass-density", "8880"), "1e+03 times the default"),
        (("new", "Zr50Cu50", "--teacher", "stand-in"), "the method of the campaign itself"),
        (("new", "Zr50Cu50", "--target-force", "nan"), "--target-force"),
        (("run", "nowhere"), "mgflows new FORMULA"),
        (("submit", "nowhere"), "mgflows new FORMULA"),
    ],
)
def test_impossible_campaigns_are_refused_and_leave_nothing(
    run, tmp_path, arguments, words
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def edited(run, tmp_path) -> dict[str, bytes]:
    """Contents of the folder of a campaign whose campaign.py was edited."""
    code, _, said = run("new", "Cu50Zr50", "--scale", "tiny", "--no-database", "-C", "c")
    assert code == 0, said
    with (tmp_path / "c" / "campaign.py").open("a") as stream:
        stream.write("campaign.name = 'mine'\n")
    return contents(tmp_path / "c")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("Cu50Zr50", "--label-with", "typo"),
        ("Cu50Zr50", "--label-with", "nope.Calc"),
        ("Cu50Zr50", "--label-with", "ase.calculators.eam.EAM"),
        ("Cu50Zr50", "--teacher", "stand-in"),
        ("Cu50Y50",),
    ],
)
def test_a_failure_keeps_an_existing_campaign(run, tmp_path, edited, arguments) -> None:
    code, _, _ = run("new", *arguments, "--no-database", "-C", "c", "--force")
    assert code == 2
    assert contents(tmp_path / "c") == edited


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
@pytest.mark.parametrize(
    "interrupted",
    [
        "mgflows.machine.new_campaign.load_campaign",
        "mgflows.machine.estimates.label_cost",
        "mgflows.machine.estimates.stage_costs",
        "mgflows.settings.Settings.write",
        "mgflows.cli.new._start_database",
    ],
)
def test_an_interruption_keeps_an_existing_campaign(
    run, tmp_path, edited, monkeypatch, interrupted, error
) -> None:
    def interrupt(*_: object) -> None:
        raise error

    monkeypatch.setattr(interrupted, interrupt)
    if interrupted.endswith("write"):
        (tmp_path / "c" / "mgflows.yaml").unlink()
        del edited["mgflows.yaml"]
    code, _, _ = run("new", "Cu50Zr50", "--scale", "tiny", "-C", "c", "--force")
    assert code == 130 if error is KeyboardInterrupt else code in (1, 2)
    assert contents(tmp_path / "c") == edited
    if not interrupted.endswith("_start_database"):
        assert run("new", "Cu50Zr50", "--scale", "tiny", "-C", "deep/folder")[0] == code
        assert not (tmp_path / "deep").exists()


def test_force_replaces_an_existing_campaign(run, tmp_path, edited) -> None:
    code, _, said = run(
        "new", "Cu50Zr50", "--scale", "tiny", "--no-database", "-C", "c", "--force", "--seed", "7"
    )
    assert code == 0, said
    found = contents(tmp_path / "c")
    assert b"seed=7" in found["campaign.py"]
    assert b"mine" not in found["campaign.py"]
    assert found["mgflows.yaml"] == edited["mgflows.yaml"]
    assert sorted(found) == ["campaign.py", "mgflows.yaml"]


def test_a_slow_calculator_is_announced_extrapolated_and_leaves_no_files(
    run, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("mgflows.methods.ase._TRIED", set())
    monkeypatch.setattr("mgflows.machine.estimates._MOMENT", 0.05)
    monkeypatch.setattr("mgflows.machine.estimates._LONG", 0.1)
    calculator = (
        "new", "Zr50Cu50", "--scale", "tiny", "--no-database", "--label-with",
        "tests.helpers.slow_calculators.ChildProcess", "--label-arguments", '{"seconds": 0.3}',
    )  # fmt: skip
    code, out, said = run(*calculator)
    assert code == 0, said
    assert "trying tests.helpers.slow_calculators.ChildProcess through ASE on 27 atoms ..." in said
    assert re.search(
        r"rough estimates: a label takes about [\d.]+ core seconds here, [\d.]+ to [\d.]+: "
        r"extrapolated from 27 atoms with the square of their number",
        out,
    )
    assert "with DFT" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["Zr50Cu50"]
    folder = tmp_path / "Zr50Cu50"
    assert sorted(path.name for path in folder.iterdir()) == ["campaign.py", "mgflows.yaml"]


@pytest.mark.mongo
def test_new_starts_the_database(run, tmp_path) -> None:
    try:
        code, out, err = run("new", "Pd40Ni40P20", "--label-with", "gpaw", "-C", "pd")
        assert code == 0, err
        assert "P from covalent radii and enthalpies of mixing" in out
        found = re.search(r"(\d+) labels with DFT: .* that is (\d+) core hours", out)
        n_labels, hours = found.groups()
        assert int(hours) > 113 * int(n_labels) > 0
        assert "not compared with the mixed elements, since mgflows has no crystal of P with" in out
        assert "database: MongoDB runs; stop it with: mgflows db stop -C pd" in out
        assert run("db", "status", "-C", "pd")[0] == 0
    finally:
        PrivateMongod.from_settings(Settings.load(tmp_path / "pd")).stop()


def test_new_reports_why_its_database_does_not_start(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MGFLOWS_MONGOD", str(tmp_path / "nothing"))
    code, out, err = run("new", "Zr50Cu50", "--scale", "tiny", "-C", "zr")
    assert code == 0, err
    assert "the database did not start: " in out
    assert (tmp_path / "zr" / "campaign.py").exists()


@pytest.mark.mongo
def test_submit_adds_the_campaign_once(run, tmp_path) -> None:
    assert run("new", "Zr50Cu50", "--scale", "tiny", "-C", "zr")[0] == 0
    try:
        code, out, err = run("submit", "zr")
        assert code == 0, err
        assert "submitted Zr50Cu50-tiny" in out
        code, out, _ = run("submit", "zr", "--json")
        assert (code, json.loads(out)["is_new"]) == (0, False)
        code, out, _ = run("status", "-C", "zr")
        assert (code, "Zr50Cu50-tiny" in out) == (0, True)
    finally:
        PrivateMongod.from_settings(Settings.load(tmp_path / "zr")).stop()
