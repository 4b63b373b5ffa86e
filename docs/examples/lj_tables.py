"""Which reading of the paper's table of well depths makes the better surrogate?

    python docs/examples/lj_tables.py DIRECTORY [--nep NAME=nep.txt] [--eam NAME=file.eam.alloy] ...

cools glasses of Cu46Zr46Al8 with both tables and the same seeds, labels them with the stand-in EAM
and with every given potential, relaxes some of each cooling length, and writes lj_tables.md (the
numbers as tables), lj_tables.svg and lj_tables.json into DIRECTORY. This takes three CPU minutes
and one more per potential; ``--quick`` does a rough version in half a minute. None of these labels
is a DFT label.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import Alloy, units
from mgflows.eam import stand_in_calculator
from mgflows.nep.calculator import nep_calculator
from mgflows.structures.order import analyse_order
from mgflows.structures.relaxation import relax
from mgflows.structures.similarity import (
    HISTOGRAM_WIDTH,
    SimilarityAverage,
    average_similarity,
    compare_structures,
)
from mgflows.surrogate import LennardJones, SwapMonteCarlo, find_inherent_structure
from mgflows.surrogate.correlation import LabelledSample, SurrogateFitness, measure_fitness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

ALLOY = Alloy.cuzral()
TABLES = ("consistent", "printed")


@dataclass(frozen=True)
class Plan:
    """Extent of the run.

    (sweeps, samples) of each cooling length, how many of each are relaxed, and the tolerances
    (eV/A, GPa).
    """

    sizes: tuple[tuple[int, int], ...]
    n_relaxed: int
    force_tolerance: float
    stress_tolerance: float


FULL = Plan(
    ((1_000, 8), (10_000, 8), (100_000, 8)),
    n_relaxed=2,
    force_tolerance=1e-2,
    stress_tolerance=0.05,
)
QUICK = Plan(((100, 4), (3_000, 4)), n_relaxed=1, force_tolerance=1.0, stress_tolerance=5.0)


@dataclass(frozen=True)
class Sample:
    """A glass of the surrogate."""

    name: str
    n_sweeps: int
    atoms: Atoms
    energy_lj: float
    e_is: float
    ordered: bool


@dataclass(frozen=True)
class Result:
    """One table under one potential."""

    table: str
    label: str
    fitness: SurrogateFitness
    points: list[LabelledSample]
    similarity: dict[str, dict[int | None, SimilarityAverage]]
    drop: float
    n_failed: int


def cool(table: str, sizes: Sequence[tuple[int, int]]) -> list[Sample]:
    """Glasses cooled with one table; the same seeds for either."""
    lj = LennardJones.cuzral(table=table)
    samples = []
    for n_sweeps, count in sizes:
        for seed in range(count):
            mc = SwapMonteCarlo.from_alloy(lj, ALLOY, seed)
            mc.equilibrate()
            mc.cool(n_sweeps)
            inherent, e_is = find_inherent_structure(mc.atoms, lj)
            energy = mc.energy_per_atom * lj.energy_unit
            samples.append(
                Sample(
                    f"{table}-{n_sweeps}-{seed}",
                    n_sweeps,
                    mc.atoms,
                    energy,
                    e_is,
                    analyse_order(inherent).ordered,
                )
            )
    return samples


def study(
    table: str, label: str, samples: Sequence[Sample], calculator: Calculator, plan: Plan
) -> Result:
    """Label the samples and relax the first of each length.

    With the cell, as in the paper, and without, at the surrogate's density.
    """
    points, drops, n_failed = [], [], 0
    n_seen: Counter[int] = Counter()
    changes: dict[str, list[tuple[int, Any]]] = {"cell": [], "fixed": []}
    for sample in samples:
        atoms = sample.atoms.copy()
        atoms.calc = calculator
        energy = atoms.get_potential_energy() / len(atoms)
        pressure = units.pressure_from_stress(units.voigt_to_tensor(atoms.get_stress()))
        points.append(
            LabelledSample(
                sample.name, sample.n_sweeps, sample.energy_lj, sample.e_is, energy, pressure
            )
        )
        n_seen[sample.n_sweeps] += 1
        if n_seen[sample.n_sweeps] > plan.n_relaxed:
            continue
        for way in changes:
            outcome = relax(
                sample.atoms,
                calculator,
                relax_cell=way == "cell",
                force_tolerance=plan.force_tolerance,
                stress_tolerance=plan.stress_tolerance,
            )
            if not outcome.converged:
                n_failed += 1
                continue
            changes[way].append((sample.n_sweeps, compare_structures(sample.atoms, outcome.atoms)))
            if way == "cell":
                drops.append(
                    (outcome.energy_before - outcome.atoms.get_potential_energy()) / len(atoms)
                )
    similarity: dict[str, dict[int | None, SimilarityAverage]] = {}
    for way, found in changes.items():
        groups: dict[int | None, SimilarityAverage] = {
            length: average_similarity([change for n, change in found if n == length])
            for length in sorted({n for n, _ in found})
        }
        similarity[way] = groups | {None: average_similarity([change for _, change in found])}
    return Result(
        table, label, measure_fitness(points), points, similarity, float(np.mean(drops)), n_failed
    )


def eam_calculator(path: str) -> Calculator:
    """LAMMPS with a setfl file for any species."""
    from ase.calculators.lammpslib import LAMMPSlib

    from mgflows.eam.calculator import preload_mpi

    preload_mpi()
    species = Path(path).read_text(encoding="ascii", errors="replace").splitlines()[3].split()[1:]
    commands = [
        "neighbor 0.0 bin",
        "pair_style eam/alloy",
        f'pair_coeff * * "{path}" {" ".join(species)}',
    ]
    return LAMMPSlib(
        lmpcmds=commands,
        atom_types={symbol: number for number, symbol in enumerate(species, start=1)},
    )


def tabulate(
    results: Sequence[Result], samples: dict[str, list[Sample]], cpu_seconds: float
) -> str:
    """The numbers as Markdown."""
    lines = [
        f"Computed in {cpu_seconds / 60:.0f} CPU minutes; +- is one standard error.",
        "The labels are those of potentials, not of DFT.",
        "",
    ]
    for table in TABLES:
        counts = {
            n: sum(s.ordered for s in samples[table] if s.n_sweeps == n)
            for n in sorted({s.n_sweeps for s in samples[table]})
        }
        lines.append(
            f"Ordered samples, table {table}: "
            + ", ".join(f"{n} at {length} sweeps" for length, n in counts.items())
            + "."
        )
    lines += [
        "",
        "| label | table | sweeps | samples | slope | R2 | pressure (GPa) |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        rows = [
            *((str(rate.n_sweeps), rate) for rate in result.fitness.rates),
            ("all", result.fitness),
        ]
        for name, row in rows:
            fit = row.fit
            line = f"{fit.slope:.2f} +- {fit.slope_error:.2f} | {fit.r2:.3f}" if fit else "- | -"
            lines.append(
                f"| {result.label} | {result.table} | {name} | {row.n_samples} | {line} "
                f"| {row.pressure:.1f} |"
            )
    lines += [
        "",
        (
            "| label | table | cell | sweeps | samples | displacement: mean, 95 % (A) "
            "| bonds kept (%) | in the same cell (%) | lengths (%) |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for way, groups in result.similarity.items():
            for length, average in groups.items():
                lines.append(
                    f"| {result.label} | {result.table} | "
                    f"{'relaxed' if way == 'cell' else 'fixed'} | {length or 'all'} | "
                    f"{average.n_samples} | "
                    f"{average.mean_displacement:.3f}, {average.percentile_95:.3f} | "
                    f"{_percent(average.delta_cb, average.delta_cb_error)} | "
                    f"{_percent(average.delta_cb_affine, average.delta_cb_affine_error)} | "
                    f"{100 * average.linear_expansion:+.2f} |"
                )
    lines.append("")
    for result in results:
        failed = (
            f"; {result.n_failed} relaxations did not converge and are left out"
            if result.n_failed
            else ""
        )
        lines.append(
            f"- {result.label}, {result.table}: relaxing cell and positions lowers the energy by "
            f"{result.drop:.3f} eV per atom{failed}."
        )
    return "\n".join([*lines, ""])


def _percent(value: float, error: float) -> str:
    return f"{100 * value:.1f} +- {100 * error:.1f}" if np.isfinite(error) else f"{100 * value:.1f}"


def draw(results: Sequence[Result], path: Path) -> None:
    """Label energies against surrogate energies, and displacements, for each potential."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 9,
            "svg.hashsalt": "mgflows",
            "svg.fonttype": "none",
            "axes.spines.right": False,
            "axes.spines.top": False,
        }
    )
    labels = list(dict.fromkeys(result.label for result in results))
    figure, axes = plt.subplots(
        len(labels), 3, figsize=(10, 2.9 * len(labels)), constrained_layout=True, squeeze=False
    )
    lengths = sorted({point.n_sweeps for result in results for point in result.points})
    colours = dict(
        zip(lengths, plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(lengths))), strict=True)
    )
    for row, label in enumerate(labels):
        for column, table in enumerate(TABLES):
            (result,) = [r for r in results if (r.label, r.table) == (label, table)]
            here = axes[row, column]
            for length in lengths:
                points = np.array(
                    [(p.energy_lj, p.energy_label) for p in result.points if p.n_sweeps == length]
                )
                here.plot(
                    *points.T,
                    "o",
                    ms=4,
                    color=colours[length],
                    label=f"$10^{{{np.log10(length):.3g}}}$",
                )
            if fit := result.fitness.fit:
                ends = np.array(
                    [
                        min(p.energy_lj for p in result.points),
                        max(p.energy_lj for p in result.points),
                    ]
                )
                here.plot(ends, fit(ends), "--", color="0.3", lw=1)
                here.text(
                    0.97,
                    0.04,
                    f"$R^2$ = {fit.r2:.3f}\nslope {fit.slope:.2f}",
                    transform=here.transAxes,
                    ha="right",
                )
            here.set(
                xlabel="e(LJ) (eV/atom)",
                ylabel=f"e({label}) (eV/atom)",
                title=f"{table} table" if row == 0 else "",
            )
            average = result.similarity["cell"][None]
            density = np.array(average.histogram) / (sum(average.histogram) * HISTOGRAM_WIDTH)
            axes[row, 2].stairs(
                density,
                np.arange(len(density) + 1) * HISTOGRAM_WIDTH,
                color=f"C{3 * column}",
                label=table,
            )
        axes[row, 2].set(
            xlabel="displacement on relaxation (A)", ylabel="density (1/A)", xlim=(0.0, 1.0)
        )
        axes[row, 2].legend(frameon=False)
    axes[0, 0].legend(frameon=False, title="sweeps", fontsize=7.5)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where figure and numbers go")
    parser.add_argument(
        "--nep", action="append", default=[], metavar="NAME=PATH", help="label with this NEP too"
    )
    parser.add_argument(
        "--eam",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="label with this setfl file (eam/alloy) too",
    )
    parser.add_argument("--quick", action="store_true", help="a rough version in half a minute")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    methods: dict[str, Callable[[], Calculator]] = {"stand-in": stand_in_calculator}
    for given, build in ((arguments.nep, nep_calculator), (arguments.eam, eam_calculator)):
        for entry in given:
            name, _, path = entry.partition("=")
            methods[name] = lambda build=build, path=path: build(path)

    plan = QUICK if arguments.quick else FULL
    start = time.process_time()
    samples = {}
    for table in TABLES:
        samples[table] = cool(table, plan.sizes)
        print(
            f"{time.process_time() - start:5.0f} s: {len(samples[table])} glasses cooled "
            f"with the {table} table",
            flush=True,
        )
    results = []
    for label, build in methods.items():
        for table in TABLES:
            results.append(study(table, label, samples[table], build(), plan))
            print(
                f"{time.process_time() - start:5.0f} s: the {table} table under {label}", flush=True
            )
    cpu_seconds = time.process_time() - start
    stem = arguments.directory / "lj_tables"
    stem.with_suffix(".md").write_text(tabulate(results, samples, cpu_seconds))
    document = [
        asdict(result)
        | {
            "similarity": {
                way: {str(n): asdict(a) for n, a in groups.items()}
                for way, groups in result.similarity.items()
            }
        }
        for result in results
    ]
    stem.with_suffix(".json").write_text(
        json.dumps({"cpu_seconds": cpu_seconds, "results": document}, indent=1)
    )
    draw(results, stem.with_suffix(".svg"))
    print(f"done in {cpu_seconds:.0f} CPU seconds: {stem}.md, .svg and .json")


if __name__ == "__main__":
    main()
