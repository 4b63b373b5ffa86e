from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from ase.build import bulk

from mgflows.cli.converge import _method

METHOD = "tests.helpers.analytic_method.AnalyticMethod"


@pytest.fixture
def run(run):
    bulk("Cu", cubic=True).write("cu.xyz", format="extxyz")
    return partial(run, "converge")


def test_it_prints_both_series_and_a_recommendation(run, tmp_path):
    code, out, _ = run("cu.xyz", "--code", METHOD, "--output", "convergence.svg")
    assert code == 0
    assert "cutoff 600 eV is the coarsest that agrees with 800 eV" in out
    assert "k-spacing 0.25 1/A, 7x7x7 in this cell" in out
    assert (tmp_path / "convergence.svg").read_text().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "convergence.svg",
        "cu-convergence",
        "cu.xyz",
    ]


def test_json(run):
    code, out, _ = run(
        "cu.xyz", "--code", METHOD, "--cutoffs", "300,400,600", "--k-spacings", "", "--json"
    )
    assert code == 0
    (series,) = json.loads(out)
    assert series["recommended"] is None
    assert [point["good"] for point in series["points"]] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.xyz",), "there is no file missing.xyz"),
        (("cu.xyz", "--code", "siesta"), "the code 'siesta' is unknown"),
        (("cu.xyz", "--cutoffs", "", "--k-spacings", ""), "neither a cutoff nor a k-spacing"),
        (("cu.xyz", "--cutoffs", "low"), "'low' is not a list of numbers"),
    ],
)
def test_bad_input_is_an_error(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err


@pytest.mark.parametrize("code", ["gpaw", "espresso", "cp2k"])
def test_every_plane_wave_code_has_both_series(code):
    method = replace(_method(code), n_ranks=2, cutoff=500.0, k_spacing=0.5)
    assert (method.cutoff, method.k_spacing) == (500.0, 0.5)
