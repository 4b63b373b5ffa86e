"""``mgflows validate`` of several potentials: forecast, local run, submission and tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mgflows.cli.options import print_json
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError
from mgflows.text import format_hours, plural, with_error
from mgflows.validation.quantities import title_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms

    from mgflows.md.potentials import Potential
    from mgflows.nep.calculator import Device
    from mgflows.validation.averages import Estimate
    from mgflows.validation.comparison import Comparison

__all__ = ["ComparisonRequest", "compare_locally", "print_forecast", "submit_comparison"]

_WORDS = {
    "soundness": "checks of soundness",
    "glass": "elastic constants and shear",
    "yield": "shear to yield",
    "quench": "quenches: structure, thermodynamics",
    "melt": "melts: viscosity, diffusion, relaxation",
}
_DETAILS = ("coordination", "warren_cowley", "voronoi")
"""Quantities of pairs and Voronoi indices, which only --json and --report show."""


@dataclass(frozen=True)
class ComparisonRequest:
    """What a comparison measures.

    Attributes
    ----------
    potentials, glasses
        Potentials, and the structures for all of them.
    suite
        Name of the suite.
    seed
        Seed of every random choice.
    first
        Number of samples of each kind that exist already.
    experiments
        A file of your own measured values and curves.
    """

    potentials: Sequence[Potential]
    glasses: Sequence[Atoms]
    suite: str
    seed: int
    first: int = 0
    experiments: Path | None = None

    @property
    def label_energies(self) -> list[float | None]:
        """Energies in eV per atom stored with the glasses; None where there are none."""
        found: list[float | None] = []
        for atoms in self.glasses:
            results = {} if atoms.calc is None else atoms.calc.results
            energy = results.get("free_energy", results.get("energy"))
            found.append(None if energy is None else float(energy) / len(atoms))
        return found


def print_forecast(request: ComparisonRequest, *, as_json: bool) -> None:
    """Print the samples of a suite and their cost."""
    from mgflows.validation.plan import forecast, plan_further_melts, plan_samples

    names = [potential.name for potential in request.potentials]
    tasks, further = (
        plan(
            request.suite,
            request.potentials,
            n_glasses=len(request.glasses),
            glass_atoms=len(request.glasses[0]),
            first=request.first,
        )
        for plan in (plan_samples, plan_further_melts)
    )
    found = forecast(tasks)
    further_hours = sum(task.seconds for task in further) / 3600.0
    if as_json:
        print_json(
            {
                "suite": request.suite,
                "potentials": names,
                "samples": {kind: n for kind, (n, _) in found.items()},
                "core_hours": {kind: round(hours, 3) for kind, (_, hours) in found.items()},
                "further_melts": len(further),
                "further_core_hours": round(further_hours, 3),
                "longest_hours": round(max(task.seconds for task in tasks) / 3600.0, 3),
            }
        )
        return
    rows = [(_WORDS[kind], str(n), format_hours(hours)) for kind, (n, hours) in found.items()]
    total = sum(hours for _, hours in found.values())
    rows.append(("all", str(len(tasks)), format_hours(total)))
    console = make_console()
    console.print(
        make_table(
            ("samples", "number", "core hours"),
            rows,
            numbers=("number", "core hours"),
            title=f"suite {request.suite}: {', '.join(names)}",
        )
    )
    longest = max(task.seconds for task in tasks) / 3600.0
    console.print(
        f"The longest sample takes about {format_hours(longest)} h on one core.", style="dim"
    )
    if further:
        console.print(
            f"Melts whose viscosity does not converge get up to {plural(len(further), 'more run')} "
            f"({format_hours(further_hours)} core hours).",
            style="dim",
        )


def compare_locally(
    request: ComparisonRequest,
    *,
    n_processes: int,
    samples: Path | None,
    finished_only: bool,
    report: Path | None,
    as_json: bool,
) -> bool:
    """Run and print a comparison; return whether nothing failed."""
    from rich.progress import Progress

    from mgflows.validation.experiments import load_curves, load_experiments
    from mgflows.validation.run import KeptSamples, References, compare_potentials

    references = References(
        request.label_energies,
        load_experiments(request.experiments),
        load_curves(request.experiments),
    )
    if not as_json and not finished_only:
        print_forecast(request, as_json=False)
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("validating", total=None)

        def show(sample: str, done: int, total: int) -> None:
            progress.update(bar, description=sample, completed=done, total=total)

        result = compare_potentials(
            request.potentials,
            request.glasses,
            suite=request.suite,
            seed=request.seed,
            references=references,
            n_processes=n_processes,
            samples=None if samples is None else KeptSamples(samples, finished_only),
            progress=show,
        )
    if report is not None:
        from mgflows.report.comparison import write_comparison

        write_comparison(result, report)
    if as_json:
        print_json(comparison_values(result))
    else:
        _print(result)
        if report is not None:
            make_console().print(f"report: {report}", markup=False, highlight=False)
    return not result.failures


def submit_comparison(
    name: str, request: ComparisonRequest, directory: Path | None, *, as_json: bool
) -> None:
    """Submit the samples and their collector to the database of the settings."""
    from mgflows.flows.comparison import ComparisonFlowMaker
    from mgflows.launch import submit_validation
    from mgflows.settings import Settings

    maker = ComparisonFlowMaker.of_suite(
        name, request.suite, seed=request.seed, first=request.first
    )
    if request.experiments is not None:
        maker.comparison_maker.experiments = str(request.experiments.absolute())
    print_forecast(request, as_json=as_json)
    submission = submit_validation(
        maker,
        request.potentials,
        request.glasses,
        Settings.load(directory),
        request.label_energies,
    )
    n_jobs = submission.n_added + submission.n_planned
    if not as_json and n_jobs == 0:
        make_console().print(
            f"{name} has these samples already; add more with --add-from", markup=False
        )
    elif not as_json:
        make_console().print(
            f"{name}: {plural(n_jobs, 'job')} submitted; see mgflows status {name}, then mgflows "
            f"report {name}",
            markup=False,
            soft_wrap=True,
        )


def comparison_values(result: Comparison) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    return {
        "suite": result.suite,
        "composition": result.composition,
        "models": [asdict(model) for model in result.models],
        "experiments": [asdict(experiment) for experiment in result.experiments],
        "mixed_versions": result.mixed_versions,
        "failures": result.failures,
        "unresolved": result.unresolved,
        "warnings": result.warnings,
    }


def _print(result: Comparison) -> None:
    names = [model.name for model in result.models]
    console = make_console()
    rows = []
    for key, unit, estimates, experiments in result.rows():
        if key.startswith(_DETAILS):
            continue
        label = f"{title_of(key)} ({unit})" if unit else title_of(key)
        measured = ", ".join(each.marked_value for each in experiments)
        rows.append((label, *(_cell(estimate) for estimate in estimates), measured))
    console.print(make_table(("property", *names, "experiment"), rows, numbers=(*names,)))
    open_ = {
        f"{model.name}, {title_of(key)}": estimate.verdict
        for model in result.models
        for key, estimate in model.estimates.items()
        if estimate.verdict.startswith("not converged") and not key.startswith(_DETAILS)
    }
    for what, verdict in open_.items():
        console.print(f"{what}: {verdict}", style="dim", markup=False)
    used = dict.fromkeys(each for *_, experiments in result.rows() for each in experiments)
    for curve in result.measured_curves:
        console.print(f"{title_of(curve.quantity)}: {curve.source}", style="dim", markup=False)
    for experiment in used:
        console.print(
            f"{title_of(experiment.quantity)} {experiment.value:g}: {experiment.source}",
            style="dim",
            markup=False,
        )
    if any(not experiment.verified for experiment in used):
        console.print("* read in a secondary source", style="dim")
    for model in result.models:
        if model.n_done < model.n_planned:
            text = f"{model.name}: {model.n_done} of {plural(model.n_planned, 'sample')} so far"
            console.print(text, markup=False)
    for what, reason in result.unresolved.items():
        console.print(f"{what}: not resolved: {reason}", style="dim", markup=False)
    if result.mixed_versions:
        console.print(result.mixed_versions, style="yellow", markup=False)
    for what, reason in result.warnings.items():
        console.print(f"{what}: {reason}", style="yellow", markup=False)
    for what, reason in result.failures.items():
        console.print(f"{what} failed: {reason}", style="red", markup=False)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{with_error(estimate.value, estimate.error, '+-')} ({estimate.n_samples})"


def potentials_of(potential: str, against: Sequence[str], device: Device) -> list[Potential]:
    """The potential and its peers, with different names."""
    from mgflows.md.potentials import parse_potential

    found = [parse_potential(text, device) for text in (potential, *against)]
    if len({each.specification for each in found}) < len(found):
        raise InputError("the same potential is given twice", hint="give each potential once")
    return found
