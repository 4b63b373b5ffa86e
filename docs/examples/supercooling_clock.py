"""Figure 2a of the paper for both readings of its table of well depths.

    python docs/examples/supercooling_clock.py DIRECTORY

shows how far below the onset swap Monte Carlo reaches, and which table is meant. It writes
supercooling_clock.json (every run), supercooling_clock.md (tables) and supercooling_clock.svg into
DIRECTORY. ``--quick`` does a rough version in one CPU minute.

``--sweeps-up-to`` and ``--times-up-to`` set the longest coolings; ``--sweeps-up-to 1e9`` is the
paper's figure. ``--efficient-up-to`` adds coolings by the efficient protocol of mgflows. Sixteen
Monte Carlo coolings run side by side in single precision, or one after the other for the lengths of
``--one-by-one-from``, which takes longer in total but finishes the first glass sooner. Every
finished run is stored in the JSON file and every unfinished one as a checkpoint, so that the same
command continues after any interruption, and a copy of the JSON file in another DIRECTORY is
extended rather than repeated.
``--draw`` makes tables and figure of the stored runs only. Everything is seeded: the same command
gives the same numbers on the same machine."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mgflows
from mgflows import Alloy
from mgflows.files import atomic_write
from mgflows.structures.order import analyse_order
from mgflows.surrogate import (
    LennardJones,
    SupercoolingClock,
    SurrogateMolecularDynamics,
    SwapMonteCarlo,
    SwapMonteCarloReplicas,
    find_inherent_structure,
    fit_supercooling_clock,
)
from mgflows.surrogate.alpha_relaxation import RelaxationSettings, measure_relaxation_times
from mgflows.surrogate.glasses import GlassProtocol
from mgflows.surrogate.supercooling import find_onset
from mgflows.surrogate.swap_monte_carlo import random_configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from mgflows.surrogate.glasses import ProtocolName

ALLOY = Alloy.cuzral()
CRITERION = 0.15
TABLES = ("consistent", "printed")
REPLICA_SEEDS = range(100, 101)
SINGLE_SEEDS = range(200, 216)
STAGES = {"paper": "swap-monte-carlo", "efficient": "efficient"}


@dataclass(frozen=True)
class Effort:
    """Temperatures and runs for the onset, (time, seeds) and sweeps for the coolings."""

    temperatures: dict[str, tuple[float, ...]]
    arrhenius_above: dict[str, float]
    n_runs: int
    times: tuple[tuple[float, int], ...]
    sweeps: tuple[int, ...]
    efficient: tuple[int, ...]
    short_window: tuple[float, float]
    one_by_one_from: float = float("inf")


FULL = Effort(
    temperatures={
        "consistent": (10.0, 8.0, 6.5, 5.0, 4.0, 3.3, 2.8, 2.4, 2.2, 2.09, 2.0, 1.9),
        "printed": (10.0, 9.0, 8.0, 7.2, 6.5, 5.5, 4.7, 4.2, 3.8, 3.5, 3.3),
    },
    arrhenius_above={"consistent": 4.0, "printed": 6.5},
    n_runs=6,
    times=(
        (30.0, 16),
        (100.0, 16),
        (300.0, 8),
        (1e3, 8),
        (3e3, 4),
        (1e4, 4),
        (4e4, 2),
        (1e5, 2),
        (4e5, 2),
        (1e6, 2),
        (4e6, 1),
    ),
    sweeps=(1_000, 10_000, 100_000, 10**6, 10**7, 10**8, 10**9),
    efficient=(1_000, 10_000, 100_000, 10**6, 10**7, 10**8, 10**9),
    short_window=(30.0, 1e3),
)
QUICK = Effort(
    temperatures={
        "consistent": (10.0, 6.5, 4.0, 2.4, 2.0, 1.8),
        "printed": (10.0, 8.0, 6.5, 4.0, 3.5),
    },
    arrhenius_above={"consistent": 4.0, "printed": 6.5},
    n_runs=4,
    times=((10.0, 3), (30.0, 3), (100.0, 3)),
    sweeps=(300, 3000),
    efficient=(300,),
    short_window=(10.0, 30.0),
)


def inherent(atoms: Any, lj: LennardJones) -> dict[str, Any]:
    relaxed, e_is = find_inherent_structure(atoms, lj)
    order = analyse_order(relaxed)
    return {
        "e_is": e_is,
        "crystalline": order.crystalline,
        "frank_kasper": order.frank_kasper_ordered,
        "cna_555": order.cna_555_fraction,
    }


def molecular_dynamics(
    lj: LennardJones, reduced_time: float, seed: int, checkpoint: Path
) -> list[dict[str, Any]]:
    if checkpoint.exists():
        md = SurrogateMolecularDynamics.load(checkpoint)
        md.resume(checkpoint=checkpoint)
    else:
        md = SurrogateMolecularDynamics(lj, random_configuration(lj, ALLOY, seed), seed)
        md.cool(reduced_time, checkpoint=checkpoint)
    return [{"time": reduced_time, "seed": seed, **inherent(md.atoms, lj)}]


def swap_monte_carlo(
    lj: LennardJones, protocol: ProtocolName, n_sweeps: int, seed: int, checkpoint: Path
) -> list[dict[str, Any]]:
    """Cool sixteen replicas, or one glass for seeds from ``SINGLE_SEEDS``."""
    cooling = GlassProtocol.of(protocol, lj, ALLOY, n_sweeps)
    high, low = cooling.reduced_temperature_high, cooling.reduced_temperature_low
    sampler = SwapMonteCarlo if seed in SINGLE_SEEDS else SwapMonteCarloReplicas
    if checkpoint.exists():
        mc = sampler.load(checkpoint)
    else:
        mc = sampler.from_alloy(lj, ALLOY, seed, dtype="float32")
        mc.equilibrate(cooling.equilibration_sweeps, high)
    if mc.finished_cooling is None:
        mc.cool(n_sweeps, high, low, checkpoint=checkpoint)
    glasses = mc.replicas if isinstance(mc, SwapMonteCarloReplicas) else [mc.atoms]
    return [
        {"n_sweeps": n_sweeps, "seed": seed, "replica": number, **inherent(atoms, lj)}
        for number, atoms in enumerate(glasses)
    ]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Runs:
    """Finished runs by stage in one JSON file, which is written after each run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checkpoints = path.parent / "checkpoints"
        self._stages = (
            json.loads(path.read_text(encoding="utf-8"))["stages"] if path.exists() else {}
        )

    def complete(
        self, name: str, settings: list[Any], seeds: range, compute: Callable[[int, Path], Any]
    ) -> None:
        """Run the seeds that the stage lacks; a stage of other settings starts over."""
        if name not in self._stages or self._stages[name]["settings"] != settings:
            self._stages[name] = {"settings": settings, "runs": []}
        runs = self._stages[name]["runs"]
        # Runs of earlier versions are those of the first seeds.
        done = {run.get("seed", seed) for run, seed in zip(runs, seeds, strict=False)}
        if done.issuperset(seeds):
            say(f"{name}: kept from before")
            return
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        for seed in sorted(set(seeds) - done):
            say(f"{name}, seed {seed}")
            checkpoint = self._checkpoints / f"{name}-{seed}.npz"
            start = time.process_time()
            result = compute(seed, checkpoint)
            # Processor time of an interrupted run counts from its last start.
            seconds = round(time.process_time() - start, 2)
            version = mgflows.__version__
            runs.append(
                {"seed": seed, "version": version, "cpu_seconds": seconds, "result": result}
            )
            self.write({})
            checkpoint.unlink(missing_ok=True)

    def results(self, prefix: str) -> list[Any]:
        """Results of all runs in the stages of that prefix."""
        return [
            run["result"]
            for name, stage in self._stages.items()
            if name.startswith(prefix)
            for run in stage["runs"]
        ]

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all runs."""
        return sum(run["cpu_seconds"] for stage in self._stages.values() for run in stage["runs"])

    def write(self, values: dict[str, Any]) -> None:
        """Write the runs and other values."""
        with atomic_write(self._path) as stream:
            json.dump(values | {"stages": self._stages}, stream, indent=None)


def relax(table: str, effort: Effort, seed: int) -> dict[str, Any]:
    """Relaxation times and inherent energies of the equilibrium liquid."""
    relaxation = measure_relaxation_times(
        LennardJones.cuzral(table=table),
        ALLOY,
        effort.temperatures[table],
        n_runs=effort.n_runs,
        seed=seed,
        settings=RelaxationSettings(longest_time=500.0),
    )
    return {
        "temperatures": relaxation.reduced_temperatures.tolist(),
        "log_tau": relaxation.log_relaxation_times.tolist(),
        "log_tau_error": relaxation.log_errors.tolist(),
        "e_is": relaxation.e_is.tolist(),
        "e_is_error": relaxation.e_is_errors.tolist(),
    }


def measure(table: str, effort: Effort, runs: Runs) -> None:
    """Run what is missing of one table: relaxation, molecular dynamics and Monte Carlo."""
    lj = LennardJones.cuzral(table=table)
    runs.complete(
        f"{table}-relaxation",
        [*effort.temperatures[table], effort.n_runs],
        range(1, 2),
        lambda seed, _: relax(table, effort, seed),
    )
    for protocol, lengths in (("paper", effort.sweeps), ("efficient", effort.efficient)):
        for n_sweeps in lengths:
            one_by_one = n_sweeps >= effort.one_by_one_from
            runs.complete(
                f"{table}-{STAGES[protocol]}-{n_sweeps}" + ("-one-by-one" if one_by_one else ""),
                [n_sweeps],
                SINGLE_SEEDS if one_by_one else REPLICA_SEEDS,
                lambda seed, path, protocol=protocol, n=n_sweeps: swap_monte_carlo(
                    lj, protocol, n, seed, path
                ),
            )
    for reduced_time, n_seeds in effort.times:
        runs.complete(
            f"{table}-molecular-dynamics-{reduced_time:g}",
            [reduced_time],
            range(n_seeds),
            lambda seed, path, t=reduced_time: molecular_dynamics(lj, t, seed, path),
        )


def study(table: str, effort: Effort, runs: Runs) -> dict[str, Any]:
    """Onset, clocks and coolings of one table from the finished runs."""
    lj = LennardJones.cuzral(table=table)
    (relaxation,) = runs.results(f"{table}-relaxation")
    onset = find_onset(
        relaxation["temperatures"],
        relaxation["log_tau"],
        relaxation["log_tau_error"],
        arrhenius_above=effort.arrhenius_above[table],
        criterion=CRITERION,
    )
    onset_energy = None
    if np.isfinite(onset.reduced_temperature):
        onset_energy = tuple(
            float(
                np.interp(
                    onset.reduced_temperature,
                    relaxation["temperatures"][::-1],
                    relaxation[key][::-1],
                )
            )
            for key in ("e_is", "e_is_error")
        )
    dynamics = [run for batch in runs.results(f"{table}-molecular-dynamics-") for run in batch]
    sampled = {
        protocol: [run for batch in runs.results(f"{table}-{stage}-") for run in batch]
        for protocol, stage in STAGES.items()
    }
    # Crystals differ in energy from glasses of the same age and are left out of the law.
    glasses = [run for run in dynamics if not run["crystalline"]]
    is_longer = max(run["time"] for run in glasses) > effort.short_window[1]
    windows = (None, effort.short_window) if is_longer else (None,)
    clocks = [
        fit_supercooling_clock(
            [run["time"] for run in glasses],
            [run["e_is"] for run in glasses],
            lj=lj,
            window=window,
        )
        for window in windows
    ]
    if onset_energy is not None:
        clocks = [clock.with_onset(*onset_energy) for clock in clocks]
    return {
        "table": table,
        "relaxation": relaxation,
        "onset": asdict(onset),
        "molecular_dynamics": dynamics,
        "clocks": [clock.as_dict() for clock in clocks],
        "swap_monte_carlo": sampled["paper"],
        "efficient": sampled["efficient"],
    }


def group(runs: list[dict[str, Any]], key: str, energy_unit: float) -> list[dict[str, Any]]:
    """Mean and standard error of the reduced inherent energy by cooling time or sweeps."""
    rows = []
    for value in sorted({run[key] for run in runs}):
        chosen = [run for run in runs if run[key] == value]
        glasses = [run for run in chosen if not run["crystalline"]] or chosen
        energies = np.array([run["e_is"] for run in glasses]) / energy_unit
        rows.append(
            {
                key: value,
                "n": len(chosen),
                "mean": float(energies.mean()),
                "sem": float(energies.std(ddof=1) / np.sqrt(len(energies)))
                if len(energies) > 1
                else float("nan"),
                "crystalline": sum(run["crystalline"] for run in chosen),
                "frank_kasper": sum(run["frank_kasper"] for run in chosen),
            }
        )
    return rows


def plus_minus(row: dict[str, Any]) -> str:
    return (
        f"{row['mean']:.3f} +- {row['sem']:.3f}"
        if np.isfinite(row["sem"])
        else f"{row['mean']:.3f} (one run)"
    )


def effective(clock: SupercoolingClock, row: dict[str, Any]) -> Any:
    return clock.effective_time(
        row["mean"] * clock.energy_unit, np.nan_to_num(row["sem"]) * clock.energy_unit
    )


def tabulate(results: list[dict[str, Any]], cpu_seconds: float) -> str:
    lines = [
        "# Measured supercooling clocks",
        "",
        "    python docs/examples/supercooling_clock.py DIRECTORY",
        "",
        f"Computed in {cpu_seconds / 60:.0f} CPU minutes. Energies per atom in units of eps_ZrZr.",
        "+- is one standard error.",
        "",
    ]
    for result in results:
        clocks = [SupercoolingClock.from_dict(clock) for clock in result["clocks"]]
        unit = LennardJones.cuzral(table=result["table"]).energy_unit
        onset = result["onset"]
        lines += [f"## Table {result['table']}", ""]
        lines.append(
            f"T_on = {onset['reduced_temperature']:.2f} "
            f"({onset['low']:.2f} to {onset['high']:.2f}), where tau_alpha is {CRITERION:.0%} "
            f"above the Arrhenius line of T* >= {onset['arrhenius_above']:g}, "
            f"E = {onset['reduced_activation_energy']:.2f}."
        )
        lines += ["", "| T* | ln tau_alpha | tau over Arrhenius |", "|---|---|---|"]
        relaxation = result["relaxation"]
        for t, log_tau, error, ratio in zip(
            relaxation["temperatures"],
            relaxation["log_tau"],
            relaxation["log_tau_error"],
            onset["ratios"],
            strict=True,
        ):
            lines.append(f"| {t:g} | {log_tau:.3f} +- {error:.3f} | {ratio:.2f} |")
        lines += [
            "",
            "| MD cooling time t* | e_IS | coolings | of them crystalline |",
            "|---|---|---|---|",
        ]
        for row in group(result["molecular_dynamics"], "time", unit):
            lines.append(
                f"| {row['time']:g} | {plus_minus(row)} | {row['n']} | {row['crystalline']} |"
            )
        lines.append("")
        for clock in clocks:
            lines.append(
                f"- window {clock.window[0]:g} to {clock.window[1]:g}: "
                f"e_IS = {clock.intercept:.3f} {clock.slope:+.4f} log10 t* "
                f"(slope +- {clock.slope_error:.4f}, {clock.n_samples} coolings)"
                + (f", t_on = {clock.onset_time:.2g}" if clock.onset_time else "")
            )
        headings = "".join(f" log10 t* (window to {clock.window[1]:g}) |" for clock in clocks)
        lines += [
            "",
            f"| protocol | sweeps | e_IS | runs | crystalline | Frank-Kasper |{headings}",
            "|---" * (6 + len(clocks)) + "|",
        ]
        for protocol, key in (("paper", "swap_monte_carlo"), ("efficient", "efficient")):
            for row in group(result[key], "n_sweeps", unit):
                times = [effective(clock, row) for clock in clocks]
                columns = "".join(
                    f" {t.log10_time:.1f} ({t.low:.1f} to {t.high:.1f}) |" for t in times
                )
                lines.append(
                    f"| {protocol} | {row['n_sweeps']} | {plus_minus(row)} | {row['n']} "
                    f"| {row['crystalline']} | {row['frank_kasper']} |{columns}"
                )
        lines.append("")
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
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
    figure, axes = plt.subplots(
        2,
        len(results),
        figsize=(9, 6.4),
        height_ratios=(3, 2),
        constrained_layout=True,
        squeeze=False,
    )
    for column, result in enumerate(results):
        lj = LennardJones.cuzral(table=result["table"])
        top, bottom = axes[0, column], axes[1, column]
        rows = group(result["molecular_dynamics"], "time", lj.energy_unit)
        top.errorbar(
            [row["time"] for row in rows],
            [row["mean"] for row in rows],
            [row["sem"] for row in rows],
            fmt="o",
            color="C0",
            label="molecular dynamics",
        )
        for clock_data, colour in zip(result["clocks"], ("0.2", "0.6"), strict=False):
            clock = SupercoolingClock.from_dict(clock_data)
            grid = np.geomspace(1.0, 1e16, 60)
            lines = clock.bootstrap[:, :1] + clock.bootstrap[:, 1:] * np.log10(grid)
            top.fill_between(
                grid, *np.percentile(lines, [16, 84], axis=0), color=colour, alpha=0.2, lw=0
            )
            law = clock.intercept + clock.slope * np.log10(grid)
            top.plot(
                grid,
                law,
                color=colour,
                lw=1,
                label=f"log law, fitted to {clock.window[0]:g}-{clock.window[1]:g}",
            )
        if result["clocks"]:
            clock = SupercoolingClock.from_dict(result["clocks"][0])
            if clock.onset_time is not None:
                top.axvline(clock.onset_time, color="C0", ls="--", lw=1, label="onset")
            for key, marker, colour, label in (
                ("swap_monte_carlo", "s", "C3", "swap Monte Carlo (open: ordered)"),
                ("efficient", "D", "C2", "efficient protocol"),
            ):
                above, below = (5, 5), (-18, -10)
                last = -np.inf
                for i, row in enumerate(group(result[key], "n_sweeps", lj.energy_unit)):
                    at = effective(clock, row)
                    is_near, last = at.log10_time - last < 1.0, at.log10_time
                    ordered = row["crystalline"] + row["frank_kasper"] > row["n"] / 2
                    top.errorbar(
                        [10**at.log10_time],
                        [row["mean"]],
                        yerr=[np.nan_to_num(row["sem"])],
                        xerr=[[10**at.log10_time - 10**at.low], [10**at.high - 10**at.log10_time]],
                        fmt=marker,
                        color=colour,
                        ms=4,
                        mfc="white" if ordered else colour,
                        label=label if i == 0 else None,
                    )
                    top.annotate(
                        f"$10^{round(np.log10(row['n_sweeps']))}$",
                        (10**at.log10_time, row["mean"]),
                        above if (key == "swap_monte_carlo") != is_near else below,
                        textcoords="offset points",
                        color=colour,
                    )
        top.set(
            xscale="log",
            xlim=(1, 1e16),
            xlabel="cooling time $t^*$",
            ylabel=r"$e_\mathrm{IS}/\varepsilon_\mathrm{ZrZr}$ per atom",
        )
        wells = (
            f"$\\varepsilon_\\mathrm{{Cu}}$ = {lj.epsilon[0, 0]:g} eV, "
            f"$\\varepsilon_\\mathrm{{Zr}}$ = {lj.epsilon[1, 1]:g} eV"
        )
        seconds = lj.time_unit() * 1e-15
        upper = top.secondary_xaxis(
            "top", functions=(lambda t, s=seconds: t * s, lambda t, s=seconds: t / s)
        )
        upper.set_xlabel(f"{result['table']} table: {wells}\nseconds")
        top.legend(frameon=False, fontsize=7.5, loc="lower left")

        onset, relaxation = result["onset"], result["relaxation"]
        bottom.errorbar(
            1 / np.array(relaxation["temperatures"]),
            onset["ratios"],
            np.array(onset["ratios"]) * relaxation["log_tau_error"],
            fmt="o",
            color="C0",
            ms=4,
        )
        bottom.axhline(1.0, color="0.5", lw=1)
        bottom.axhline(1.0 + CRITERION, color="0.5", lw=1, ls=":")
        bottom.axvline(1 / 2.09, color="C2", lw=1, label="the paper's onset, 2.09")
        if np.isfinite(onset["reduced_temperature"]):
            label = f"onset {onset['reduced_temperature']:.2f}"
            bottom.axvline(1 / onset["reduced_temperature"], color="C0", ls="--", lw=1, label=label)
        bottom.set(xlabel="$1/T^*$", ylabel=r"$\tau_\alpha$ / Arrhenius", ylim=(0.8, 2.0))
        bottom.legend(frameon=False, fontsize=7.5, loc="upper left")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where the runs, tables and figure go")
    parser.add_argument("--quick", action="store_true", help="a rough version in one CPU minute")
    parser.add_argument("--draw", action="store_true", help="only tables and figure, no new runs")
    parser.add_argument(
        "--sweeps-up-to", type=float, default=1e6, help="longest Monte Carlo cooling  [1e6]"
    )
    parser.add_argument(
        "--times-up-to", type=float, default=1e4, help="longest molecular dynamics, t*  [1e4]"
    )
    parser.add_argument(
        "--efficient-up-to", type=float, default=1e5, help="the same, efficient protocol  [1e5]"
    )
    parser.add_argument(
        "--one-by-one-from",
        type=float,
        default=float("inf"),
        metavar="SWEEPS",
        help="lengths whose sixteen glasses are cooled one after the other  [none]",
    )
    parser.add_argument(
        "--table", action="append", choices=TABLES, help="measure this table only; repeatable"
    )
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    effort = QUICK if arguments.quick else FULL
    runs = Runs(arguments.directory / "supercooling_clock.json")
    if not arguments.draw:
        chosen = replace(
            effort,
            times=tuple(pair for pair in effort.times if pair[0] <= arguments.times_up_to),
            sweeps=tuple(n for n in effort.sweeps if n <= arguments.sweeps_up_to),
            efficient=tuple(n for n in effort.efficient if n <= arguments.efficient_up_to),
            one_by_one_from=arguments.one_by_one_from,
        )
        for table in arguments.table or TABLES:
            measure(table, chosen, runs)
    results = [study(table, effort, runs) for table in TABLES if runs.results(f"{table}-relax")]
    stem = arguments.directory / "supercooling_clock"
    for result in results:
        for clock in result["clocks"]:
            clock["bootstrap"] = clock["bootstrap"][:200]
    runs.write({"results": results})
    stem.with_suffix(".md").write_text(tabulate(results, runs.cpu_seconds))
    draw(results, stem.with_suffix(".svg"))
    say(f"{runs.cpu_seconds:.0f} CPU seconds in total: {stem}.svg, .md and .json")


if __name__ == "__main__":
    main()
