"""Members of a committee: trainings on families that are drawn with replacement."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, Response, job

from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store
from mgflows.jobs.training import materialise
from mgflows.nep.committee import bag_families
from mgflows.nep.parameters import NepParameters
from mgflows.nep.training.trainer import NepTrainer, TrainingPausedError
from mgflows.schemas.active_learning import CommitteeMemberDocument
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.training import DatasetDocument

if TYPE_CHECKING:
    from mgflows.nep.trainers import TrainingProgress

__all__ = ["CommitteeMemberMaker"]

logger = logging.getLogger(__name__)


@dataclass
class CommitteeMemberMaker(StoredMaker):
    """Train one member of a committee (:mod:`mgflows.nep.committee`).

    Parameters
    ----------
    name
        Name of the job.
    trainer
        Trainer of every member.
    parameters
        The model; the paper's for the species of the dataset by default.
    """

    name: str = "committee member"
    trainer: NepTrainer = field(default_factory=NepTrainer)
    parameters: NepParameters | None = None

    @job(output_schema=CommitteeMemberDocument, config=JobConfig(expose_store=True))
    def make(
        self, dataset: DatasetDocument, number: int, seed: int, directory: str | None = None
    ) -> CommitteeMemberDocument | Response[CommitteeMemberDocument]:
        """Train a member on the training frames of a dataset.

        Parameters
        ----------
        dataset
            The dataset.
        number
            Number of the member: its stream of the seed.
        seed
            Seed of the committee.
        directory
            Directory of the training, if an earlier job began it.

        Raises
        ------
        InputError
            For a dataset with fewer than two families of training frames.
        """
        dataset = DatasetDocument.model_validate(dataset)
        folder = Path(directory) if directory else Path.cwd() / "nep"
        draw, initial = (
            int(word)
            for word in np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(2) >> 1
        )
        with record_provenance(
            seed=seed,
            settings=maker_settings(self, number=number),
            packages=("numba", "nep-adapters"),
        ) as provenance:
            train, _ = materialise(current_store(), dataset, "family", Path.cwd())
            bag = bag_families(train, draw)
            self.trainer.prepare(
                folder,
                self.parameters or NepParameters(species=tuple(dataset.species)),
                bag,
                seed=initial,
            )
            report = JobProgress("steps")

            def show(state: TrainingProgress) -> None:
                report(state.step, state.n_steps)

            try:
                result = self.trainer.train(folder, progress=show)
            except TrainingPausedError as paused:
                logger.info("%s; a new job continues it", paused.message)
                return Response(replace=self.make(dataset, number, seed, directory=str(folder)))
        return CommitteeMemberDocument(
            nep_txt=result.nep_txt,
            dataset_id=dataset.dataset_id,
            number=number,
            n_frames=len(bag),
            n_families=len({frame.info["family"] for frame in bag}),
            provenance=provenance,
        )
