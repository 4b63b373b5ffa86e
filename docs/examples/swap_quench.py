"""Depth of quenched glasses against processor time, with and without exchanges of unlike atoms.

With the potential and the test frames of a finished quickstart:

    python docs/examples/swap_quench.py --directory quickstart --seeds 3

Each quench cools from 2000 to 300 K at zero pressure, starting from another relaxed test glass; the
depth is the energy of the relaxed end (atoms and cell) under the same potential. Ten CPU minutes
per seed. Every row is kept in ``swap_quench.jsonl`` in the directory of ``--work``: an interrupted
run resumes. Prints the table of docs/how_to/molecular_dynamics.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.md import protocols
from mgflows.md.engines import AseEngine
from mgflows.md.exchanges import ExchangeSettings
from mgflows.md.potentials import NepPotential
from mgflows.md.quench import quench
from mgflows.nep import read_frames
from mgflows.structures.relaxation import relax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

ROWS: tuple[tuple[float, float | None], ...] = (
    (40.0, None),
    (40.0, 100.0),
    (40.0, 20.0),
    (10.0, None),
)
"""Cooling rate in K/ps, and fs between blocks of exchanges."""


def measure(glass: Atoms, file: Path, rate: float, interval: float | None, seed: int) -> Any:
    """One row."""
    potential = NepPotential(file)
    exchanges = None if interval is None else ExchangeSettings(interval=interval)
    began = time.process_time()
    engine = AseEngine(potential, exchanges=exchanges)
    result = quench(glass, engine, protocols.quench(cooling_rate=rate), seed=seed)
    seconds = time.process_time() - began
    relaxed = relax(result.atoms, potential.calculator())
    counts = None if result.exchanges is None else result.exchanges.tolist()
    return {
        "rate": rate,
        "interval": interval,
        "seed": seed,
        "energy": float(relaxed.atoms.get_potential_energy()) / len(glass),
        "cpu_seconds": seconds,
        "exchanges": counts,
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print("| K/ps | exchanges every | accepted | e_IS (eV/atom) | CPU s | quenches |")
    print("|---|---|---|---|---|---|")
    for rate, interval in ROWS:
        chosen = [row for row in rows if (row["rate"], row["interval"]) == (rate, interval)]
        if not chosen:
            continue
        energies = np.array([row["energy"] for row in chosen])
        seconds = np.mean([row["cpu_seconds"] for row in chosen])
        accepted = "–"
        if interval:
            trials, taken = np.sum([row["exchanges"] for row in chosen], axis=(0, 1))
            accepted = f"{100.0 * taken / trials:.1f} %"
        error = energies.std(ddof=1) / np.sqrt(len(energies)) if len(energies) > 1 else np.nan
        print(
            f"| {rate:g} | {f'{interval:g} fs' if interval else '–'} | {accepted} | "
            f"{energies.mean():.4f} ± {error:.4f} | {seconds:.0f} | {len(chosen)} |"
        )


def main() -> None:
    """Measure, or resume, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, default=Path("quickstart"))
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    glasses = [
        frame
        for frame in read_frames(options.directory / "test.xyz")
        if frame.info["subset"] == "dft_minimized"
    ]
    path = options.work / "swap_quench.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["rate"], row["interval"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for rate, interval in ROWS:
            if (rate, interval, seed) in done:
                continue
            glass = glasses[seed % len(glasses)]
            rows.append(measure(glass, options.directory / "nep.txt", rate, interval, seed))
            with path.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
