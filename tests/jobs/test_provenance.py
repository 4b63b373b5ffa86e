"""Provenance records every setting of a Maker."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from dataclasses import fields
from pathlib import Path

import pytest
from jobflow import Maker

import mgflows.flows
import mgflows.jobs
from mgflows.alloy import Alloy
from mgflows.jobs.clock import SurrogateMDMaker
from mgflows.jobs.strain import DeformationMaker
from mgflows.schemas.provenance import maker_settings

PACKAGES = (mgflows.jobs, mgflows.flows)


def _subclasses(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _makers():
    """Makers that record provenance, themselves or by a class that they inherit from."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    names = tuple(f"{package.__name__}." for package in PACKAGES)
    found = [
        maker
        for maker in set(_subclasses(Maker))
        if maker.__module__.startswith(names)
        and any(
            "record_provenance(" in inspect.getsource(each)
            for each in maker.__mro__
            if each.__module__.startswith(names)
        )
    ]
    return sorted(found, key=lambda maker: maker.__name__)


MAKERS = _makers()


def test_makers_are_found():
    names = {maker.__name__ for maker in MAKERS}
    assert {"ActiveLearningFlowMaker", "CommitteeMemberMaker", "ComparisonMaker"} < names
    assert len(names) >= 32


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_every_field_of_a_maker_is_recorded(maker):
    settings = maker_settings(maker(), seed=3)
    assert settings["maker"] == maker.__name__
    assert settings["seed"] == 3
    assert {field.name for field in fields(maker)} <= settings.keys()


def test_settings_are_collected_by_the_helper():
    n_calls, others = 0, []
    for path in sorted(
        file for package in PACKAGES for file in Path(package.__path__[0]).glob("*.py")
    ):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            collected = {
                target.id
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and _calls(node.value, "maker_settings")
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call in ast.walk(function):
                if not _calls(call, "record_provenance"):
                    continue
                n_calls += 1
                given = {keyword.arg: keyword.value for keyword in call.keywords}.get("settings")
                is_collected = isinstance(given, ast.Name) and given.id in collected
                if not (is_collected or _calls(given, "maker_settings")):
                    others.append(f"{path.name}:{call.lineno}")
    assert n_calls >= 26
    assert others == []


def _calls(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


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
