"""Estimates of the cost of a campaign's jobs before any of them has run.

Coolings, quenches and trainings estimate themselves (:class:`mgflows.flows.tags.Schedule`). Labels
are estimated from one label: measured here for a calculator that runs on this machine, and that of
the paper for a density functional.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.flows.tags import all_jobs
from mgflows.flows.teacher import TEACHER_PREFIX, TeacherFlowMaker
from mgflows.flows.training import training_seconds
from mgflows.jobs.committee import CommitteeMemberMaker
from mgflows.jobs.fitness import FitnessMaker
from mgflows.methods.ase import AseMethod
from mgflows.text import rounded

if TYPE_CHECKING:
    from jobflow import Job

    from mgflows.alloy import Alloy
    from mgflows.flows.campaign import CampaignMaker

__all__ = ["LabelCost", "StageCost", "label_cost", "stage_costs"]

PAPER_LABEL_HOURS = 113
"""Core hours of one label of 150 atoms with VASP (paper, Methods, "DFT Calculations")."""
PAPER_RELAXATION, PAPER_HEATING = 23, 97
"""Cost of a relaxation and of a heating in labels (paper, likewise)."""
_PAPER_HEATING_STEPS = 120
_COLLECTOR_SECONDS = 1.0
"""Datasets, deformations, checks and other jobs that estimate nothing, as in forecasts."""


@dataclass(frozen=True)
class StageCost:
    """The estimated cost of a stage before it runs.

    Attributes
    ----------
    stage
        Its name.
    n_jobs
        Number of jobs.
    core_hours
        Sum of the estimates of the jobs, of which `n_unknown` have none; None if all have none.
    n_unknown
        Jobs without an estimate: labels of a calculator that does not run here, and the jobs that
        decide about further rounds.
    n_labels
        Labels with the method of the campaign, relaxations and heatings not counted.
    """

    stage: str
    n_jobs: int
    core_hours: float | None
    n_unknown: int
    n_labels: int = 0


@dataclass(frozen=True)
class LabelCost:
    """The cost of labels of samples of an alloy in core seconds.

    Attributes
    ----------
    label
        One label in its own calculation.
    relaxation, heating_step
        A relaxation, and one step of a heating.
    is_measured
        Whether it was measured here; otherwise it is that of the paper.
    """

    label: float
    relaxation: float
    heating_step: float
    is_measured: bool

    @property
    def basis(self) -> str:
        """Where the numbers come from, in words."""
        if self.is_measured:
            return f"a label took {rounded(self.label)} core seconds here"
        return (
            f"in the paper, with VASP, one label of 150 atoms took {PAPER_LABEL_HOURS} core hours, "
            f"a relaxation {PAPER_RELAXATION} and a heating {PAPER_HEATING} times as long"
        )


def label_cost(method: Any, alloy: Alloy) -> LabelCost | None:
    """Estimate the cost of labels.

    Parameters
    ----------
    method
        The method of the labels, or a Maker with it.
    alloy
        The alloy, for the structure that is labelled.

    Returns
    -------
    The cost; None for a calculator that does not run here.
    """
    method = getattr(method, "method", method)
    if not isinstance(method, AseMethod) or method.is_dft:
        hours = 3600.0 * PAPER_LABEL_HOURS
        return LabelCost(
            label=hours,
            relaxation=PAPER_RELAXATION * hours,
            heating_step=PAPER_HEATING * hours / _PAPER_HEATING_STEPS,
            is_measured=False,
        )
    try:
        return _measure(method, alloy)
    except Exception:  # noqa: BLE001
        # Every calculator has its own errors; one with given `elements` may run on workers only.
        return None


def _measure(method: AseMethod, alloy: Alloy) -> LabelCost:
    """Time a label, and the evaluation of a further configuration by the same calculator."""
    from ase import Atoms

    from mgflows.schemas.frames import Frame

    n_sites = math.ceil(alloy.n_atoms ** (1.0 / 3.0) - 1e-9)
    sites = list(itertools.product(range(n_sites), repeat=3))[: alloy.n_atoms]
    spacing = alloy.box_length / n_sites
    atoms = Atoms(
        alloy.symbols,
        positions=[[spacing * index for index in site] for site in sites],
        cell=[alloy.box_length] * 3,
        pbc=True,
    )
    seconds = []
    # The first label imports and compiles.
    for _ in range(2):
        started = time.process_time()
        atoms.calc = method.build(atoms)
        Frame.from_atoms(atoms, name="of the estimate")
        seconds.append(time.process_time() - started)
        atoms.rattle(0.05, seed=1)
        started = time.process_time()
        atoms.get_forces()
        step = time.process_time() - started
        close = getattr(atoms.calc, "close", None)
        if close is not None:
            close()
    return LabelCost(
        label=seconds[-1],
        relaxation=FitnessMaker.relaxation_steps * step,
        heating_step=step,
        is_measured=True,
    )


def stage_costs(campaign: CampaignMaker, labels: LabelCost | None = None) -> list[StageCost]:
    """Estimate the cost of every stage from the jobs of the flow; nothing is submitted.

    Parameters
    ----------
    campaign
        The campaign.
    labels
        Cost of a label; by default :func:`label_cost` of the campaign's method.

    Raises
    ------
    InputError
        If the campaign cannot work, as :meth:`CampaignMaker.make` finds.
    """
    flow = campaign.make()
    labels = labels or label_cost(campaign.label_maker.label_maker, campaign.alloy)
    teacher = None if campaign.teacher is None else label_cost(campaign.teacher, campaign.alloy)
    found: defaultdict[str, list[tuple[float | None, int]]] = defaultdict(list)
    for job in all_jobs(flow):
        tags = job.metadata["mgflows"]
        is_of_teacher = job.name.startswith(TEACHER_PREFIX)
        n_labels = 0 if is_of_teacher else _n_labels(job)
        seconds = tags.get("seconds")
        if seconds is None:
            seconds = _seconds(job, teacher if is_of_teacher else labels)
        found[tags["stage"]].append((seconds, n_labels))
    return [
        StageCost(
            stage,
            len(jobs),
            sum(known) / 3600.0 if known else None,
            len(jobs) - len(known),
            sum(n for _, n in jobs),
        )
        for stage, jobs in found.items()
        for known in [[seconds for seconds, _ in jobs if seconds is not None]]
    ]


def _seconds(job: Job, labels: LabelCost | None) -> float | None:
    """The estimate of a job that has none itself."""
    maker = job.maker
    if isinstance(maker, CommitteeMemberMaker):
        return training_seconds(maker)
    if n_labels := _n_labels(job):
        return None if labels is None else n_labels * labels.label
    if job.config.manager_config["_category"] != "dft":
        return None if _makes_rounds(job) else _COLLECTOR_SECONDS
    if labels is None:
        return None
    n_steps = getattr(maker, "n_steps", None)
    return labels.relaxation if n_steps is None else n_steps * labels.heating_step


def _n_labels(job: Job) -> int:
    """Labels that a job makes; 0 for relaxations, heatings and other jobs."""
    maker = job.maker
    if isinstance(maker, TeacherFlowMaker):
        return maker.choice_maker.n_labels
    words = job.name.removeprefix(TEACHER_PREFIX).split()
    if job.config.manager_config["_category"] != "dft" or words[0] != "label":
        return 0
    # The names of the structures of a set.
    return max((len(each) for each in job.function_args if isinstance(each, list)), default=1)


def _makes_rounds(job: Job) -> bool:
    """Whether a job decides about further rounds of active learning, with jobs of their own."""
    from mgflows.flows.active_learning import ActiveLearningFlowMaker

    return isinstance(job.maker, ActiveLearningFlowMaker)
