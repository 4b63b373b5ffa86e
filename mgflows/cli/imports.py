"""``mgflows import``: import labels of other programs as frames of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    complete_campaigns,
    directory_option,
    json_option,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError
from mgflows.text import plural, rounded

if TYPE_CHECKING:
    from rich.console import Console

    from mgflows.schemas.imports import ImportDocument

_QUANTITIES = {
    "atoms": "atoms",
    "energy_per_atom": "energy (eV/atom)",
    "maximum_force": "largest force (eV/Å)",
    "pressure": "pressure (GPa, + compressed)",
    "density": "density (g/cm³)",
    "volume_per_atom": "volume (Å³/atom)",
}
_SHOWN = 8


@click.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--campaign",
    required=True,
    shell_complete=complete_campaigns,
    help="Campaign of the frames; a new one is registered.",
)
@click.option(
    "--method",
    required=True,
    help="Method of the labels, such as 'VASP 6.4, PBE, 450 eV': part of their fingerprint.",
)
@click.option("--subset", help="Subset of all frames.")
@click.option(
    "--group-by",
    "subset_key",
    metavar="KEY",
    help="Divide the frames into subsets by a key of the file, or by 'folder', 'file' or "
    "'formula'  [default: config_type or subset, where frames have it].",
)
@click.option(
    "--family-by",
    "family_key",
    metavar="KEY",
    help="Frames with the same value of this key stay on one side of a family split  [default: "
    "family, or the folder of a calculation].",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["extxyz", "ase-db", "vasp", "deepmd"]),
    help="Format of the files  [default: by their names].",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="QUANTITY=KEY",
    help="Key of the energy, forces, stress or virial, such as energy=dft_energy; repeatable.",
)
@click.option(
    "--energy-unit",
    type=click.Choice(["eV", "meV", "Ry", "Hartree", "kJ/mol", "kcal/mol"]),
    default="eV",
    show_default=True,
    help="Unit of energies, and of virials.",
)
@click.option(
    "--energy-per",
    type=click.Choice(["cell", "atom"]),
    help="What the energies are given for; virials are those of the cell  [default: cell].",
)
@click.option(
    "--length-unit",
    type=click.Choice(["A", "nm", "bohr"]),
    default="A",
    show_default=True,
    help="Unit of lengths.",
)
@click.option(
    "--stress-unit",
    type=click.Choice(["eV/A^3", "GPa", "kbar", "bar"]),
    default="eV/A^3",
    show_default=True,
    help="Unit of stresses.",
)
@click.option(
    "--stress-sign",
    type=click.Choice(["tension", "compression"]),
    default="tension",
    show_default=True,
    help="State in which the stress is positive; virials are always positive under compression.",
)
@click.option(
    "--dft/--not-dft",
    "is_dft",
    default=None,
    help="Whether the method is a density functional  [default: --dft for outputs of VASP].",
)
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and store nothing.")
@directory_option
@json_option
def import_(
    files: tuple[Path, ...],
    campaign: str,
    method: str,
    subset: str | None,
    subset_key: str | None,
    family_key: str | None,
    form: str | None,
    keys: tuple[str, ...],
    energy_unit: str,
    energy_per: str | None,
    length_unit: str,
    stress_unit: str,
    stress_sign: str,
    is_dft: bool | None,
    dry_run: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Import the labelled structures in FILE... as frames of a campaign.

    A FILE is an extended XYZ file (ASE, GPUMD, MACE), an ASE database, a vasprun.xml or OUTCAR, a
    folder or archive of VASP calculations, or a folder of DeePMD-kit. Keys, units and signs,
    counts and ranges are shown before anything is stored. Running the same command again stores
    nothing.
    """
    from mgflows.database.imports import Importer, Reading, Units

    database = open_database(directory)
    importer = Importer(
        database.mongo,
        database.store,
        files,
        campaign=campaign,
        method=method,
        reading=Reading(
            format=form,  # type: ignore[arg-type]
            keys=_keys(keys),
            units=Units(energy_unit, length_unit, stress_unit, stress_sign, energy_per),  # type: ignore[arg-type]
            subset=subset,
            subset_key=subset_key,
            family_key=family_key,
        ),
        is_dft=is_dft,
    )
    described = importer.survey()
    if not as_json:
        console = make_console()
        _print(console, described)
    if not dry_run:
        described = importer.store_frames(described)
    if as_json:
        print_json({**described.model_dump(), "stored": not dry_run})
    elif dry_run:
        console.print("nothing was stored (--dry-run)")
    else:
        console.print(
            f"stored {plural(described.n_new, 'new frame')} in campaign [bold]{campaign}[/]; "
            f"{described.n_known} were already stored"
        )


def _keys(given: tuple[str, ...]) -> dict[str, str]:
    keys = {}
    for each in given:
        quantity, separator, key = each.partition("=")
        if not (separator and quantity and key):
            raise InputError(f"--key {each} is not QUANTITY=KEY", hint="such as energy=dft_energy")
        keys[quantity] = key
    return keys


def _print(console: Console, found: ImportDocument) -> None:
    for file in found.files:
        console.print(f"{file.name}  {file.format}, {plural(file.n_frames, 'frame')}", markup=False)
    console.print(f"method: {found.fingerprint.description}", markup=False)
    details = {key: value for key, value in found.fingerprint.settings.items() if key != "declared"}
    if details:
        console.print(
            "settings: " + ", ".join(f"{key} {value}" for key, value in details.items()),
            markup=False,
        )
    for element, potential in found.fingerprint.potentials.items():
        console.print(f"potential of {element}: {potential}", markup=False)
    rows = [
        (
            quantity,
            ", ".join(f"{key} ({n})" for key, n in counts.items()),
            found.units.get(quantity, ""),
        )
        for quantity, counts in found.keys.items()
    ]
    console.print(make_table(("quantity", "key (frames)", "unit and sign in the files"), rows))
    limits = [
        (title, rounded(found.ranges[name].smallest), rounded(found.ranges[name].largest))
        for name, title in _QUANTITIES.items()
        if name in found.ranges
    ]
    console.print(
        make_table(("stored as", "smallest", "largest"), limits, numbers=("smallest", "largest"))
    )
    console.print(
        make_table(
            ("subset", "frames"),
            [(subset, str(number)) for subset, number in found.subsets.items()],
            numbers=("frames",),
        )
    )
    shown = list(found.formulas.items())[:_SHOWN]
    console.print(
        f"cells: {', '.join(f'{formula} ({n})' for formula, n in shown)}"
        + (f" and {len(found.formulas) - _SHOWN} more" if len(found.formulas) > _SHOWN else ""),
        markup=False,
    )
    console.print(
        f"frames: {found.n_read} read, {found.n_accepted} accepted, {found.n_new} new, "
        f"{found.n_known} known, {found.n_repeated} repeated; {plural(found.n_families, 'family')}"
    )
    if found.isolated_atoms:
        atoms = ", ".join(f"{each} {energy:.4f}" for each, energy in found.isolated_atoms.items())
        console.print(f"isolated atoms (eV): {atoms}")
    if found.unused_keys:
        console.print(f"keys that are not stored: {', '.join(found.unused_keys)}", markup=False)
    for reason, number in found.refused.items():
        console.print(
            f"refused: {number}, such as {found.examples[reason]}", style="red", markup=False
        )
    for warning in found.warnings:
        console.print(f"check: {warning}", style="yellow", markup=False)
