"""``mgflows bench``: the speed of mgflows and other codes on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    FiniteFloat,
    campaign_argument,
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, make_table
from mgflows.text import plural, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS = {
    "workflows": "workflows",
    "making the flow (ms per job)": "making",
    "planning and insertion (ms per job)": "insertion",
    "advance (ms per added job)": "advance_per_firework",
    "advance with nothing to add (ms)": "advance",
    "running a job that does nothing (ms)": "overhead",
    "query of a worker for a job (ms)": "checkout",
    "status (ms)": "status",
    "heal with nothing to repair (ms)": "heal",
    "database on disk (KiB per job)": "disk_kib",
    "mongod (MiB)": "mongod_mib",
    "this process (MiB, peak so far)": "client_mib",
}
"""Titles to keys of :func:`mgflows.bench.fireworks.measure`."""


@click.group()
def bench() -> None:
    """Measure the speed of mgflows and other codes on this machine."""


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
    type=FiniteFloat(min=0.0, min_open=True),
    help="Reduced temperature.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=FiniteFloat(min=0.1),
    help="Processor time for each code, s.",
)
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Also measure C (needs gcc) and LAMMPS if installed.",
)
@click.option(
    "--depth",
    is_flag=True,
    help="Also measure the processor time in which each protocol reaches a given depth.",
)
@json_option
def swap_mc(
    atoms: int, temperature: float, seconds: float, peers: bool, depth: bool, as_json: bool
) -> None:
    """Measure swap Monte Carlo moves and molecular-dynamics steps per second on one core.

    For comparison: the same algorithm in C (gcc -O3 -march=native -ffast-math), and LAMMPS.
    """
    from mgflows.bench.swap_monte_carlo import benchmark, measure_depth

    with tempfile.TemporaryDirectory() as directory:
        result = benchmark(atoms, temperature, seconds, Path(directory), peers=peers)
    if depth:
        result["depth"] = measure_depth(atoms)
    if as_json:
        print_json(result)
        return

    console = make_console()
    rows = [
        (
            row["code"],
            row["precision"],
            f"{row['moves_per_second'] / 1e6:.3f}",
            "" if row["energy_per_atom"] is None else f"{row['energy_per_atom']:.3f}",
        )
        for row in result["measurements"]
    ]
    console.print(
        make_table(
            ("code", "precision", "10^6 moves/s", "mean energy"),
            rows,
            numbers=("10^6 moves/s", "mean energy"),
            title=f"{atoms} atoms, T* = {temperature:g}, one core of {result['processor']}",
        )
    )
    for name, ratio in result["ratios"].items():
        own, _, other = name.partition("_over_")
        console.print(f"{own.replace('_', ' ')} / {other.replace('_', ' ')}: {ratio:.2f}")
    dynamics = result["molecular_dynamics"]
    console.print(f"molecular dynamics: {dynamics['mgflows_steps_per_second']:.0f} steps/s")
    if "mgflows_over_lammps" in dynamics:
        ratio = dynamics["mgflows_over_lammps"]
        console.print(f"molecular dynamics, mgflows / lammps: {ratio:.2f}")
    if depth:
        found = result["depth"]
        for protocol, cost in found["seconds"].items():
            words = "not reached" if cost is None else f"{cost:.3f} s of processor time per glass"
            console.print(f"e_IS* = {found['e_is']:.3f} with the {protocol} protocol: {words}")
    for reason in result["absent"].values():
        console.print(f"not measured: {reason}", style="yellow", markup=False)


@bench.command("fireworks")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(min=10),
    help="Jobs of a campaign; repeatable  [default: 1000, 10000].",
)
@click.option(
    "--run",
    "n_run",
    default=200,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of jobs that run.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the servers  [default: a temporary one].",
)
@json_option
def fireworks(sizes: tuple[int, ...], n_run: int, directory: Path | None, as_json: bool) -> None:
    """Measure the overhead of MongoDB and FireWorks per job, with jobs that do nothing.

    Each campaign has its own private server. 10^5 jobs take about two minutes and 1 GB, and one to
    two hours if all of them run.
    """
    from mgflows.bench.fireworks import benchmark

    with tempfile.TemporaryDirectory(prefix="mgb", dir=directory) as folder:
        results = list(benchmark(list(sizes) or [1_000, 10_000], n_run, Path(folder)))
    if as_json:
        print_json(results)
        return

    sizes_run = [plural(result["fireworks"], "job") for result in results]
    make_console().print(
        make_table(
            ("", *sizes_run),
            ((title, *(_cell(each[key]) for each in results)) for title, key in _ROWS.items()),
            numbers=sizes_run,
            title=f"{n_run} of the jobs run, one after the other",
        )
    )


@bench.command("dataset")
@click.option(
    "--frames", "n_frames", default=1000, show_default=True, type=click.IntRange(10), help="Frames."
)
@click.option(
    "--atoms", "n_atoms", default=150, show_default=True, type=click.IntRange(4), help="Atoms each."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the database  [default: a temporary one].",
)
@json_option
def dataset(n_frames: int, n_atoms: int, directory: Path | None, as_json: bool) -> None:
    """Measure time and memory of importing, freezing, loading and exporting many frames."""
    from mgflows.bench.dataset import bench_dataset
    from mgflows.machine.mongod import PrivateMongod
    from mgflows.settings import Settings

    with tempfile.TemporaryDirectory(prefix="mgb", dir=directory) as folder:
        settings = Settings(directory=Path(folder))
        server = PrivateMongod.from_settings(settings)
        server.start()
        try:
            steps = bench_dataset(settings, n_frames, n_atoms)
        finally:
            server.stop()
    if as_json:
        print_json([vars(step) | {"frames": n_frames, "atoms": n_atoms} for step in steps])
        return
    titles = ("s", "CPU s", "ms/frame", "peak MiB")
    rows = [
        (
            step.name,
            f"{step.seconds:.1f}",
            f"{step.cpu_seconds:.1f}",
            f"{1e3 * step.cpu_seconds / n_frames:.2f}",
            f"{step.peak_mib:.0f}",
        )
        for step in steps
    ]
    make_console().print(
        make_table(
            ("step", *titles),
            rows,
            numbers=titles,
            title=f"{n_frames} frames of {n_atoms} atoms (CPU time of the client)",
        )
    )


@bench.command("training")
@click.argument("frames", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    type=click.Choice(["cpu", "cuda"]),
    help="Device of neppo's trainer; repeatable  [default: cpu, and cuda if there is a GPU].",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(min=2),
    help="Frames per step; repeatable  [default: 2].",
)
@click.option(
    "--steps",
    default=400,
    show_default=True,
    type=click.IntRange(min=4),
    help="Steps of the gradient trainers.",
)
@click.option(
    "--cpu-seconds",
    type=FiniteFloat(min=1.0),
    help="Train with each gradient trainer on the CPU for this CPU time, s.",
)
@click.option(
    "--nep", "command", help="GPUMD's executable, to measure the evolution strategy as well."
)
@click.option(
    "--generations",
    default=400,
    show_default=True,
    type=click.IntRange(min=4),
    help="Generations of the evolution strategy.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=2),
    help="Only time a step of mgflows' trainer on one and on this many threads.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the trainings  [default: a temporary one].",
)
@json_option
def training(
    frames: Path,
    devices: tuple[str, ...],
    batches: tuple[int, ...],
    steps: int,
    cpu_seconds: float | None,
    command: str | None,
    generations: int,
    threads: int | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Measure the speed of the trainers and the test errors they reach, overall and by subset.

    The trainers are compared at equal CPU time with --cpu-seconds, otherwise at equal numbers of
    steps. Trainers that are not installed are left out. FRAMES is a directory with train.xyz and
    test.xyz, as mgflows export writes them.
    """
    from mgflows.bench.training import benchmark, graphics_processor
    from mgflows.nep import GpumdTrainer, NeppoTrainer, NepTrainer, Trainer

    if threads is not None:
        _show_thread_efficiency(frames, batches or (2, 8, 32), threads, steps, as_json=as_json)
        return
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
        results = list(
            benchmark(
                frames, trainers, Path(folder), generation=generations, cpu_seconds=cpu_seconds
            )
        )
    if as_json:
        print_json(results)
        return

    hardware = dict.fromkeys(row["hardware"] for row in results if row["hardware"])
    counts = [plural(results[0][key], "frame") for key in ("n_train", "n_test")]
    numbers = ("batch", "steps", "ms/step", "seconds", "CPU s", "E", "F", "W")
    keys = ("batch", "steps", "ms_per_step", "seconds", "cpu_seconds", "energy", "force", "virial")
    rows = []
    for row in results:
        speed = row["seconds_per_step"]
        row["ms_per_step"] = None if speed is None else 1e3 * speed
        rows.append((row["version"], row["device"], *(_cell(row[key]) for key in keys)))
    console = make_console()
    console.print(
        make_table(
            ("trainer", "device", *numbers),
            rows,
            numbers=numbers,
            title=f"{counts[0]} for training, {counts[1]} for the test, {', '.join(hardware)}",
        )
    )
    subsets = list(results[0]["subsets"])
    if len(subsets) > 1:
        console.print(
            make_table(
                ("E / F / W by subset", *subsets),
                (
                    (
                        f"{row['version']}, batch {row['batch']}",
                        *(
                            " / ".join(map(rounded, row["subsets"][name].values()))
                            for name in subsets
                        ),
                    )
                    for row in results
                ),
                numbers=subsets,
            )
        )
    console.print("E, F, W: RMSE of the test frames in meV/atom, meV/Å and meV/atom", style="dim")


def _show_thread_efficiency(
    frames: Path, batches: Sequence[int], threads: int, steps: int, *, as_json: bool
) -> None:
    from mgflows.bench.training import thread_efficiency

    results = list(thread_efficiency(frames, batches, threads, steps))
    if as_json:
        print_json(results)
        return
    numbers = ("batch", "ms/step, 1 thread", f"ms/step, {threads} threads", "efficiency")
    make_console().print(
        make_table(
            numbers,
            (
                (
                    str(row["batch"]),
                    rounded(1e3 * row["one"]),
                    rounded(1e3 * row["several"]),
                    f"{row['efficiency']:.2f}",
                )
                for row in results
            ),
            numbers=numbers,
            title=f"frames of {results[0]['n_atoms']} atoms; 10th percentile of the wall time",
        )
    )


@bench.command("md")
@click.option("--nep", "neps", multiple=True, help="A nep.txt; repeatable.")
@click.option(
    "--eam",
    "tables",
    multiple=True,
    help="An embedded-atom table; repeatable  [default: the stand-in].",
)
@click.option(
    "--atoms",
    "sizes",
    multiple=True,
    type=click.IntRange(min=20),
    help="Atoms; repeatable  [default: 150, 1500, 4500].",
)
@click.option(
    "--seconds",
    default=6.0,
    show_default=True,
    type=FiniteFloat(min=0.1),
    help="Processor time for each engine and size, s.",
)
@json_option
def molecular_dynamics(
    neps: tuple[str, ...],
    tables: tuple[str, ...],
    sizes: tuple[int, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Measure the cost of a step of NPT dynamics by engine, on one core.

    For comparison: nep-adapters alone for a NEP, and LAMMPS alone for embedded atoms. A second
    table has the cost of a trial to exchange two atoms.
    """
    from mgflows.bench.molecular_dynamics import benchmark, default_potentials

    result = benchmark(default_potentials(neps, tables), sizes or (150, 1500, 4500), seconds)
    if as_json:
        print_json(result)
        return

    numbers = ("atoms", "us/atom/step", "steps/s", "ratio")
    rows = [
        (
            row["potential"],
            str(row["n_atoms"]),
            row["engine"],
            rounded(row["microseconds"]),
            rounded(row["steps_per_second"]),
            f"{row['ratio']:.2f}",
        )
        for row in result["measurements"]
    ]
    make_console().print(
        make_table(
            ("potential", "atoms", "engine", *numbers[1:]),
            rows,
            numbers=numbers,
            title=f"processor time, one core of {result['processor']}",
        )
    )
    make_console().print(
        make_table(
            ("potential", "atoms", "exchanges by", "us/trial"),
            [
                (
                    row["potential"],
                    str(row["n_atoms"]),
                    row["method"],
                    rounded(row["microseconds"]),
                )
                for row in result["exchanges"]
            ],
            numbers=("atoms", "us/trial"),
            title="exchanges of unlike atoms",
        )
    )


@bench.command("report")
@campaign_argument()
@click.option(
    "--frames",
    "n_frames",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number to which the frames of the campaign are repeated.",
)
@directory_option
@json_option
def report(campaign: str | None, n_frames: int, directory: Path | None, as_json: bool) -> None:
    """Measure the size of the report of CAMPAIGN with many frames, and how fast it loads.

    The frames of the campaign are repeated, slightly changed. The page is loaded in headless
    Chromium if it is installed.
    """
    from mgflows.bench.report import bench_report
    from mgflows.report import ReportData

    database = open_database(directory)
    name = only_campaign(database, campaign)
    found = bench_report(ReportData.from_database(database, name), n_frames)
    if as_json:
        print_json({"campaign": name, **asdict(found)})
        return
    loaded = "" if found.load_seconds is None else rounded(found.load_seconds)
    rows = (
        ("frames", str(found.n_frames)),
        ("size (MB)", f"{found.megabytes:.2f}"),
        ("drawn elements", str(found.n_elements)),
        ("processor time to make it (s)", rounded(found.render_seconds)),
        ("time to load it in Chromium (s)", loaded or "no Chromium"),
    )
    make_console().print(make_table(("report", name), rows, numbers=(name,)))


def _cell(value: float | None) -> str:
    return rounded(value) if isinstance(value, float) else "" if value is None else str(value)
