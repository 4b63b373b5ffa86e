"""The whole method with DFT labels on one machine: GPAW labels small cells, neppo trains.

    python docs/examples/dft_campaign.py --directory dft

The jobs run through FireWorks. Everything that makes a label expensive is scaled down (see
SCALED_DOWN), so the potential is not meant to be used. Prints the tables of docs/how_to/gpaw.md.
The same command resumes an interrupted campaign.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mgflows import Alloy, CampaignMaker
from mgflows.database import GlassDatabase
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.training import TrainingFlowMaker
from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.jobs.strain import DeformationMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.launch import submit_campaign
from mgflows.machine import LocalLauncher, PrivateMongod
from mgflows.methods.gpaw import GpawMethod
from mgflows.nep.trainers import NeppoTrainer
from mgflows.settings import Settings

SCALED_DOWN = (
    "24 atoms per glass (paper: 150), {cutoff:g} eV (GPAW needs 600: the pressure is GPa off), "
    "k-spacing {k_spacing:g}/A, in a glass the Gamma point alone (paper: 0.162), "
    "relaxed to 0.5 eV/A and 3 GPa only (paper: 0.01 eV/A), "
    "{heating_steps} steps of heating (paper: 120), "
    "crystals of the elements only, no feedback, no validation"
)


def campaign(
    cutoff: float, k_spacing: float, *, heating_steps: int = 8, training_steps: int = 3000
) -> CampaignMaker:
    """Twelve glasses and three strained crystals.

    One glass is relaxed, strained and heated, another relaxed, heated and held out.
    """
    method = GpawMethod(cutoff=cutoff, k_spacing=k_spacing)
    scaled_down = SCALED_DOWN.format(
        cutoff=cutoff, k_spacing=k_spacing, heating_steps=heating_steps
    )
    trainer = NeppoTrainer(steps=training_steps, batch=4, learning_rate=(2e-2, 1e-4), reports=3)
    training = TrainingMaker(trainer=trainer)
    return CampaignMaker(
        name="CuZrAl-GPAW",
        alloy=Alloy.cuzral(n_atoms=24),
        sampling_maker=SamplingFlowMaker(
            samples=((1_000, 6), (10_000, 6)), coolings=(), onset_maker=None, seed=1
        ),
        label_maker=LabelFlowMaker(
            label_maker=AseLabelMaker(method=method),
            relax_maker=AseRelaxMaker(
                method=method, force_tolerance=0.5, stress_tolerance=3.0, max_steps=60
            ),
            heating_maker=AseHeatingMaker(method=method, n_steps=heating_steps),
            volume_maker=DeformationMaker(name="expand and compress", kind="volume"),
            elastic_maker=None,
            relaxed_fraction=1 / 12,
            n_held_out=1,
            n_crystals=3,
            fitness_maker=None,
            # A label costs more than a job: each has a separate job, and what fails is one label.
            label_sets=False,
            seed=2,
        ),
        training_maker=TrainingFlowMaker(training_maker=training, comparison_maker=None),
        feedback_maker=None,
        validation_maker=None,
        scale="DFT example",
        scaled_down=scaled_down,
    )


def print_results(database: GlassDatabase, name: str) -> None:
    """Frames, errors and cost."""
    potential = database.best_potential(name)
    dataset = database.dataset(potential.dataset_id)
    print(f"\n{dataset.fingerprint.description}\n")
    print(
        "| subset | frames | train: E (meV/atom) | F (meV/Å) | W (meV/atom) "
        "| test frames | E | F | W |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    train, test = potential.errors["train"], potential.errors["test"]
    for subset in (*dataset.counts, "all"):
        n_frames = dataset.n_frames if subset == "all" else dataset.counts[subset]["frames"]
        cells = [f"{subset} | {n_frames}"]
        for number, side in enumerate((train, test)):
            errors = side.get(subset)
            cells += [] if number == 0 else [str(errors.n_frames if errors else 0)]
            cells += [
                f"{e:.1f}" if errors else ""
                for e in (
                    (errors.energy_rmse, errors.force_rmse, errors.virial_rmse)
                    if errors
                    else (0, 0, 0)
                )
            ]
        print(f"| {' | '.join(cells)} |")
    if dataset.excluded_families:
        print(f"\nleft out, being ordered: {', '.join(dataset.excluded_families)}")
    state = database.status(name)
    print(
        f"\n{state.completed} of {state.total} jobs done, {state.core_hours:.2f} core hours; "
        f"{potential.scaled_down}"
    )
    for job, reason in state.failures:
        print(f"failed: {job}: {reason}")


def main() -> None:
    """Submit, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, default=Path("dft"), help="where everything goes")
    parser.add_argument("--cutoff", type=float, default=400.0, help="eV")
    parser.add_argument(
        "--k-spacing",
        type=float,
        default=0.69,
        help="1/A; by default one point for a glass, also when it is compressed by a tenth",
    )
    parser.add_argument("--workers", type=int, default=1, help="jobs at the same time")
    options = parser.parse_args()
    directory = options.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    settings = Settings.load(directory)
    settings.n_workers = options.workers
    PrivateMongod.from_settings(settings).start()
    settings.write(directory / "mgflows.yaml")
    maker = campaign(options.cutoff, options.k_spacing)
    submit_campaign(maker, settings)
    started, done = time.monotonic(), -1
    for progress in LocalLauncher(settings, campaign=maker.name).run():
        if progress.n_done != done:
            done = progress.n_done
            print(
                f"{time.monotonic() - started:6.0f} s: {done} jobs done, "
                f"{progress.n_failed} failed",
                flush=True,
            )
    print_results(GlassDatabase(settings), maker.name)


if __name__ == "__main__":
    main()
