from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgflows.structures.crystal_databases import load_crystals
from mgflows.structures.crystals import crystal_prototypes

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs" / "how_to" / "crystals.md"


@pytest.fixture
def run(run: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return partial(run, "crystals")


@pytest.mark.parametrize("elements", [("Cu", "Zr", "Al"), ("CuZrAl",), ("Cu46Zr46Al8",)])
def test_a_table_lists_the_shipped_crystals(
    run: Callable[..., tuple[int, str, str]], elements: tuple[str, ...]
) -> None:
    code, out, _ = run(*elements)
    shipped = crystal_prototypes(("Cu", "Zr", "Al"))
    assert code == 0
    assert f"{len(shipped)} crystals" in out
    assert re.search(r"mgflows:Cu10Zr7-oS68 +Cu10Zr7 +Cmce \(64\) +68 +observed", out)


def test_a_campaign_accepts_the_file(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, _ = run(
        "Cu", "Zr", "--observed-only", "--max-atoms", "24", "--output", "crystals.json", "--json"
    )
    assert code == 0
    crystals = load_crystals(tmp_path / "crystals.json")
    assert [crystal.identifier for crystal in crystals] == [row["id"] for row in json.loads(out)]
    assert {crystal.species for crystal in crystals} == {("Cu",), ("Zr",), ("Cu", "Zr")}
    assert all(crystal.status == "observed" and len(crystal.symbols) <= 24 for crystal in crystals)
    assert json.loads((tmp_path / "crystals.json").read_text())["query"]["max_atoms"] == 24


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cu",), "'cu' is not a list of elements"),
        (("Cu", "Xx"), "'Xx' is not a chemical element"),
        (
            ("Cu", "--provider", "optimade", "--database", "icsd"),
            "there is no OPTIMADE provider 'icsd'",
        ),
        (("Cu", "--provider", "optimade", "--database", "http://127.0.0.1:9"), "gave no answer"),
    ],
)
def test_errors_are_one_sentence(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, printed = run(*arguments, "--output", "crystals.json")
    assert code == 2
    assert printed.startswith("error: ")
    assert words in printed
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_the_command_prints_the_table_of_the_documentation(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = run("Cu", "Zr", "Al", "--markdown")
    assert code == 0
    assert out.strip() in DOCS.read_text(encoding="utf-8")
