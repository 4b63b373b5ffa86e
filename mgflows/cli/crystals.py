"""``mgflows crystals``: the crystals of an alloy, shipped or from a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import FiniteFloat, directory_option, json_option, print_json
from mgflows.cli.paths import check_output, force_option
from mgflows.cli.tables import make_console, print_table
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.structures.crystals import AnyCrystal

_COLUMNS = ("id", "formula", "space group", "atoms", "status", "source")
_SYMBOLS = re.compile(r"([A-Z][a-z]?)[\d.]*")


@click.command()
@click.argument("elements", nargs=-1, required=True)
@click.option(
    "--provider",
    type=click.Choice(["shipped", "mp", "optimade"]),
    default="shipped",
    show_default=True,
    help="Table of mgflows, Materials Project (needs a key) or OPTIMADE databases.",
)
@click.option(
    "--database",
    "databases",
    multiple=True,
    default=("mp",),
    show_default=True,
    help="OPTIMADE database, by name or base URL; repeatable.",
)
@click.option(
    "--max-atoms",
    type=click.IntRange(min=1),
    default=70,
    show_default=True,
    help="Largest number of atoms in the cell.",
)
@click.option(
    "--above-hull",
    type=FiniteFloat(min=0.0),
    default=0.1,
    show_default=True,
    help="Materials Project: largest energy above the hull, eV/atom.",
)
@click.option(
    "--observed-only",
    is_flag=True,
    help="Leave out crystals that the provider marks as computed only.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the file for LabelFlowMaker(crystals=load_crystals(file)).",
)
@force_option
@directory_option
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@json_option
def crystals(
    elements: tuple[str, ...],
    provider: str,
    databases: tuple[str, ...],
    max_atoms: int,
    above_hull: float,
    observed_only: bool,
    output: Path | None,
    force: bool,
    directory: Path | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """List the crystals of ELEMENTS, such as Cu Zr Al or CuZrAl, and of all their subsystems."""
    from mgflows.structures.crystal_databases import (
        crystals_from_materials_project,
        crystals_from_optimade,
        save_crystals,
    )
    from mgflows.structures.crystals import crystal_prototypes

    species = _species(elements)
    if output:
        check_output(output, force=force)
    query: dict[str, Any] = {"species": species, "max_atoms": max_atoms}
    found: Sequence[AnyCrystal]
    if provider == "mp":
        from mgflows.settings import Settings, materials_project_key

        query |= {"energy_above_hull": above_hull, "observed_only": observed_only}
        found = crystals_from_materials_project(
            species,
            api_key=materials_project_key(Settings.load(directory)),
            energy_above_hull=above_hull,
            max_atoms=max_atoms,
            observed_only=observed_only,
        )
    elif provider == "optimade":
        query["providers"] = list(databases)
        found = crystals_from_optimade(species, databases, max_atoms=max_atoms)
    else:
        query["observed_only"] = observed_only
        found = [
            crystal for crystal in crystal_prototypes(species) if len(crystal.atoms()) <= max_atoms
        ]
        found = [crystal for crystal in found if crystal.status == "observed" or not observed_only]
    rows = [_row(crystal) for crystal in found]
    if output:
        save_crystals(output, found, provider=provider, query=query)
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    elif markdown:
        click.echo(
            "\n".join(
                f"| {' | '.join(row)} |" for row in (_COLUMNS, ["---"] * len(_COLUMNS), *rows)
            )
        )
    else:
        _print(rows, output)


def _species(elements: Sequence[str]) -> list[str]:
    text = "".join(elements)
    symbols = _SYMBOLS.findall(text)
    if not symbols or _SYMBOLS.sub("", text):
        raise InputError(
            f"{' '.join(elements)!r} is not a list of elements",
            hint="give symbols, such as Cu Zr Al or CuZrAl",
        )
    return list(dict.fromkeys(symbols))


def _row(crystal: AnyCrystal) -> list[str]:
    from mgflows.structures.crystal_databases import space_group_of

    atoms = crystal.atoms()
    return [
        crystal.identifier,
        atoms.symbols.formula.reduce()[0].format("metal"),
        space_group_of(crystal),
        str(len(atoms)),
        crystal.status,
        crystal.source,
    ]


def _print(rows: Sequence[Sequence[str]], output: Path | None) -> None:
    console = make_console()
    print_table(console, _COLUMNS, rows, numbers=("atoms",), optional=("source",))
    written = f" written to {output}" if output else ""
    console.print(f"{plural(len(rows), 'crystal')}{written}", markup=False)
