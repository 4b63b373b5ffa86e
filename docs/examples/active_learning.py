"""Test error against the number of labels for random, farthest and committee selections.

    python docs/examples/active_learning.py SOURCE OUTPUT

SOURCE is a folder with train.xyz and test.xyz, such as that of a quickstart; the labels of
train.xyz are revealed batch by batch, and test.xyz, of other families, never changes. Crystals are
left out on both sides: the question is which glasses and liquids to label. Every batch doubles the
number of labels. All selections of a seed begin with the same random frames. Each training begins
from random parameters and has the same number of steps.
``--teacher nep.txt`` replaces all labels by those of another potential. ``--seeds N`` changes the
number of repetitions; ``--largest-selection N`` ends all selections but the random one at N labels,
which halves the time.
OUTPUT gets active_learning.svg, active_learning.md and active_learning.json. Every potential that
was trained is kept there, so that an interrupted run resumes. ``--quick`` is a rough version.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.files import write_text
from mgflows.nep import NepParameters, NepTrainer, parity, predict, read_frames
from mgflows.nep.committee import train_committee
from mgflows.nep.selection import SelectionSettings, SelectionStrategy, select_frames
from mgflows.nep.training import LossWeights

if TYPE_CHECKING:
    from ase import Atoms

STRATEGIES = get_args(SelectionStrategy)
QUANTITIES = ("energy", "force", "virial")
_TICKS = [factor * 10**power for power in range(-1, 4) for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 7)]


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    Attributes
    ----------
    sizes
        Numbers of labels at which the errors are measured.
    n_seeds
        Independent repetitions.
    steps, n_members
        Steps of each training, members of the committee.
    largest_selection
        Number of labels at which all selections but the random one end; None for the largest size.
    """

    sizes: tuple[int, ...] = (10, 20, 40, 80, 160)
    n_seeds: int = 5
    steps: int = 1500
    n_members: int = 4
    largest_selection: int | None = None

    def sizes_of(self, strategy: str) -> tuple[int, ...]:
        """Numbers of labels of one selection."""
        if strategy == "random" or self.largest_selection is None:
            return self.sizes
        return tuple(size for size in self.sizes if size <= self.largest_selection)


QUICK = Effort(sizes=(6, 10), n_seeds=1, steps=30, n_members=2)


def run(
    train: list[Atoms], test: list[Atoms], strategy: str, seed: int, effort: Effort, folder: Path
) -> list[dict[str, Any]]:
    """Label round by round; return the test errors after every round."""
    # The virial weight with which the tables of docs/how_to/active_learning.md were measured.
    weights = LossWeights(virial=0.03)
    trainer = NepTrainer(steps=effort.steps, reports=1, loss_weights=weights)
    species = sorted({symbol for frame in train for symbol in frame.get_chemical_symbols()})
    parameters = NepParameters(tuple(species))
    order = np.random.default_rng(seed).permutation(len(train))
    sizes = effort.sizes_of(strategy)
    chosen = [int(index) for index in order[: sizes[0]]]
    rows = []
    for number, following in enumerate([*sizes[1:], None]):
        labelled = [train[index] for index in chosen]
        # The first training is that of all selections.
        place = folder / f"{strategy if number else 'first'}-{seed}-{number}"
        trainer.prepare(place, parameters, labelled, seed=seed)
        potential = trainer.train(place).nep_txt
        result = parity(potential, test)
        errors = result.overall
        subsets: dict[str, int] = {}
        for frame in labelled:
            subsets[frame.info["subset"]] = subsets.get(frame.info["subset"], 0) + 1
        rows.append(
            {
                "strategy": strategy,
                "seed": seed,
                "labels": len(chosen),
                "subsets": subsets,
                **{name: getattr(errors, f"{name}_rmse") for name in QUANTITIES},
                "force_by_subset": {
                    subset: each.force_rmse for subset, each in result.by_subset.items()
                },
            }
        )
        if following is None:
            break
        left = sorted(set(range(len(train))) - set(chosen))
        committee = None
        if strategy == "committee":
            committee = train_committee(
                place / "committee",
                parameters,
                labelled,
                n_members=effort.n_members,
                trainer=trainer,
                seed=seed,
            )
        selection = select_frames(
            [train[index] for index in left],
            following - len(chosen),
            SelectionSettings(strategy, seed=seed + 1000 * number),  # type: ignore[arg-type]
            committee=committee,
            potential=potential,
            known=labelled,
        )
        chosen += [left[index] for index in selection.chosen]
    return rows


def labelled_by(potential: Path, frames: list[Atoms]) -> list[Atoms]:
    """Return the same structures with the labels of a potential."""
    predicted = predict(potential, frames)
    for index, frame in enumerate(frames):
        frame.calc = SinglePointCalculator(
            frame,
            energy=predicted.energies[index] * len(frame),
            forces=predicted.forces[index],
            stress=predicted.stresses[index],
        )
    return frames


def table(results: list[dict[str, Any]]) -> str:
    """Mean and standard error over the seeds, as Markdown."""
    lines = [
        "| labels | selection | energy (meV/atom) | forces (meV/Å) | virial (meV/atom) |",
        "|---|---|---|---|---|",
    ]
    for n in sorted({row["labels"] for row in results}):
        for strategy in STRATEGIES:
            rows = [r for r in results if r["labels"] == n and r["strategy"] == strategy]
            if not rows:
                continue
            cells = []
            for name in QUANTITIES:
                values = np.array([row[name] for row in rows])
                error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
                cells.append(f"{values.mean():.3g} ± {float(f'{error:.1g}'):g}")
            lines.append(f"| {n} | {strategy} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """One panel per error."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mgflows"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    units = {"energy": "meV/atom", "force": "meV/Å", "virial": "meV/atom"}
    figure, panels = plt.subplots(1, 3, figsize=(10.0, 3.2), layout="constrained")
    for panel, name in zip(panels, QUANTITIES, strict=True):
        for strategy, marker in zip(STRATEGIES, "os^", strict=True):
            labels = sorted({r["labels"] for r in results if r["strategy"] == strategy})
            values = [
                [r[name] for r in results if r["labels"] == n and r["strategy"] == strategy]
                for n in labels
            ]
            errors = [
                float(np.std(v, ddof=1)) / len(v) ** 0.5 if len(v) > 1 else 0.0 for v in values
            ]
            panel.errorbar(
                labels,
                [float(np.mean(v)) for v in values],
                errors,
                marker=marker,
                capsize=2,
                label=strategy,
            )
        panel.set(
            xlabel="labels", ylabel=f"{name} error ({units[name]})", xscale="log", yscale="log"
        )
        panel.set_xticks(sorted({r["labels"] for r in results}))
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        panel.minorticks_off()
        low, high = panel.get_ylim()
        panel.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    panels[-1].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read the command line, measure what is missing, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder with train.xyz and test.xyz")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--teacher", type=Path, help="nep.txt that labels all frames again")
    parser.add_argument("--quick", action="store_true", help="a rough version")
    parser.add_argument("--seeds", type=int, help="independent repetitions")
    parser.add_argument("--largest-selection", type=int, help="labels of the selections but random")
    options = parser.parse_args()
    effort = QUICK if options.quick else Effort()
    effort = replace(
        effort,
        n_seeds=options.seeds or effort.n_seeds,
        largest_selection=options.largest_selection,
    )
    train, test = (
        [frame for frame in read_frames(options.source / name) if frame.info["subset"] != "crystal"]
        for name in ("train.xyz", "test.xyz")
    )
    if options.teacher is not None:
        train, test = (labelled_by(options.teacher, frames) for frames in (train, test))
    results: list[dict[str, Any]] = []
    for seed in range(effort.n_seeds):
        for strategy in STRATEGIES:
            results += run(train, test, strategy, seed, effort, options.output / "trainings")
            text = json.dumps({"effort": vars(effort), "results": results}, indent=1)
            write_text(options.output / "active_learning.json", text + "\n")
            print(f"seed {seed}, {strategy}: {results[-1]['force']:.1f} meV/A", flush=True)
        write_text(options.output / "active_learning.md", table(results))
        draw(results, options.output / "active_learning.svg")
    print(table(results))


if __name__ == "__main__":
    main()
