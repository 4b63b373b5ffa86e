from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.surrogate.correlation import (
    FitnessLimits,
    LabelledSample,
    choose_pilots,
    measure_fitness,
)


def make_samples(
    slope: float = 0.3, noise: float = 0.01, pressure: float = 38.0, n: int = 20
) -> list[LabelledSample]:
    """Samples of three cooling lengths, each deeper than the last."""
    generator = np.random.default_rng(4)
    samples = []
    for number in range(n):
        rank = number % 3
        energy = -1.2 - 0.2 * rank + 0.03 * generator.standard_normal()
        label = -4.0 + slope * energy + noise * generator.standard_normal()
        samples.append(
            LabelledSample(
                f"f{number}",
                10 ** (3 + rank),
                energy,
                energy - 0.02,
                label,
                pressure + generator.standard_normal(),
            )
        )
    return samples


def test_a_suitable_surrogate_passes_and_is_described() -> None:
    fitness = measure_fitness(make_samples())
    assert FitnessLimits().violations(fitness) == []
    assert FitnessLimits().summary(fitness).startswith("over 20 samples the label energy follows")
    assert fitness.fit is not None
    assert fitness.fit_inherent is not None
    assert fitness.fit.slope == pytest.approx(0.3, abs=0.03)
    assert fitness.fit_inherent.slope == pytest.approx(fitness.fit.slope), (
        "a constant offset changes no slope"
    )
    assert [(rate.n_sweeps, rate.n_samples) for rate in fitness.rates] == [
        (1_000, 7),
        (10_000, 7),
        (100_000, 6),
    ]
    assert sum(rate.n_samples * rate.pressure for rate in fitness.rates) / 20 == pytest.approx(
        fitness.pressure
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"slope": -0.3},
            r"changes by -0\.[23]\d \+-.* surrogate's, but must change by more than 0",
        ),
        (
            {"slope": 0.3, "noise": 0.3},
            r"explain [\d.]+% of the variance of the label energies, but must explain at least 50%",
        ),
        ({"pressure": 180.0}, r"is \+180 GPa, outside -10 to 100"),
        ({"n": 2}, "2 labelled samples are too few"),
    ],
)
def test_an_unsuitable_surrogate_is_rejected_with_the_reason(
    changes: dict[str, float], words: str
) -> None:
    (objection,) = FitnessLimits().violations(measure_fitness(make_samples(**changes)))
    assert re.search(words, objection)


def test_a_near_miss_is_reported_in_enough_digits() -> None:
    (objection,) = FitnessLimits(minimum_r2=0.999).violations(measure_fitness(make_samples()))
    assert objection.endswith("but must explain at least 99.9%")
    assert "explain 99.9%" not in objection


@pytest.mark.parametrize("name", ["energy_lj", "energy_label", "pressure"])
def test_values_that_are_not_finite_raise(name: str) -> None:
    samples = make_samples()
    samples[3] = replace(samples[3], **{name: math.nan})
    with pytest.raises(InputError, match="sample f3 has an energy or a pressure"):
        measure_fitness(samples)


def test_limits_can_be_loosened() -> None:
    fitness = measure_fitness(make_samples(slope=-0.3, pressure=180.0))
    assert FitnessLimits(minimum_slope=-1.0, pressure=None).violations(fitness) == []


def test_constant_label_energies_fail() -> None:
    fitness = measure_fitness(make_samples(slope=0.0, noise=0.0))
    assert fitness.fit is not None
    assert math.isnan(fitness.fit.r2) or fitness.fit.r2 <= 0.5
    assert FitnessLimits().violations(fitness)


def test_missing_labels_raise_a_clear_error() -> None:
    with pytest.raises(InputError, match="no sample of the surrogate has a label yet"):
        measure_fitness([])


def test_pilots_cover_all_lengths_equally_and_spread_within_each() -> None:
    lengths = [1_000] * 31 + [10_000] * 31 + [100_000] * 15 + [1_000_000] * 3
    chosen = choose_pilots(lengths, 20)
    assert Counter(lengths[i] for i in chosen) == {1_000: 6, 10_000: 6, 100_000: 5, 1_000_000: 3}
    assert len(set(chosen)) == 20
    assert chosen == sorted(chosen)
    first = [i for i in chosen if lengths[i] == 1_000]
    assert (first[0], first[-1]) == (0, 30)
    assert max(np.diff(first)) <= 7
    assert choose_pilots([5, 5], 20) == [0, 1]
    assert choose_pilots(lengths, 0) == []
