"""Modules and classes of version 0.1 that have another name now."""

from __future__ import annotations

import importlib
import sys

import pytest

from mgflows.moved import MODULES, NAMES

REPLACED = {old: new for old, new in MODULES.items() if new is not None}


@pytest.mark.parametrize("old", REPLACED)
def test_a_module_of_version_0_1_is_the_module_that_replaces_it(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=REPLACED[old]):
        module = importlib.import_module(old)
    assert module is importlib.import_module(REPLACED[old])


def test_classes_exist_once_under_both_names():
    old = importlib.import_module("mgflows.sets.gpaw")
    new = importlib.import_module("mgflows.methods.gpaw")
    assert old.GpawMethod is new.GpawMethod


def test_a_module_that_never_existed_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mgflows.sets.quantum")


@pytest.mark.parametrize("module", sorted(NAMES))
def test_every_renamed_class_leads_to_one_that_exists(module):
    for old, (new_module, new) in NAMES[module].items():
        with pytest.warns(DeprecationWarning, match=new):
            found = getattr(importlib.import_module(module), old)
        assert found is getattr(importlib.import_module(new_module), new)


@pytest.mark.parametrize(
    ("module", "prefix", "method"),
    [
        ("gpaw", "GPAW", "GpawMethod"),
        ("cp2k", "Cp2k", "Cp2kMethod"),
        ("espresso", "Espresso", "EspressoMethod"),
    ],
)
@pytest.mark.parametrize("kind", ["Label", "Relax", "Heating"])
def test_retired_makers_are_the_ase_makers_with_a_method(module, prefix, method, kind):
    retired = getattr(importlib.import_module(f"mgflows.jobs.{module}"), f"{prefix}{kind}Maker")
    current = importlib.import_module(
        "mgflows.jobs.heating" if kind == "Heating" else "mgflows.jobs.labels"
    )
    maker = retired()
    assert isinstance(maker, getattr(current, f"Ase{kind}Maker"))
    assert maker.method == getattr(importlib.import_module(f"mgflows.methods.{module}"), method)()
    assert retired.from_dict(maker.as_dict()) == maker


def test_a_retired_relaxation_keeps_its_number_of_steps():
    assert importlib.import_module("mgflows.jobs.gpaw").GPAWRelaxMaker().max_steps == 300
