"""``mgflows converge``: which cutoff and which k-spacing a cell needs."""

from __future__ import annotations

import importlib
from contextlib import chdir
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import json_option, print_json
from mgflows.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.methods.convergence import Convergence

_METHODS = {
    "gpaw": "mgflows.methods.gpaw.GpawMethod",
    "espresso": "mgflows.methods.espresso.EspressoMethod",
    "cp2k": "mgflows.methods.cp2k.Cp2kMethod",
}


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[float]:  # noqa: ARG001
    try:
        return [float(word) for word in value.split(",") if word.strip()]
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a list of numbers such as 400,500,600"
        ) from error


@click.command()
@click.argument("structure", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--code",
    default="gpaw",
    show_default=True,
    help=f"{', '.join(_METHODS)}, or the import path of a method of labelling.",
)
@click.option(
    "--cutoffs",
    default="300,400,500,600,800",
    show_default=True,
    callback=_numbers,
    help="eV; empty leaves the series out.",
)
@click.option(
    "--k-spacings",
    default="0.5,0.35,0.25,0.162",
    show_default=True,
    callback=_numbers,
    help="1/Å; empty leaves the series out.",
)
@click.option(
    "--cutoff",
    type=float,
    default=None,
    help="eV, in the series over k-spacings; by default the method's.",
)
@click.option(
    "--k-spacing",
    type=float,
    default=None,
    help="1/Å, in the series over cutoffs; by default the method's.",
)
@click.option(
    "--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="MPI processes."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Also draw it, to this SVG, PDF or PNG file.",
)
@json_option
def converge(
    structure: Path,
    code: str,
    cutoffs: list[float],
    k_spacings: list[float],
    cutoff: float | None,
    k_spacing: float | None,
    ranks: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Label the cell in the file STRUCTURE with a series of cutoffs and one of k-meshes, and say which are enough.

    Energy, forces and stress are compared with those of the finest setting of each series. Take a small cell with forces of its own, such as a rattled crystal.
    The code's own files go to a folder named after STRUCTURE, such as cell-convergence.
    """
    from rich.console import Console

    from mgflows.methods.convergence import convergence

    changes: dict[str, Any] = {"n_ranks": ranks}
    changes |= {
        name: value
        for name, value in {"cutoff": cutoff, "k_spacing": k_spacing}.items()
        if value is not None
    }
    method = replace(_method(code), **changes)
    atoms = _read(structure)
    series = {
        name: values
        for name, values in {"cutoff": cutoffs, "k_spacing": k_spacings}.items()
        if values
    }
    if not series:
        raise InputError(
            "there is neither a cutoff nor a k-spacing to try; give --cutoffs or --k-spacings"
        )
    log = Console(stderr=True)
    files = Path(f"{structure.stem}-convergence")
    files.mkdir(exist_ok=True)
    with chdir(files):
        results = [
            convergence(
                atoms,
                method,
                name,
                values,
                lambda line: log.print(f"[dim]{line}[/]", highlight=False),
            )
            for name, values in series.items()
        ]
    if output:
        _draw(results, output)
    if as_json:
        print_json([_plain(result) for result in results])
        return
    console = Console()
    for result in results:
        other = (
            f"k-spacing {method.k_spacing:g}/Å"
            if result.parameter == "cutoff"
            else f"cutoff {method.cutoff:g} eV"
        )
        console.print(f"[bold]{atoms.get_chemical_formula()}, {code}, {other}[/]", highlight=False)
        _print(result, console)


def _method(code: str) -> Any:
    module, _, name = _METHODS.get(code, code).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"the code {code!r} is not known ({error}); choose one of {', '.join(_METHODS)} or give the import path of a method"
        ) from error


def _read(path: Path) -> Atoms:
    from ase.io import read

    try:
        atoms = read(path)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a structure ({error}); give a file that ASE reads, such as extended XYZ"
        ) from error
    if not atoms.pbc.all():
        raise InputError(
            f"{path} is not periodic in all directions; labels are made of periodic cells"
        )
    return atoms


def _plain(result: Convergence) -> dict[str, Any]:
    recommended = result.recommended
    return {
        "parameter": result.parameter,
        "points": [asdict(point) | {"good": point.is_good} for point in result.points],
        "pressure": result.pressure,
        "recommended": None if recommended is None else recommended.value,
        "advice": result.advice,
    }


def _print(result: Convergence, console: Any) -> None:
    from rich import box
    from rich.table import Table

    from mgflows.methods.convergence import ENERGY_THRESHOLD, FORCE_THRESHOLD, STRESS_THRESHOLD

    title = {"cutoff": "cutoff (eV)", "k_spacing": "k-spacing (1/Å)"}[result.parameter]
    table = Table(box=box.SIMPLE_HEAD)
    for name in (
        title,
        "k-mesh",
        "total E (meV/atom)",
        "E (meV/atom)",
        "F (eV/Å)",
        "P (GPa)",
        "deviator (GPa)",
        "CPU s",
        "",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for point in result.points:
        last, chosen = point is result.points[-1], point is result.recommended
        mark = "finest" if last else "[green]enough[/]" if chosen else ""
        differences = (
            f"{point.total_energy:+.1f}",
            f"{point.energy:+.2f}",
            f"{point.force:.4f}",
            f"{point.pressure:+.2f}",
            f"{point.deviator:.3f}",
        )
        cells = [""] * 5 if last else list(differences)
        table.add_row(
            f"{point.value:g}",
            "x".join(map(str, point.mesh)),
            *cells,
            f"{point.cpu_seconds:.0f}",
            mark,
        )
    console.print(table)
    console.print(result.advice, highlight=False, soft_wrap=True)
    console.print(
        f"[dim]differences from the finest setting ({result.pressure:.2f} GPa); enough: E {ENERGY_THRESHOLD:g} meV/atom (of an expansion by 3 % in length; the total "
        f"energy does not count), F {FORCE_THRESHOLD:g} eV/Å, P and deviator {STRESS_THRESHOLD:g} GPa[/]",
        highlight=False,
        soft_wrap=True,
    )


def _draw(results: list[Convergence], path: Path) -> None:
    from mgflows.errors import require
    from mgflows.methods.convergence import ENERGY_THRESHOLD, FORCE_THRESHOLD, STRESS_THRESHOLD

    figures = require("matplotlib.figure", "report", "a figure")
    figure = figures.Figure(figsize=(3.2 * len(results), 3.0), layout="constrained")
    for axes, result in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results, strict=True
    ):
        values = [point.value for point in result.points[:-1]]
        for label, threshold, name in (
            ("energy", ENERGY_THRESHOLD, "energy"),
            ("force", FORCE_THRESHOLD, "force"),
            ("pressure", STRESS_THRESHOLD, "pressure"),
            ("deviator", STRESS_THRESHOLD, "deviator"),
        ):
            axes.plot(
                values,
                [max(abs(getattr(point, name)) / threshold, 1e-3) for point in result.points[:-1]],
                "o-",
                label=label,
            )
        axes.axhline(1.0, color="gray", linewidth=1.0)
        axes.set_yscale("log")
        axes.set_xlabel({"cutoff": "cutoff (eV)", "k_spacing": "k-spacing (1/Å)"}[result.parameter])
        if result.parameter == "k_spacing":
            axes.invert_xaxis()
    figure.axes[0].set_ylabel("difference from the finest / threshold")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path)
