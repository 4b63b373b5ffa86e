"""``mgflows bench``: how fast this machine runs mgflows and its peers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from mgflows.cli.options import json_option, print_json


@click.group()
def bench() -> None:
    """Measure the speed of mgflows and its peers on this machine."""


@bench.command("swap-mc")
@click.option("--atoms", default=150, show_default=True, type=click.IntRange(min=1), help="Atoms of Cu46Zr46Al8.")
@click.option("--temperature", default=2.0, show_default=True, type=click.FloatRange(min=0.0, min_open=True), help="Reduced temperature.")
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(min=0.1), help="Processor time for each code.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Compile the C reference and run LAMMPS where installed.")
@json_option
def swap_mc(atoms: int, temperature: float, seconds: float, peers: bool, as_json: bool) -> None:
    """Swap Monte Carlo moves and molecular-dynamics steps per second on one core, against C (gcc -O3 -march=native -ffast-math) and LAMMPS."""
    from mgflows.cli.swap_benchmark import benchmark

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
    console.print(f"molecular dynamics: {dynamics['mgflows_steps_per_second']:.0f} steps/s", highlight=False)
    if "mgflows_over_lammps" in dynamics:
        console.print(f"molecular dynamics, mgflows / lammps: {dynamics['mgflows_over_lammps']:.2f}")
    for reason in result["absent"].values():
        console.print(f"[yellow]left out:[/] {reason}")
