"""``mgflows bench``: how fast this machine runs mgflows and its peers."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

from mgflows.cli.options import json_option, print_json


@click.group()
def bench() -> None:
    """Measure the speed of mgflows and its peers on this machine."""


@bench.command("swap-mc")
@click.option(
    "--atoms",
    default=150,
    show_default=True,
    type=click.IntRange(min=1),
    help="Atoms of Cu46Zr46Al8.",
)
@click.option(
    "--temperature",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Reduced temperature.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Processor time for each code.",
)
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Compile the C reference and run LAMMPS where installed.",
)
@json_option
def swap_mc(atoms: int, temperature: float, seconds: float, peers: bool, as_json: bool) -> None:
    """Swap Monte Carlo moves and molecular-dynamics steps per second on one core, against C (gcc -O3 -march=native -ffast-math) and LAMMPS."""
    from mgflows.bench.swap_monte_carlo import benchmark

    with tempfile.TemporaryDirectory() as directory:
        result = benchmark(atoms, temperature, seconds, Path(directory), peers=peers)
    if as_json:
        print_json(result)
        return

    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{atoms} atoms, T* = {temperature:g}, one core of {result['processor']}")
    for column in ("code", "precision", "10^6 moves/s", "mean energy"):
        table.add_column(column, justify="left" if column == "code" else "right")
    for row in result["measurements"]:
        energy = "" if row["energy_per_atom"] is None else f"{row['energy_per_atom']:.3f}"
        table.add_row(row["code"], row["precision"], f"{row['moves_per_second'] / 1e6:.3f}", energy)
    console.print(table)
    for name, ratio in result["ratios"].items():
        mine, _, theirs = name.partition("_over_")
        console.print(f"{mine.replace('_', ' ')} / {theirs.replace('_', ' ')}: {ratio:.2f}")
    dynamics = result["molecular_dynamics"]
    console.print(
        f"molecular dynamics: {dynamics['mgflows_steps_per_second']:.0f} steps/s", highlight=False
    )
    if "mgflows_over_lammps" in dynamics:
        console.print(
            f"molecular dynamics, mgflows / lammps: {dynamics['mgflows_over_lammps']:.2f}"
        )
    for reason in result["absent"].values():
        console.print(f"[yellow]left out:[/] {reason}")


@bench.command("fireworks")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(min=10),
    help="Jobs of a campaign; may be repeated.  [default: 1000, 10000]",
)
@click.option(
    "--run",
    "n_run",
    default=200,
    show_default=True,
    type=click.IntRange(min=2),
    help="How many of the jobs run.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the servers go; by default a temporary folder.",
)
@json_option
def fireworks(sizes: tuple[int, ...], n_run: int, directory: Path | None, as_json: bool) -> None:
    """What MongoDB and FireWorks cost per job, in campaigns that do nothing, each on a private server of its own.

    10^5 jobs take about two minutes and 1 GB, and an hour or two if all of them are to run.
    """
    from mgflows.bench.fireworks import benchmark

    with tempfile.TemporaryDirectory(prefix="mgb", dir=directory) as folder:
        results = list(benchmark(list(sizes) or [1_000, 10_000], n_run, Path(folder)))
    if as_json:
        print_json(results)
        return

    from rich.console import Console
    from rich.table import Table

    rows = {
        "workflows": "workflows",
        "making the flow (ms per job)": "making",
        "planning and insertion (ms per job)": "insertion",
        "advance (ms per job that it adds)": "advance_per_firework",
        "advance with nothing to add (ms)": "advance",
        "running one that does nothing (ms)": "overhead",
        "what a worker asks for a job (ms)": "checkout",
        "status (ms)": "status",
        "heal with nothing to repair (ms)": "heal",
        "database on disk (KiB per job)": "disk_kib",
        "mongod (MiB)": "mongod_mib",
        "this process (MiB, peak so far)": "client_mib",
    }
    table = Table(
        "",
        *(f"{result['fireworks']} jobs" for result in results),
        title=f"{n_run} of the jobs run, one after the other",
    )
    for title, key in rows.items():
        table.add_row(title, *(_in_words(result[key]) for result in results))
    Console().print(table)


@bench.command("training")
@click.argument("frames", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="Device of neppo's trainer; may be repeated.  [default: cpu, and cuda where it is there]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(min=2),
    help="Frames per step; may be repeated.  [default: 2]",
)
@click.option(
    "--steps",
    default=400,
    show_default=True,
    type=click.IntRange(min=4),
    help="Steps of the gradient trainers.",
)
@click.option("--nep", "command", help="GPUMD's executable, to time the evolution strategy, too.")
@click.option(
    "--generations",
    default=400,
    show_default=True,
    type=click.IntRange(min=4),
    help="Generations of the evolution strategy.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the trainings go; by default a temporary folder.",
)
@json_option
def training(
    frames: Path,
    devices: tuple[str, ...],
    batches: tuple[int, ...],
    steps: int,
    command: str | None,
    generations: int,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Speed of the trainers, and the test errors they reach, on the train.xyz and test.xyz in the folder FRAMES (see mgflows export)."""
    from mgflows.bench.training import benchmark, graphics_processor
    from mgflows.nep import GpumdTrainer, NeppoTrainer, NepTrainer, Trainer

    devices = devices or (("cpu", "cuda") if graphics_processor() else ("cpu",))
    trainers: list[Trainer] = [
        NepTrainer(batch=batch, steps=steps, reports=4) for batch in batches or (2,)
    ]
    if find_spec("neppo") is not None:
        trainers += [
            NeppoTrainer(device=device, batch=batch, steps=steps, reports=4)
            for device in devices
            for batch in batches or (2,)
        ]
    if command is not None:
        trainers.append(GpumdTrainer(command=command))
    with tempfile.TemporaryDirectory(prefix="mgb", dir=directory) as folder:
        results = list(benchmark(frames, trainers, Path(folder), generation=generations))
    if as_json:
        print_json(results)
        return

    from rich.console import Console
    from rich.table import Table

    hardware = dict.fromkeys(row["hardware"] for row in results if row["hardware"])
    table = Table(
        title=f"{results[0]['n_train']} training and {results[0]['n_test']} test frames, {', '.join(hardware)}",
        caption="E, W: RMSE in meV/atom, F: in meV/A, of the test frames",
    )
    for column in ("trainer", "device", "batch", "steps", "ms/step", "seconds", "E", "F", "W"):
        table.add_column(column, justify="left" if column in ("trainer", "device") else "right")
    for row in results:
        speed = None if row["seconds_per_step"] is None else 1e3 * row["seconds_per_step"]
        numbers = (
            row["batch"],
            row["steps"],
            speed,
            row["seconds"],
            row["energy"],
            row["force"],
            row["virial"],
        )
        table.add_row(row["version"], row["device"], *map(_in_words, numbers))
    Console().print(table)


def _in_words(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
