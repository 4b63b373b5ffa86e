"""Scales: the same campaign with smaller numbers.

Everything that a scale changes is in this file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.alloy import Alloy
from mgflows.errors import InputError
from mgflows.flows.campaign import CampaignMaker
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.training import TrainingFlowMaker
from mgflows.flows.validation import ValidationFlowMaker
from mgflows.jobs.dataset import DatasetMaker
from mgflows.jobs.labels import AseMethod
from mgflows.jobs.makers import makers_for
from mgflows.jobs.quench import QuenchMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.jobs.validation import ValidationMaker
from mgflows.nep.training.trainer import NepTrainer
from mgflows.validation.acceptance import AcceptanceSettings

if TYPE_CHECKING:
    from mgflows.methods.base import LabelMethod
    from mgflows.schemas.training import Split
    from mgflows.surrogate.glasses import ProtocolName

__all__ = [
    "PAPER",
    "SCALES",
    "Scale",
    "scale_table",
    "scaled_campaign",
    "stand_in_campaign",
    "with_samplers",
]


_LAST_LEARNING_RATE = 1e-4
_REPORTS = 10
"""Points of the loss curve."""


@dataclass(frozen=True)
class Scale:
    """The numbers of a campaign that determine its run time.

    Parameters
    ----------
    name
        Name of the scale.
    n_atoms
        Atoms in a sample.
    samples
        (cooling length in sweeps, number of samples) pairs.
    coolings
        (duration in t*, number of runs) pairs of the surrogate's molecular dynamics.
    relaxed_fraction
        Fraction of the samples that are relaxed, strained and heated.
    n_heated
        Number of these that are heated for the training set; None: all.
    n_held_out
        Further heating trajectories, entirely in the test set.
    heating_steps
        Steps, and frames, of each.
    n_crystals
        Largest number of crystal prototypes; None takes all.
    training_steps
        Steps of the trainer before the feedback, and in each training after it.
    training_batches
        Frames per step, likewise.
    training_rates
        First learning rate, likewise.
    acceptance_melt
        (number of glasses, ps) of the melts in the acceptance test, at the temperature from which
        the feedback quenches cool.
    quench_rates
        K/ps of the feedback quenches.
    n_quenches
        Glasses per rate.
    n_quench_frames
        Labelled configurations of each.
    quench_temperature
        K from which the feedback quenches cool.
    quench_equilibration
        ps at that temperature.
    suite
        Validation suite.
    """

    name: str
    n_atoms: int
    samples: tuple[tuple[int, int], ...]
    coolings: tuple[tuple[float, int], ...]
    relaxed_fraction: float
    n_heated: int | None
    n_held_out: int
    heating_steps: int
    n_crystals: int | None
    training_steps: tuple[int, int]
    training_batches: tuple[int, int]
    training_rates: tuple[float, float]
    acceptance_melt: tuple[int, float]
    quench_rates: tuple[float, ...]
    n_quenches: int
    n_quench_frames: int
    quench_temperature: float
    quench_equilibration: float
    suite: str


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            name="tiny",
            n_atoms=120,
            samples=((1_000, 8), (10_000, 6), (100_000, 1)),
            coolings=((10.0, 2), (30.0, 2), (100.0, 2)),
            relaxed_fraction=0.1,
            n_heated=None,
            n_held_out=1,
            heating_steps=60,
            n_crystals=3,
            training_steps=(3000, 1500),
            training_batches=(2, 2),
            training_rates=(2e-2, 1e-2),
            acceptance_melt=(1, 0.5),
            quench_rates=(4000.0, 2000.0),
            n_quenches=1,
            n_quench_frames=6,
            quench_temperature=1000.0,
            quench_equilibration=0.2,
            suite="tiny",
        ),
        Scale(
            name="small",
            n_atoms=150,
            samples=((1_000, 31), (10_000, 31), (100_000, 15), (1_000_000, 3)),
            coolings=((30.0, 4), (100.0, 4), (300.0, 4), (1000.0, 4)),
            relaxed_fraction=0.1,
            n_heated=2,
            n_held_out=2,
            heating_steps=120,
            n_crystals=8,
            training_steps=(7000, 7000),
            training_batches=(2, 2),
            training_rates=(2e-2, 1e-2),
            acceptance_melt=(2, 2.0),
            quench_rates=(1000.0, 400.0, 200.0),
            n_quenches=1,
            n_quench_frames=16,
            quench_temperature=2000.0,
            quench_equilibration=2.0,
            suite="quick",
        ),
    )
}
"""Scales of the quickstart."""

PAPER = {
    "n_atoms": "150",
    "samples": "10^4 to 10^9 sweeps, numbers not stated",
    "coolings": "10^2 to 4x10^6, numbers not stated",
    "relaxed_fraction": "0.1",
    "n_heated": "not stated",
    "n_held_out": "2",
    "heating_steps": "about 120",
    "n_crystals": "44 from the Materials Project",
    "training_steps": "10^5 generations of an evolution strategy",
    "training_batches": "not stated",
    "training_rates": "none: an evolution strategy",
    "acceptance_melt": "none",
    "quench_rates": "1, 0.1, 0.01",
    "n_quenches": "not stated",
    "n_quench_frames": "1, the final glass",
    "quench_temperature": "2000",
    "quench_equilibration": "not stated",
    "suite": "1500 to 4500 atoms, 20 to 85 samples",
}
"""The paper's numbers (section II and Methods), for comparison."""


_TITLES = {
    "n_atoms": "atoms in a sample",
    "samples": "samples x sweeps of swap Monte Carlo",
    "coolings": "runs x duration (t*) of surrogate molecular dynamics",
    "relaxed_fraction": "fraction of the samples relaxed, strained and heated",
    "n_heated": "of these heated for training",
    "n_held_out": "further heating trajectories, all in the test set",
    "heating_steps": "steps of each, all of them frames",
    "n_crystals": "crystal prototypes",
    "training_steps": "training steps before and after the feedback",
    "training_batches": "frames per step",
    "training_rates": "first learning rate",
    "acceptance_melt": "acceptance of a potential: melts, ps",
    "quench_rates": "feedback quenches (K/ps)",
    "n_quenches": "glasses per rate",
    "n_quench_frames": "labelled configurations of each",
    "quench_temperature": "from (K)",
    "quench_equilibration": "after an equilibration there of (ps)",
    "suite": "validation suite",
}


def scale_table() -> list[tuple[str, ...]]:
    """Return rows (setting, value at each scale ..., the paper's), with a header row."""
    header = ("setting", *SCALES, "paper")
    return [
        header,
        *(
            (title, *(_words(getattr(scale, name)) for scale in SCALES.values()), PAPER[name])
            for name, title in _TITLES.items()
        ),
    ]


def _words(value: object) -> str:
    """Format a setting; pairs of length and number become ``number x length``."""
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return ", ".join(f"{count} x {length:g}" for length, count in value)
    if isinstance(value, tuple):
        return ", ".join(f"{member:g}" for member in value)
    return str(value)


def _find(name: str | Scale) -> Scale:
    if isinstance(name, Scale):
        return name
    if name not in SCALES:
        raise InputError(
            f"the scale {name!r} does not exist", hint=f"choose one of {', '.join(SCALES)}"
        )
    return SCALES[name]


def stand_in_campaign(
    scale: str | Scale = "small", *, alloy: Alloy | None = None, name: str = "", seed: int = 0
) -> CampaignMaker:
    """Return the campaign of ``mgflows quickstart``.

    It is the whole method, with an embedded-atom stand-in in place of density-functional theory.

    Parameters
    ----------
    scale
        Name of one of the :data:`SCALES`, or a scale.
    alloy
        The alloy; Cu46Zr46Al8 by default. The stand-in supports Cu, Zr and Al.
    name
        Name of the campaign; alloy and scale by default.
    seed
        Seed from which every random choice gets its own.

    Raises
    ------
    InputError
        For a scale that does not exist.
    """
    alloy = alloy or Alloy.cuzral(n_atoms=_find(scale).n_atoms)
    method = AseMethod.stand_in(alloy.species)
    return _at_scale(_find(scale), method, alloy, name, seed, labels="a stand-in EAM")


def scaled_campaign(
    scale: str | Scale, method: LabelMethod, *, alloy: Alloy, name: str = "", seed: int = 0
) -> CampaignMaker:
    """Return a campaign of a scale for any alloy, labelled by any method.

    Parameters
    ----------
    scale
        Name of one of the :data:`SCALES`, a scale, or ``"paper"`` for the defaults of
        :class:`~mgflows.flows.campaign.CampaignMaker`.
    method
        Method of all labels. A classical or machine-learned potential is also the reference of the
        validation; a density functional would be too expensive for it.
    alloy
        The alloy.
    name
        Name of the campaign; alloy and scale by default.
    seed
        Seed from which every random choice gets its own.

    Raises
    ------
    InputError
        For a scale that does not exist.

    Examples
    --------
    >>> from mgflows.methods.gpaw import GpawMethod
    >>> alloy = Alloy.from_formula("Zr50Cu50", mass_density=8.4)
    >>> scaled_campaign("small", GpawMethod(n_ranks=8), alloy=alloy).name
    'Zr50Cu50-small'
    """
    if scale == "paper":
        sampling, labelling, quenching = np.random.SeedSequence(seed).generate_state(3).tolist()
        paper = CampaignMaker(name=name or f"{alloy.name}-paper", alloy=alloy, scale="paper")
        assert paper.feedback_maker is not None
        return replace(
            paper,
            sampling_maker=replace(paper.sampling_maker, seed=sampling),
            label_maker=replace(paper.label_maker, seed=labelling),
            feedback_maker=replace(paper.feedback_maker, seed=quenching),
        ).labelled_by(method)
    return _at_scale(_find(scale), method, alloy, name, seed, labels=method.description)


def with_samplers(
    maker: CampaignMaker, protocol: ProtocolName = "paper", sampler: Literal["md", "swap"] = "md"
) -> CampaignMaker:
    """Return a campaign with other protocols for its glasses.

    Parameters
    ----------
    maker
        The campaign; names of options that differ from the paper are appended to its name.
    protocol
        Cooling protocol of the surrogate (:class:`~mgflows.surrogate.glasses.GlassProtocol`).
    sampler
        Sampler of the quenches with the trained potential
        (:class:`~mgflows.flows.feedback.FeedbackFlowMaker`).

    Raises
    ------
    InputError
        For an unknown protocol or sampler.
    """
    sampling = maker.sampling_maker
    return replace(
        maker,
        name="-".join(
            [
                maker.name,
                *([protocol] if protocol != "paper" else []),
                *([sampler] if sampler != "md" else []),
            ]
        ),
        sampling_maker=replace(
            sampling, monte_carlo_maker=replace(sampling.monte_carlo_maker, protocol=protocol)
        ),
        feedback_maker=maker.feedback_maker and replace(maker.feedback_maker, sampler=sampler),
    )


def _at_scale(
    numbers: Scale, method: LabelMethod, alloy: Alloy, name: str, seed: int, *, labels: str
) -> CampaignMaker:
    """The campaign of a scale; `labels` describes the label method in words."""
    makers = makers_for(method)
    is_dft = method.fingerprint(alloy.species).is_dft
    # A density functional is too slow for tests that take seconds.
    reference = None if is_dft else method
    scaled_down = (
        f"scale {numbers.name!r}: {sum(count for _, count in numbers.samples)} samples of "
        f"{alloy.n_atoms} atoms cooled in at most {max(numbers.samples)[0]:.0e} sweeps (paper: "
        f"1e9), labels from {labels} (paper: VASP), "
        f"{numbers.training_steps[0]} + {numbers.training_steps[1]} steps of SOAP (paper: 1e5 "
        f"generations of SNES), quenches at {min(numbers.quench_rates):g} to "
        f"{max(numbers.quench_rates):g} K/ps (paper: 0.01 to 1)"
    )

    # One independent stream for each purpose, all from the one seed.
    sampling, heating, quenching, training_seed, splitting, validating = (
        np.random.SeedSequence(seed).generate_state(6).tolist()
    )
    dataset = DatasetMaker(split_seed=splitting)
    n_glasses, melt_time = numbers.acceptance_melt
    acceptance = AcceptanceSettings(
        melt_temperature=numbers.quench_temperature, melt_time=melt_time, n_glasses=n_glasses
    )

    def training(generation: int, split: Split) -> TrainingMaker:
        trainer = NepTrainer(
            steps=numbers.training_steps[generation],
            batch=numbers.training_batches[generation],
            learning_rate=(numbers.training_rates[generation], _LAST_LEARNING_RATE),
            reports=_REPORTS,
        )
        # The potential of the other split is only used for the comparison.
        return TrainingMaker(
            trainer=trainer,
            split=split,
            seed=training_seed,
            acceptance=acceptance if split == "family" else None,
            reference=reference if split == "family" else None,
        )

    def train(generation: int) -> TrainingFlowMaker:
        return TrainingFlowMaker(
            dataset_maker=dataset,
            training_maker=training(generation, "family"),
            comparison_maker=training(generation, "paper"),
        )

    return CampaignMaker(
        name=name or f"{alloy.name}-{numbers.name}",
        alloy=alloy,
        sampling_maker=SamplingFlowMaker(
            samples=numbers.samples, coolings=numbers.coolings, onset_maker=None, seed=sampling
        ),
        label_maker=LabelFlowMaker(
            label_maker=makers.label,
            relax_maker=makers.relax,
            heating_maker=replace(makers.heating, n_steps=numbers.heating_steps),
            label_sets=not is_dft,
            relaxed_fraction=numbers.relaxed_fraction,
            n_heated=numbers.n_heated,
            n_held_out=numbers.n_held_out,
            n_crystals=numbers.n_crystals,
            seed=heating,
        ),
        training_maker=train(0),
        feedback_maker=FeedbackFlowMaker(
            quench_maker=QuenchMaker(
                temperature_high=numbers.quench_temperature,
                equilibration_time=numbers.quench_equilibration,
                n_frames=numbers.n_quench_frames,
            ),
            label_maker=makers.label,
            label_sets=not is_dft,
            cooling_rates=numbers.quench_rates,
            n_glasses=numbers.n_quenches,
            seed=quenching,
        ),
        retraining_maker=train(1),
        validation_maker=ValidationFlowMaker(
            validation_maker=ValidationMaker(
                suite=numbers.suite,
                reference=reference if isinstance(reference, AseMethod) else None,
                seed=validating,
            )
        ),
        scale=numbers.name,
        scaled_down=scaled_down,
    )


if __name__ == "__main__":
    import sys

    rows = ["| " + " | ".join(row) + " |" for row in scale_table()]
    rows.insert(1, "|" + "---|" * len(scale_table()[0]))
    sys.stdout.write("\n".join(rows) + "\n")
