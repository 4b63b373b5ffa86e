"""Estimates of the cost of a campaign's jobs before any of them has run.

Coolings, quenches and trainings estimate themselves (:class:`mgflows.flows.tags.Schedule`). Labels
are estimated from one label: measured here for a calculator that runs on this machine, extrapolated
from a smaller cell if it is slow, and that of the paper for a density functional.
"""

from __future__ import annotations

import itertools
import math
import resource
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
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
    from collections.abc import Callable, Iterator

    from ase import Atoms
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
_CELLS = (27, 64, 150)
"""Atoms of the cells that are measured before a sample, from the size of the trial structure of
:meth:`~mgflows.methods.ase.AseMethod.check_species`."""
_SHORT = 5.0
"""Largest predicted wall time in s of a label and a further evaluation of a larger cell."""
_LONG = 60.0
"""Wall time in s of an evaluation that is too long for imports and compilation alone."""
_WAITING = 0.25
"""Ratio of CPU time to wall time below which this process has waited for another one."""
_MOMENT = 2.0
"""Wall time in s after which a measurement is announced."""


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
        Whether labels of a sample were measured here; otherwise they are extrapolated, or those of
        the paper.
    extrapolated_from
        Atoms of the measured cell from which the cost is extrapolated; None if it is not.
    uncertainty
        Factor by which an extrapolated cost may be too small or too large.
    """

    label: float
    relaxation: float
    heating_step: float
    is_measured: bool
    extrapolated_from: int | None = None
    uncertainty: float = 1.0

    @property
    def basis(self) -> str:
        """Where the numbers come from, in words."""
        if self.is_measured:
            return f"a label took {rounded(self.label)} core seconds here"
        if self.extrapolated_from is not None:
            return (
                f"a label takes about {rounded(self.label)} core seconds here, "
                f"{rounded(self.label / self.uncertainty)} to "
                f"{rounded(self.label * self.uncertainty)}: extrapolated from "
                f"{self.extrapolated_from} atoms with the square of their number (limits: linear "
                "and cubic)"
            )
        return (
            f"in the paper, with VASP, one label of 150 atoms took {PAPER_LABEL_HOURS} core hours, "
            f"a relaxation {PAPER_RELAXATION} and a heating {PAPER_HEATING} times as long"
        )


@dataclass(frozen=True)
class _Cost:
    """What an evaluation took.

    Attributes
    ----------
    core
        Core seconds.
    wall
        Elapsed time in s.
    """

    core: float
    wall: float


def label_cost(
    method: Any, alloy: Alloy, report: Callable[[str], object] | None = None
) -> LabelCost | None:
    """Estimate the cost of labels.

    A calculator that runs here is measured on cells of 27 atoms and more, up to a sample of the
    alloy. A larger cell is only evaluated if a label of it and a further evaluation will take at
    most 5 s together, predicted with the square of the number of atoms; otherwise the cost is
    extrapolated in the same way from the largest cell that was measured. The cost of pair
    potentials is linear in the number of atoms and that of density functionals up to cubic, so that
    an extrapolated cost may be too large or too small by the ratio of the numbers of atoms
    (:attr:`LabelCost.uncertainty`). If the trial of the calculator on 27 atoms
    (:meth:`~mgflows.methods.ase.AseMethod.check_species`) takes more than a minute, nothing else is
    evaluated, and the cost includes the start of the calculator.

    Core seconds are the CPU time of this process and of child processes that have ended. Where they
    are less than a quarter of the elapsed time, this process has waited for another one, such as a
    server, and the elapsed time counts, times the cores of the method (``n_cores``).

    Parameters
    ----------
    method
        The method of the labels, or a Maker with it.
    alloy
        The alloy, for the structure that is labelled.
    report
        Called, from another thread, with what is being measured if it takes longer than 2 s.

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
        return _measure(method, alloy, report)
    except Exception:  # noqa: BLE001
        # Every calculator has its own errors; one with given `elements` may run on workers only.
        return None


def _measure(method: AseMethod, alloy: Alloy, report: Callable[[str], object] | None) -> LabelCost:
    """Time labels of cells of increasing size, as long as the next is short."""
    with _announced(report, f"trying {method.description} on {_CELLS[0]} atoms"):
        trial = _timed(lambda: method.check_species(alloy.species), method)
    n_measured, label, step = _CELLS[0], trial, trial
    cells = [*(number for number in _CELLS if number < alloy.n_atoms), alloy.n_atoms]
    for n_atoms in cells if trial.wall <= _LONG else ():
        predicted = (label.wall + step.wall) * (n_atoms / n_measured) ** 2
        # The trial imports and compiles, and predicts nothing.
        if n_atoms != cells[0] and predicted > _SHORT:
            break
        try:
            with _announced(
                report, f"measuring a label of {n_atoms} atoms with {method.description}"
            ):
                label, step = _evaluate(method, _cell(alloy, n_atoms))
        except Exception:
            # Every calculator has its own errors; some refuse cells that are small compared with
            # their cutoff. That of the sample itself is raised.
            if n_atoms == alloy.n_atoms:
                raise
            continue
        n_measured = n_atoms
    ratio = alloy.n_atoms / n_measured
    is_measured = ratio == 1.0
    return LabelCost(
        label=ratio**2 * label.core,
        relaxation=ratio**2 * FitnessMaker.relaxation_steps * step.core,
        heating_step=ratio**2 * step.core,
        is_measured=is_measured,
        extrapolated_from=None if is_measured else n_measured,
        uncertainty=max(ratio, 1.0 / ratio),
    )


def _cell(alloy: Alloy, n_atoms: int) -> Atoms:
    """Atoms on a simple cubic lattice, of the density and about the composition of the alloy."""
    from ase import Atoms

    box_length = (n_atoms / alloy.number_density) ** (1.0 / 3.0)
    n_sites = math.ceil(n_atoms ** (1.0 / 3.0) - 1e-9)
    sites = list(itertools.product(range(n_sites), repeat=3))[:n_atoms]
    spacing = box_length / n_sites
    return Atoms(
        [alloy.symbols[index * alloy.n_atoms // n_atoms] for index in range(n_atoms)],
        positions=[[spacing * index for index in site] for site in sites],
        cell=[box_length] * 3,
        pbc=True,
    )


def _evaluate(method: AseMethod, atoms: Atoms) -> tuple[_Cost, _Cost]:
    """Time a label, and the evaluation of a further configuration by the same calculator."""
    from mgflows.schemas.frames import Frame

    def label_atoms() -> None:
        atoms.calc = method.build(atoms)
        Frame.from_atoms(atoms, name="of the estimate")

    # The first label imports and compiles.
    for _ in range(2):
        label = _timed(label_atoms, method)
        step = label
        if label.wall <= _LONG:
            atoms.rattle(0.05, seed=1)
            step = _timed(atoms.get_forces, method)
        close = getattr(atoms.calc, "close", None)
        if close is not None:
            close()
        if step.wall > _SHORT:
            break
    return label, step


def _timed(function: Callable[[], object], method: AseMethod) -> _Cost:
    """Call a function that evaluates a method, and return what it took."""
    started, cpu_before = time.perf_counter(), _cpu_seconds()
    function()
    wall, core = time.perf_counter() - started, _cpu_seconds() - cpu_before
    if core < _WAITING * wall:
        core = wall * method.n_cores
    return _Cost(core, wall)


def _cpu_seconds() -> float:
    """CPU time of this process and of its child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    # getrusage of the process itself is less precise on some systems.
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def _announced(report: Callable[[str], object] | None, what: str) -> Iterator[None]:
    """Report what a block does if it takes longer than a moment."""
    if report is None:
        yield
        return
    timer = threading.Timer(_MOMENT, report, (what,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stage_costs(
    campaign: CampaignMaker,
    labels: LabelCost | None = None,
    report: Callable[[str], object] | None = None,
) -> list[StageCost]:
    """Estimate the cost of every stage from the jobs of the flow; nothing is submitted.

    Parameters
    ----------
    campaign
        The campaign.
    labels
        Cost of a label; by default :func:`label_cost` of the campaign's method.
    report
        As in :func:`label_cost`.

    Raises
    ------
    InputError
        If the campaign cannot work, as :meth:`CampaignMaker.make` finds.
    """
    with _announced(report, "trying the calculators of the campaign on small structures"):
        flow = campaign.make()
    labels = labels or label_cost(campaign.label_maker.label_maker, campaign.alloy, report)
    teacher = None
    if campaign.teacher is not None:
        teacher = label_cost(campaign.teacher, campaign.alloy, report)
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
