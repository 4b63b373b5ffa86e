"""``mgflows converge``: convergence of labels with cutoff and k-spacing."""

from __future__ import annotations

import importlib
from contextlib import chdir
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import FiniteFloat, NameOrOther, json_option, number_list, print_json
from mgflows.cli.paths import check_output, force_option, read_structures
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError, require

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from mgflows.cli.tables import Cell
    from mgflows.methods.convergence import Convergence

_PLOTS = (".svg", ".pdf", ".png")
_METHODS = {
    "gpaw": "mgflows.methods.gpaw.GpawMethod",
    "espresso": "mgflows.methods.espresso.EspressoMethod",
    "cp2k": "mgflows.methods.cp2k.Cp2kMethod",
}


@click.command()
@click.argument("structure", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--code",
    type=NameOrOther(tuple(_METHODS), "IMPORT"),
    default="gpaw",
    show_default=True,
    help="The code, or the import path of a label method.",
)
@click.option(
    "--cutoffs",
    default="300,400,500,600,800",
    show_default=True,
    callback=number_list,
    help="Cutoffs in eV; empty skips the series.",
)
@click.option(
    "--k-spacings",
    default="0.5,0.35,0.25,0.162",
    show_default=True,
    callback=number_list,
    help="k-spacings in 1/Å; empty skips the series.",
)
@click.option(
    "--cutoff",
    type=FiniteFloat(),
    default=None,
    help="Cutoff in eV of the series over k-spacings  [default: the method's].",
)
@click.option(
    "--k-spacing",
    type=FiniteFloat(),
    default=None,
    help="k-spacing in 1/Å of the series over cutoffs  [default: the method's].",
)
@click.option(
    "--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="MPI processes."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Also plot the series to this SVG, PDF or PNG file.",
)
@force_option
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
    force: bool,
    as_json: bool,
) -> None:
    """Label the cell in the file STRUCTURE at several cutoffs and k-meshes; recommend one of each.

    Energy, forces and stress are compared with those of the finest setting of each series. Use a
    small cell with nonzero forces, such as a rattled crystal. The code's own files go to a
    directory named after STRUCTURE, such as cell-convergence.
    """
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
            "there is neither a cutoff nor a k-spacing to try",
            hint="give --cutoffs or --k-spacings",
        )
    if output:
        _check_plot(output, force=force)
    files = Path(f"{structure.stem}-convergence")
    if not force and files.is_dir() and any(files.iterdir()):
        raise InputError(
            f"{files} has files of an earlier run", hint="move them or overwrite with --force"
        )
    log = make_console(stderr=True)
    files.mkdir(exist_ok=True)
    with chdir(files):
        results = [
            convergence(
                atoms,
                method,
                name,
                values,
                lambda line: log.print(line, style="dim", markup=False),
            )
            for name, values in series.items()
        ]
    if output:
        _draw(results, output)
    if as_json:
        print_json([_plain(result) for result in results])
        return
    console = make_console()
    for result in results:
        other = (
            f"k-spacing {method.k_spacing:g}/Å"
            if result.parameter == "cutoff"
            else f"cutoff {method.cutoff:g} eV"
        )
        console.print(
            f"{atoms.get_chemical_formula()}, {code}, {other}", style="bold", markup=False
        )
        _print(result, console)


def _method(code: str) -> Any:
    module, _, name = _METHODS.get(code, code).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"the code {code!r} is unknown ({error})",
            hint=f"choose one of {', '.join(_METHODS)} or give the import path of a label method",
        ) from error


def _read(path: Path) -> Atoms:
    atoms = read_structures(path)[-1]
    if not atoms.pbc.all():
        raise InputError(
            f"{path} is not periodic in all directions", hint="give a periodic cell, as labels need"
        )
    return atoms


def _check_plot(path: Path, *, force: bool) -> None:
    """Refuse a plot that cannot be written before the labels are computed."""
    require("matplotlib.figure", "report", "a figure")
    if path.suffix.lower() not in _PLOTS:
        raise InputError(
            f"the plot {path} has no known format", hint=f"end its name with {', '.join(_PLOTS)}"
        )
    check_output(path, force=force)


def _plain(result: Convergence) -> dict[str, Any]:
    recommended = result.recommended
    return {
        "parameter": result.parameter,
        "points": [asdict(point) | {"good": point.is_good} for point in result.points],
        "pressure": result.pressure,
        "recommended": None if recommended is None else recommended.value,
        "advice": result.advice,
    }


_TITLES = {"cutoff": "cutoff (eV)", "k_spacing": "k-spacing (1/Å)"}


def _print(result: Convergence, console: Console) -> None:
    from rich.text import Text

    from mgflows.methods.convergence import ENERGY_THRESHOLD, FORCE_THRESHOLD, STRESS_THRESHOLD

    rows: list[list[Cell]] = []
    for point in result.points:
        is_last, is_chosen = point is result.points[-1], point is result.recommended
        differences = (
            f"{point.total_energy:+.1f}",
            f"{point.energy:+.2f}",
            f"{point.force:.4f}",
            f"{point.pressure:+.2f}",
            f"{point.deviator:.3f}",
        )
        rows.append(
            [
                f"{point.value:g}",
                "x".join(map(str, point.mesh)),
                *([""] * len(differences) if is_last else differences),
                f"{point.cpu_seconds:.0f}",
                "finest" if is_last else Text("enough" if is_chosen else "", style="green"),
            ]
        )
    numbers = (_TITLES[result.parameter], "k-mesh", "E tot", "E", "F", "P", "dev.", "CPU s")
    console.print(make_table((*numbers, ""), rows, numbers=numbers))
    console.print(result.advice, soft_wrap=True, markup=False)
    console.print(
        "differences from the finest setting: total energy and E in meV/atom, F in eV/Å, pressure "
        f"P and stress deviator in GPa (P = {result.pressure:.2f} GPa at the finest); enough: E "
        f"{ENERGY_THRESHOLD:g} meV/atom (of an expansion by 3 % in length; the total energy does "
        f"not count), F {FORCE_THRESHOLD:g} eV/Å, P and deviator {STRESS_THRESHOLD:g} GPa",
        style="dim",
        soft_wrap=True,
    )


def _draw(results: list[Convergence], path: Path) -> None:
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
        axes.set_xlabel(_TITLES[result.parameter])
        if result.parameter == "k_spacing":
            axes.invert_xaxis()
    figure.axes[0].set_ylabel("difference from the finest / threshold")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path)
