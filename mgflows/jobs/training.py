"""Training a NEP on a frozen dataset."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import JobConfig, Maker, job

from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store, load_frames
from mgflows.nep.parameters import NepParameters
from mgflows.nep.trainers import GpumdTrainer, NeppoTrainer
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.training import DatasetDocument, ErrorStatistics, PotentialDocument, Split
from mgflows.settings import Settings

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore

    from mgflows.nep.results import LossTable, Parity, ParityTable
    from mgflows.nep.trainers import TrainingProgress

__all__ = ["TrainingMaker"]

_PARITY_POINTS = 20_000
"""Force components kept for parity plots, drawn at random per side; the error statistics use all of them."""


@dataclass
class TrainingMaker(Maker):
    """Train a NEP.

    Parameters
    ----------
    name
        Name of the job.
    trainer
        Which trainer, with its settings.
    parameters
        The model; by default the paper's (Methods, "Neuroevolutional Potential") for the species of the dataset.
    split
        Which split of the dataset decides the training set.
    seed
        Seed of the trainer.
    scaled_down
        In which way the training is smaller than the paper's.
    """

    name: str = "train"
    trainer: NeppoTrainer | GpumdTrainer = field(default_factory=NeppoTrainer)
    parameters: NepParameters | None = None
    split: Split = "family"
    seed: int = 0
    scaled_down: str = ""

    @job(data="parity", output_schema=PotentialDocument, config=JobConfig(expose_store=True))
    def make(
        self,
        dataset: DatasetDocument,
        generation: int = 0,
        started_from: str | None = None,
        initial_potential: str | None = None,
    ) -> PotentialDocument:
        """Train on a dataset and test what comes out.

        Parameters
        ----------
        dataset
            The dataset.
        generation
            0 before the feedback step, 1 after it.
        started_from, initial_potential
            Hash and text of the potential to start from; none: from random parameters.
        """
        from mgflows.nep.results import parity

        dataset = DatasetDocument.model_validate(dataset)
        parameters = self.parameters or NepParameters(species=tuple(dataset.species))
        directory = Path.cwd() / "nep"
        trainer = self.trainer
        if isinstance(trainer, GpumdTrainer) and trainer.command is None:
            trainer = replace(trainer, command=Settings.current().nep_command)
        settings = {"trainer": type(trainer).__name__, **asdict(trainer), "split": self.split}
        with record_provenance(
            seed=self.seed,
            settings=settings,
            packages=("neppo", "torch", "calorine", "nep-adapters"),
        ) as provenance:
            train, test = materialise(current_store(), dataset, self.split)
            trainer.prepare(
                directory,
                parameters,
                train,
                test,
                seed=self.seed,
                initial_potential=initial_potential,
            )
            report = JobProgress("steps")

            def show(state: TrainingProgress) -> None:
                report(
                    state.step,
                    state.n_steps,
                    f"test {1e3 * state.energy_test:.1f} meV/atom, {1e3 * state.force_test:.0f} meV/A",
                )

            result = trainer.train(directory, progress=show)
            sides = {"train": parity(result.nep_txt, train), "test": parity(result.nep_txt, test)}
        return PotentialDocument(
            potential_id=hashlib.sha256(result.nep_txt.encode()).hexdigest()[:16],
            campaign=dataset.campaign,
            dataset_id=dataset.dataset_id,
            generation=generation,
            split=self.split,
            species=dataset.species,
            nep_txt=result.nep_txt,
            nep_in=(directory / "nep.in").read_text(),
            parameters=asdict(parameters),
            trainer=settings | {"version": result.trainer_version},
            started_from=started_from,
            n_train=len(train),
            n_test=len(test),
            errors={side: _errors(table) for side, table in sides.items()},
            loss=_loss_columns(result.loss),
            parity={side: _parity_points(table, self.seed) for side, table in sides.items()},
            method=dataset.fingerprint.description,
            scaled_down=self.scaled_down,
            provenance=provenance,
        )


def materialise(
    store: JobStore, dataset: DatasetDocument, split: Split
) -> tuple[list[Atoms], list[Atoms]]:
    """The training and the test frames of a dataset, loaded one label document at a time, each in the order of their hashes."""
    by_uuid = defaultdict(list)
    for entry in dataset.frames:
        by_uuid[entry.uuid].append(entry)
    atoms = {}
    for uuid, entries in by_uuid.items():
        frames = load_frames(store, uuid)
        for entry in entries:
            atoms[entry.frame_id] = frames[entry.number].to_atoms(
                subset=entry.subset, family=entry.family, frame_id=entry.frame_id
            )
    train = [atoms[entry.frame_id] for entry in dataset.frames if not entry.test[split]]
    test = [atoms[entry.frame_id] for entry in dataset.frames if entry.test[split]]
    return train, test


def _errors(table: ParityTable) -> dict[str, ErrorStatistics]:
    return {
        name: _statistics(errors)
        for name, errors in {"all": table.overall, **table.by_subset}.items()
    }


def _statistics(errors: Parity) -> ErrorStatistics:
    return ErrorStatistics(
        n_frames=errors.n_frames,
        energy_rmse=errors.energy_rmse,
        force_rmse=errors.force_rmse,
        virial_rmse=errors.virial_rmse,
        energy_mae=errors.energy_mae,
        force_mae=errors.force_mae,
        virial_mae=errors.virial_mae,
        energy_r2=errors.energy_r2 if np.isfinite(errors.energy_r2) else None,
    )


def _loss_columns(loss: LossTable) -> dict[str, list[float | None]]:
    """Columns of the loss table; what the trainer does not write is None, since NaN is not JSON."""
    columns = {name: np.asarray(values, dtype=float) for name, values in vars(loss).items()}
    return {
        name: [float(value) if np.isfinite(value) else None for value in values]
        for name, values in columns.items()
    }


def _parity_points(table: ParityTable, seed: int) -> dict[str, Any]:
    """Values for parity plots: all energies and virials, a random choice of the force components."""
    reference, predicted = (
        np.concatenate([forces.ravel() for forces in side.forces])
        for side in (table.labels, table.predictions)
    )
    subsets = np.repeat(table.subsets, [forces.size for forces in table.labels.forces])
    chosen = np.sort(np.random.default_rng(seed).permutation(len(reference))[:_PARITY_POINTS])
    rows, columns = np.array([(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]).T
    return {
        "subset": list(table.subsets),
        "energy": {
            "reference": table.labels.energies.tolist(),
            "predicted": table.predictions.energies.tolist(),
        },
        "virial": {
            "reference": table.labels.virials[:, rows, columns].tolist(),
            "predicted": table.predictions.virials[:, rows, columns].tolist(),
        },
        "force": {
            "reference": reference[chosen].tolist(),
            "predicted": predicted[chosen].tolist(),
            "subset": subsets[chosen].tolist(),
        },
    }
