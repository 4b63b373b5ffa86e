"""Evaluation of a round of active learning: errors of a potential, and structures to label."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from monty.json import MSONable

from mgflows.errors import InputError
from mgflows.jobs.store import iterate_frames, read_summaries
from mgflows.nep.checks import out_of_range_fraction
from mgflows.nep.committee import Committee
from mgflows.nep.selection import (
    SelectionSettings,
    SelectionStrategy,
    SpreadWindow,
    select_frames,
)
from mgflows.nep.targets import ErrorTarget, certificate, check_targets, root_mean_square
from mgflows.schemas.active_learning import LabelCandidates, Outcome, RoundDocument, SelectedFrame
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.training import DatasetDocument
from mgflows.schemas.validation import QuenchDocument
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms
    from jobflow import JobStore, OutputReference

    from mgflows.alloy import Alloy
    from mgflows.nep.committee import CommitteePredictions
    from mgflows.nep.selection import Selection
    from mgflows.nep.targets import GroupErrors, Grouping, TargetResult
    from mgflows.schemas.provenance import Provenance

__all__ = ["RoundInputs", "RoundSettings", "judge_round"]


@dataclass(frozen=True)
class RoundSettings(MSONable):
    """Conditions for the end of the rounds, and selection of the labels.

    Parameters
    ----------
    selection
        Strategy for selecting candidates (:mod:`mgflows.nep.selection`); the verdict always comes
        from a committee.
    target
        Errors at which the rounds end; None: only the other limits.
    label_budget
        Largest number of configurations labelled in all rounds; None: no limit.
    maximum_rounds
        Largest number of rounds.
    n_labels
        Configurations per round.
    window
        Estimated force errors in eV/A of candidates. A configuration with an atom above the upper
        end is discarded.
    seed
        Seed of the committees, the quenches and the selection.

    Raises
    ------
    InputError
        For an unknown selection or a number that is too small.
    """

    selection: SelectionStrategy = "committee"
    target: ErrorTarget | None = None
    label_budget: int | None = None
    maximum_rounds: int = 5
    n_labels: int = 24
    window: SpreadWindow = field(default_factory=lambda: SpreadWindow(upper=5.0))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.selection not in get_args(SelectionStrategy):
            raise InputError(
                f"the selection is {self.selection!r} but must be one of: "
                f"{', '.join(get_args(SelectionStrategy))}"
            )
        for name in ("label_budget", "maximum_rounds", "n_labels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value} but must be at least 1")


@dataclass(frozen=True)
class RoundInputs(MSONable):
    """Inputs of the evaluation of a round, as references to outputs.

    Parameters
    ----------
    campaign, alloy, scaled_down
        Name and alloy of the campaign, and how it is scaled down.
    number
        Number of the round.
    potential, dataset
        The potential that is evaluated, and the dataset that it was trained on.
    members
        Committee members.
    quenches
        Family to the quench whose configurations are candidates.
    structures
        Start structures of further quenches.
    labels, samples, clock, held_out_families, trajectory_checks, chosen
        Inputs of every dataset of the campaign
        (:class:`~mgflows.flows.training.DatasetInputs`).
    added
        Labels of all rounds.
    new
        Of these, the labels of this round.
    n_requested
        Configurations that all rounds have given to label jobs.
    """

    campaign: str
    alloy: Alloy
    scaled_down: str
    number: int
    potential: OutputReference
    dataset: OutputReference
    members: list[OutputReference]
    quenches: dict[str, OutputReference]
    structures: list[OutputReference]
    labels: list[OutputReference]
    samples: list[OutputReference]
    clock: OutputReference | None
    held_out_families: list[str]
    trajectory_checks: list[OutputReference]
    chosen: list[OutputReference] = field(default_factory=list)
    added: list[OutputReference] = field(default_factory=list)
    new: list[OutputReference] = field(default_factory=list)
    n_requested: int = 0


def judge_round(
    settings: RoundSettings, inputs: RoundInputs, store: JobStore, provenance: Provenance
) -> RoundDocument:
    """Evaluate the potential of a round, and choose the structures to label next.

    Parameters
    ----------
    settings
        Conditions for the end of the rounds, and selection of the labels.
    inputs
        Inputs of the evaluation; quenches and members without an output are left out.
    store
        The outputs.
    provenance
        Provenance of the document.

    Raises
    ------
    InputError
        If fewer than two members, or no quench, succeeded.
    """
    return _Judgement(settings, inputs, store).document(provenance)


class _Judgement:
    """Errors of the potential of a round, and the structures to label next."""

    def __init__(self, settings: RoundSettings, inputs: RoundInputs, store: JobStore) -> None:
        self.settings, self.inputs, self.store = settings, inputs, store
        potential = self._output(inputs.potential, ["potential_id", "nep_txt"])
        self.potential_id, self.nep_txt = potential["potential_id"], potential["nep_txt"]
        self.dataset = DatasetDocument.model_validate(
            store.get_output(inputs.dataset.uuid, load=True)
        )
        self.train, self.test = self._frames()

    def document(self, provenance: Provenance) -> RoundDocument:
        """Measure all errors and give the verdict."""
        settings, inputs = self.settings, self.inputs
        members = [text for text in self._members() if text]
        committee = self._committee(members)
        calibration = committee.calibration
        assert calibration is not None
        quenches = self._quenches()
        structures, origins = self._candidates(quenches)
        budget = math.inf
        if settings.label_budget is not None:
            budget = settings.label_budget - inputs.n_requested
        selection = select_frames(
            structures,
            max(1, int(min(settings.n_labels, budget))),
            SelectionSettings(settings.selection, settings.window, self.seed),
            committee=committee,
            potential=self.nep_txt,
            known=self.train,
        )
        scale = calibration.scales["force"]
        candidates = _candidates(
            committee.predict(structures), selection, scale.value, scale.error, origins, self.seed
        ).model_copy(
            update={
                "n_quenches": len(inputs.quenches),
                "out_of_range": out_of_range_fraction(self.nep_txt, self.train, structures),
                "n_failed": len(inputs.quenches) - len(quenches),
                "n_refused": sum(len(quench.refused) for quench in quenches.values()),
            }
        )
        certificates = self._certificates(committee)
        targets = self._targets(candidates, certificates)
        outcome = self._outcome(targets, candidates, budget, selection)
        selected = [
            SelectedFrame(
                family=origins[index][0],
                number=origins[index][1],
                temperature=origins[index][2],
                force_error=1e3 * float(selection.force_errors[index]),
            )
            for index in (selection.chosen if outcome == "continue" else ())
        ]
        n_labels = sum(
            len(output["summaries"]) for output in self._outputs(inputs.added, ["summaries"])
        )
        return RoundDocument(
            campaign=inputs.campaign,
            round=inputs.number,
            selection=settings.selection,
            potential_id=self.potential_id,
            nep_txt=self.nep_txt,
            dataset_id=self.dataset.dataset_id,
            dataset_uuid=inputs.dataset.uuid,
            n_labels=n_labels,
            n_failed_labels=inputs.n_requested - n_labels,
            label_uuids=[reference.uuid for reference in inputs.added],
            by_subset=certificates["subset"],
            by_decade=certificates["decade"],
            scales=calibration.scales,
            rank_correlation=_known(calibration.rank_correlation.get("force")),
            n_members=len(members),
            candidates=candidates,
            targets=targets,
            selected=selected,
            outcome=outcome,
            passed=outcome != "continue",
            reason=_reason(
                outcome, settings, inputs.n_requested, targets, candidates, len(selected)
            ),
            cpu_seconds={
                "labels": self._cpu(inputs.new),
                "training": self._cpu([inputs.dataset, inputs.potential]),
                "committee": self._cpu(inputs.members),
                "candidates": self._cpu(inputs.quenches.values()),
            },
            provenance=provenance,
        )

    @property
    def seed(self) -> int:
        """Seed of this round."""
        return self.settings.seed + self.inputs.number

    def _committee(self, members: list[str]) -> Committee:
        """The committee with its spread calibrated on the test frames."""
        if len(members) < 2:
            raise InputError(
                f"{len(members)} of {len(self.inputs.members)} members of the committee were "
                "trained, but a spread needs two",
                hint="rerun the failed trainings: mgflows heal",
            )
        return Committee(tuple(members)).calibrated(
            self.test, potential=self.nep_txt, seed=self.seed
        )

    def _certificates(self, committee: Committee) -> dict[str, list[GroupErrors]]:
        """Test errors by subset, by decade of cooling where that is known, and of all frames."""
        groupings: list[Grouping] = ["subset"]
        if any("log10_time" in frame.info for frame in self.test):
            groupings.append("decade")
        if self.settings.target and self.settings.target.energy_by == "all":
            groupings.append("all")
        found: dict[str, list[GroupErrors]] = {"decade": []}
        for by in groupings:
            found[by] = certificate(
                self.test, by=by, potential=self.nep_txt, committee=committee, seed=self.seed
            )
        return found

    def _candidates(
        self, quenches: dict[str, QuenchDocument]
    ) -> tuple[list[Atoms], list[tuple[str, int, float]]]:
        """Configurations of the quenches with their family, number and temperature."""
        structures, origins = [], []
        for family, quench in quenches.items():
            for number, structure in enumerate(quench.structures):
                structures.append(atoms_from_structure(structure))
                origins.append((family, number, quench.temperatures[number]))
        if not structures:
            raise InputError(
                f"none of {plural(len(self.inputs.quenches), 'quench')} with potential "
                f"{self.potential_id} gave a structure",
                hint="see why in mgflows status; train longer, or add labels with mgflows label",
            )
        return structures, origins

    def _targets(
        self, candidates: LabelCandidates, certificates: dict[str, list[GroupErrors]]
    ) -> list[TargetResult]:
        """The errors of this round compared with their targets."""
        target = self.settings.target
        if target is None:
            return []
        return check_targets(
            target,
            (candidates.force_error, candidates.force_error_error),
            certificates[target.energy_by],
        )

    def _outcome(
        self,
        targets: list[TargetResult],
        candidates: LabelCandidates,
        budget: float,
        selection: Selection,
    ) -> Outcome:
        """Whether the rounds continue, and why not."""
        is_met = bool(targets) and all(each.is_met for each in targets)
        if is_met and not candidates.n_discarded and not candidates.n_failed:
            return "target"
        if budget <= 0:
            return "budget"
        if self.inputs.number >= self.settings.maximum_rounds:
            return "rounds"
        return "continue" if selection.chosen else "exhausted"

    def _frames(self) -> tuple[list[Atoms], list[Atoms]]:
        """Training and test frames, with their effective times."""
        times: dict[str, float] = {}
        if self.inputs.clock is not None:
            times = next(iter(self._outputs([self.inputs.clock], ["families"])), {}).get(
                "families", {}
            )
        train: list[Atoms] = []
        test: list[Atoms] = []
        for _, entry, frame in iterate_frames(self.store, self.dataset.frames):
            atoms = frame.to_atoms(
                subset=entry.subset, family=entry.family, frame_id=entry.frame_id
            )
            time = entry.log10_time if entry.log10_time is not None else times.get(entry.family)
            if time is not None:
                atoms.info["log10_time"] = time
            (test if entry.test["family"] else train).append(atoms)
        return train, test

    def _members(self) -> list[str]:
        return [output["nep_txt"] for output in self._outputs(self.inputs.members, ["nep_txt"])]

    def _quenches(self) -> dict[str, QuenchDocument]:
        """The quenches that ended in a glass."""
        stored = {
            uuid
            for uuid, document in read_summaries(
                self.store, self.inputs.quenches.values(), ["potential_id"]
            )
            if document is not None
        }
        return {
            family: QuenchDocument.model_validate(self.store.get_output(reference.uuid, load=True))
            for family, reference in self.inputs.quenches.items()
            if reference.uuid in stored
        }

    def _cpu(self, references: Iterable[OutputReference]) -> float:
        outputs = self._outputs(references, ["provenance.cpu_seconds"])
        return sum(output["provenance"]["cpu_seconds"] for output in outputs)

    def _output(self, reference: OutputReference, fields: list[str]) -> dict[str, Any]:
        found = self._outputs([reference], fields)
        if not found:
            raise InputError(
                f"the output of job {reference.uuid} is not in the database",
                hint="restore it with: mgflows heal --yes",
            )
        return found[0]

    def _outputs(
        self, references: Iterable[OutputReference], fields: list[str]
    ) -> list[dict[str, Any]]:
        return [
            document["output"]
            for _, document in read_summaries(self.store, references, fields)
            if document is not None
        ]


def _candidates(
    prediction: CommitteePredictions,
    selection: Selection,
    scale: float,
    scale_error: float,
    origins: Sequence[tuple[str, int, float]],
    seed: int,
) -> LabelCandidates:
    """Estimate the error where the potential is used, without discarded configurations."""
    kept = [index for index in range(len(prediction)) if index not in selection.discarded]
    value, error = math.nan, None
    if kept:
        squares = (scale * prediction.force_spread[kept]) ** 2
        value, error = root_mean_square(squares, [origins[index][0] for index in kept], seed=seed)
    found = (_known(error), _known(value * scale_error / scale))
    parts = [each for each in found if each is not None]
    return LabelCandidates(
        n_quenches=0,
        n_failed=0,
        n_refused=0,
        n_candidates=len(prediction),
        out_of_range=0.0,
        n_discarded=len(selection.discarded),
        n_known=len(selection.known),
        force_error=1e3 * value,
        force_error_error=1e3 * math.hypot(*parts) if parts else None,
        largest_force_error=1e3 * scale * float(prediction.largest_force_spread.max()),
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _reason(
    outcome: Outcome,
    settings: RoundSettings,
    n_requested: int,
    targets: Sequence[TargetResult],
    candidates: LabelCandidates,
    n_selected: int,
) -> str:
    """Return the verdict in words: the next step, and which errors meet their targets."""
    beginning = {
        "continue": f"{plural(n_selected, 'further label')}",
        "target": "the target is met",
        "budget": f"the budget of {plural(settings.label_budget or 0, 'label')} is spent",
        "rounds": f"the last of {plural(settings.maximum_rounds, 'round')} is done",
        "exhausted": "no candidate has an error inside the window",
    }[outcome]
    if outcome != "target":
        beginning += f" after {plural(n_requested, 'label')}" if outcome == "exhausted" else ""
    error = candidates.force_error_error
    found = [str(target) for target in targets] or [
        f"force error of the candidates {candidates.force_error:.3g}"
        + ("" if error is None else f" ± {error:.2g}")
        + " meV/A"
    ]
    for number, words in (
        (candidates.n_discarded, "with an error above the window"),
        (candidates.n_failed, "of the quenches failed"),
    ):
        if number:
            found.append(f"{number} {words}")
    return f"{beginning}: {'; '.join(found)}"
