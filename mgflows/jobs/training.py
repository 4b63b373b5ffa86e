"""Training of a NEP on a frozen dataset."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, Maker, Response, job

from mgflows.errors import InputError
from mgflows.files import digest_of_text
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store, iterate_frames
from mgflows.jobs.worker import nep_command, nep_device
from mgflows.nep.frame_file import FrameFile
from mgflows.nep.parameters import NepParameters
from mgflows.nep.trainers import GpumdTrainer, NeppoTrainer
from mgflows.nep.training.trainer import NepTrainer, TrainingPausedError
from mgflows.schemas.acceptance import AcceptanceRecord
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.training import (
    DatasetDocument,
    EnergyParity,
    ErrorStatistics,
    ForceParity,
    ParityTable,
    PotentialDocument,
    Split,
    TrainerRecord,
    VirialParity,
)
from mgflows.units import duration
from mgflows.validation.acceptance import (
    AcceptanceFrames,
    AcceptanceSettings,
    accept_potential,
    choose_glasses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from jobflow import JobStore

    from mgflows.methods.base import LabelMethod
    from mgflows.nep.calculator import Device
    from mgflows.nep.results import LossTable, Parity
    from mgflows.nep.results import ParityTable as Predictions
    from mgflows.nep.trainers import TrainingProgress

__all__ = ["TrainingMaker"]

logger = logging.getLogger(__name__)

_N_TESTS = 5
_SEEDS = 2**31
"""Upper bound of the seeds, which leaves room to increment a seed for further runs."""
_PARITY_POINTS = 20_000
"""Force components stored for parity plots, drawn at random per side; errors use all."""


@dataclass
class TrainingMaker(Maker):
    """Train a NEP and run its acceptance tests.

    A training longer than the ``wall_time`` of its :class:`~mgflows.nep.NepTrainer` saves its state
    and is continued by a new job, with the same result.

    Parameters
    ----------
    name
        Name of the job.
    trainer
        The trainer with its settings.
    parameters
        The model; by default the paper's (Methods, "Neuroevolutional Potential") for the species of
        the dataset.
    split
        Split of the dataset that defines the training set.
    seed
        Seed of the trainer.
    scaled_down
        How the training is smaller than the paper's; by default that of the campaign.
    acceptance
        Tests of the potential after the training (:mod:`mgflows.validation.acceptance`);
        None leaves the tests out. A campaign does not continue with a potential that fails.
    reference
        The method of the labels, if a label takes milliseconds: the tests then measure the errors
        along the potential's own molecular dynamics. None for a density functional.
    teacher
        Cheap model whose labels the first training used, in words: recorded with the potential.
    """

    name: str = "train"
    trainer: NepTrainer | NeppoTrainer | GpumdTrainer = field(default_factory=NepTrainer)
    parameters: NepParameters | None = None
    split: Split = "family"
    seed: int = 0
    scaled_down: str = ""
    acceptance: AcceptanceSettings | None = field(default_factory=AcceptanceSettings)
    reference: LabelMethod | None = None
    teacher: str | None = None

    @job(data="parity", output_schema=PotentialDocument, config=JobConfig(expose_store=True))
    def make(
        self,
        dataset: DatasetDocument,
        generation: int = 0,
        started_from: str | None = None,
        initial_potential: str | None = None,
        directory: str | None = None,
    ) -> PotentialDocument | Response[PotentialDocument]:
        """Train on a dataset and test the potential.

        Parameters
        ----------
        dataset
            The dataset.
        generation
            0 before the feedback step, 1 after it.
        started_from, initial_potential
            Hash and text of the potential to start from; without one, from random parameters.
        directory
            Directory of the training, if an earlier job began it; on a file system that both jobs
            share.

        Raises
        ------
        ChangedLabelError
            If a label of the dataset has run again and given another result.
        InputError
            If ``reference`` is another method than that of the labels.
        """
        from mgflows.nep.results import parity

        dataset = DatasetDocument.model_validate(dataset)
        self._check_reference(dataset)
        device = nep_device()
        parameters = self.parameters or NepParameters(species=tuple(dataset.species))
        folder = Path(directory) if directory else Path.cwd() / "nep"
        trainer = self._trainer()
        settings = maker_settings(
            self,
            trainer=trainer,
            generation=generation,
            started_from=started_from,
            nep_device=device,
        )
        with record_provenance(
            seed=self.seed,
            settings=settings,
            packages=("numba", "neppo", "torch", "calorine", "nep-adapters"),
        ) as provenance:
            train, test = materialise(current_store(), dataset, self.split, Path.cwd())
            trainer.prepare(
                folder,
                parameters,
                train,
                test,
                seed=self.seed,
                initial_potential=initial_potential,
            )
            try:
                result = trainer.train(folder, progress=_Display())
            except TrainingPausedError as paused:
                logger.info("%s; a new job continues it", paused.message)
                rest = self.make(
                    dataset, generation, started_from, initial_potential, directory=str(folder)
                )
                return Response(replace=rest)
            sides = {
                side: parity(result.nep_txt, frames, n_components=_PARITY_POINTS, seed=self.seed)
                for side, frames in (("train", train), ("test", test))
            }
            accepted = self._accept(result.nep_txt, train, test, sides["test"], device)
        return PotentialDocument(
            potential_id=digest_of_text(result.nep_txt),
            campaign=dataset.campaign,
            dataset_id=dataset.dataset_id,
            generation=generation,
            split=self.split,
            species=dataset.species,
            nep_txt=result.nep_txt,
            nep_in=(folder / "nep.in").read_text(encoding="utf-8"),
            parameters=parameters,
            trainer=TrainerRecord(
                trainer=type(trainer).__name__,
                version=result.trainer_version,
                settings=asdict(trainer) | {"split": self.split},
            ),
            started_from=started_from,
            n_train=len(train),
            n_test=len(test),
            errors={side: _errors(table) for side, table in sides.items()},
            acceptance=accepted,
            loss=_loss_columns(result.loss),
            parity={
                "train": _parity_points(sides["train"], train),
                "test": _parity_points(sides["test"], test),
            },
            method=dataset.fingerprint.description,
            teacher=self.teacher,
            scaled_down=self.scaled_down,
            provenance=provenance,
        )

    def _trainer(self) -> NepTrainer | NeppoTrainer | GpumdTrainer:
        """The trainer with the command of this machine."""
        if isinstance(self.trainer, GpumdTrainer) and self.trainer.command is None:
            return replace(self.trainer, command=nep_command())
        return self.trainer

    def _check_reference(self, dataset: DatasetDocument) -> None:
        if self.reference is None:
            return
        found = dataset.fingerprint.differences(self.reference.fingerprint(dataset.species))
        if found:
            raise InputError(
                "the reference of the training is another method than that of the labels "
                f"({'; '.join(found)})",
                hint="give the method of the labels, or None if it is expensive",
            )

    def _accept(
        self,
        nep_txt: str,
        train: Sequence[Atoms],
        test: Sequence[Atoms],
        errors: Predictions,
        device: Device,
    ) -> AcceptanceRecord | None:
        if self.acceptance is None:
            return None
        report = JobProgress("tests")
        done = 0

        def show(name: str) -> None:
            nonlocal done
            done += 1
            report(done, _N_TESTS, name)

        # Test glasses are preferred, because they were not trained on.
        glasses = choose_glasses(test if _has_relaxed(test) else chain(test, train))
        result = accept_potential(
            nep_txt,
            glasses,
            settings=self.acceptance,
            reference=self.reference and self.reference.build(glasses[0]),
            frames=AcceptanceFrames(train, test, errors),
            device=device,
            seed=self.seed % _SEEDS,
            progress=show,
        )
        if not result.passed:
            logger.warning("the potential failed its acceptance: %s", result.reason)
        described = self.reference.fingerprint().description if self.reference else ""
        return AcceptanceRecord.from_result(result, self.acceptance, described)


def _has_relaxed(frames: Sequence[Atoms]) -> bool:
    return any(frame.info.get("subset") == "dft_minimized" for frame in frames)


def materialise(
    store: JobStore, dataset: DatasetDocument, split: Split, directory: Path | None = None
) -> tuple[FrameFile, FrameFile]:
    """Load the training and the test frames of a dataset, each in the order of their hashes.

    Label documents are loaded one at a time, and the frames are in a file.

    Parameters
    ----------
    store
        The label documents.
    dataset
        The dataset.
    split
        The split that defines the sides.
    directory
        Where the file of the frames is; None for the system's directory of temporary files.

    Raises
    ------
    ChangedLabelError
        If a label is not the one that the dataset lists.
    """
    frames = FrameFile(directory)
    written: dict[int, int] = {}
    for position, entry, frame in iterate_frames(store, dataset.frames):
        written[position] = len(frames)
        frames.append(
            frame.to_atoms(subset=entry.subset, family=entry.family, frame_id=entry.frame_id)
        )
    sides: dict[bool, list[int]] = {False: [], True: []}
    for position, entry in enumerate(dataset.frames):
        sides[entry.test[split]].append(written[position])
    return frames.chosen(sides[False]), frames.chosen(sides[True])


class _Display:
    """Show the steps of a training as the progress of the job."""

    def __init__(self) -> None:
        self._report = JobProgress("steps")

    def __call__(self, state: TrainingProgress) -> None:
        self._report(
            state.step,
            state.n_steps,
            f"test {1e3 * state.energy_test:.1f} meV/atom, {1e3 * state.force_test:.0f} meV/A; "
            f"{duration(state.seconds_left)} left",
        )


def _errors(table: Predictions) -> dict[str, ErrorStatistics]:
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
    """Return the loss table by column; values that the trainer does not write (nan) are None."""
    columns = {name: np.asarray(values, dtype=float) for name, values in vars(loss).items()}
    return {
        name: [float(value) if np.isfinite(value) else None for value in values]
        for name, values in columns.items()
    }


def _parity_points(table: Predictions, frames: Sequence[Atoms]) -> ParityTable:
    """Return energies, virials and errors by frame, and the force components that were drawn."""
    components = table.components
    assert components is not None
    rows, columns = np.array([(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]).T
    return ParityTable(
        subset=list(table.subsets),
        frame_id=[str(frame.info["frame_id"]) for frame in frames],
        force_error=table.force_errors.tolist(),
        largest_force_error=table.largest_force_errors.tolist(),
        energy=EnergyParity(
            reference=table.labels.energies.tolist(),
            predicted=table.predictions.energies.tolist(),
        ),
        virial=VirialParity(
            reference=table.labels.virials[:, rows, columns].tolist(),
            predicted=table.predictions.virials[:, rows, columns].tolist(),
        ),
        force=ForceParity(
            reference=components.reference.tolist(),
            predicted=components.predicted.tolist(),
            subset=[table.subsets[index] for index in components.frame],
        ),
    )
