"""Choosing candidates to label."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep import NepTrainer
from mgflows.nep.committee import Committee, train_committee
from mgflows.nep.selection import SelectionSettings, SpreadWindow, describe, select_frames


@pytest.fixture(scope="module")
def committee(tmp_path_factory, emt_frames, small_parameters) -> Committee:
    return train_committee(
        tmp_path_factory.mktemp("selection"),
        small_parameters,
        emt_frames[:16],
        n_members=2,
        trainer=NepTrainer(steps=80, reports=1),
    ).calibrated(emt_frames[16:])


@pytest.fixture(scope="module")
def candidates(emt_frames):
    """Familiar frames, hotter ones, and one whose atoms overlap."""
    rng = np.random.default_rng(0)
    familiar = [frame.copy() for frame in emt_frames[:6]]
    hot = []
    for frame in emt_frames[:6]:
        copy = frame.copy()
        copy.positions += rng.normal(0.0, 0.25, copy.positions.shape)
        hot.append(copy)
    exploded = emt_frames[0].copy()
    exploded.positions[1] = exploded.positions[0] + [0.5, 0.0, 0.0]
    return [*familiar, *hot, exploded]


def test_the_committee_chooses_uncertain_candidates(committee, candidates) -> None:
    free = select_frames(candidates, 4, committee=committee)
    scale = committee.calibration.scales["force"].value
    prediction = committee.predict(candidates)
    np.testing.assert_allclose(free.force_errors, scale * prediction.force_spread)
    upper = 0.99 * scale * prediction.largest_force_spread[12]
    assert upper > scale * prediction.largest_force_spread[:12].max()
    selection = select_frames(
        candidates, 2, SelectionSettings(window=SpreadWindow(upper=upper)), committee=committee
    )
    assert list(selection.discarded) == [12]
    assert "eV/A by the committee" in selection.discarded[12]
    assert len(set(selection.chosen)) == 2
    # Among the three times two most uncertain, which are the hot ones.
    pool = sorted(range(12), key=lambda index: -selection.force_errors[index])[:6]
    assert sum(index >= 6 for index in pool) >= 4
    assert set(selection.chosen) <= set(pool)
    assert selection.chosen[0] == pool[0]


def test_candidates_with_small_errors_are_left_out(committee, candidates) -> None:
    errors = select_frames(candidates, 1, committee=committee).force_errors
    lower = float(np.sort(errors)[8])
    selection = select_frames(
        candidates, 20, SelectionSettings(window=SpreadWindow(lower=lower)), committee=committee
    )
    assert sorted(selection.known) == sorted(np.flatnonzero(errors < lower))
    assert sorted(selection.chosen) == sorted(np.flatnonzero(errors >= lower))
    everything = select_frames(
        candidates,
        3,
        SelectionSettings(window=SpreadWindow(lower=10.0 * errors.max())),
        committee=committee,
    )
    assert everything.chosen == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_candidates_whose_errors_are_not_finite_are_discarded(
    committee, candidates, monkeypatch, value
) -> None:
    """Without a window, too: they would be the most uncertain of all, or in no order."""
    spread = np.array([0.1, 0.2, value, 0.3])
    prediction = SimpleNamespace(force_spread=spread, largest_force_spread=2.0 * spread)
    monkeypatch.setattr(type(committee), "predict", lambda *_: prediction)
    selection = select_frames(candidates[:4], 4, committee=committee)
    assert selection.discarded == {2: "the committee's force error of an atom is not finite"}
    assert sorted(selection.chosen) == [0, 1, 3]


def test_farthest_points_of_a_line_are_its_ends_and_its_middle(committee, emt_frames) -> None:
    """Expansions of one crystal: descriptors that vary along one direction."""
    line = []
    for strain in np.linspace(0.0, 0.04, 9):
        atoms = emt_frames[0].copy()
        atoms.set_cell(atoms.cell * (1.0 + strain), scale_atoms=True)
        line.append(atoms)
    potential = committee.potentials[0]
    selection = select_frames(line, 3, SelectionSettings("farthest"), potential=potential)
    assert set(selection.chosen[:2]) == {0, 8}
    assert selection.chosen[2] in (3, 4, 5)
    # With one end known, the other is the farthest.
    selection = select_frames(
        line[:8], 1, SelectionSettings("farthest"), potential=potential, known=[line[8]]
    )
    assert selection.chosen == [0]


def test_random_choices_depend_on_the_seed_alone(candidates) -> None:
    first = select_frames(candidates, 5, SelectionSettings("random", seed=1)).chosen
    assert first == select_frames(candidates, 5, SelectionSettings("random", seed=1)).chosen
    assert first != select_frames(candidates, 5, SelectionSettings("random", seed=2)).chosen
    assert len(set(first)) == 5
    assert sorted(select_frames(candidates, 99, SelectionSettings("random")).chosen) == list(
        range(13)
    )


def test_descriptors_are_means_per_element(committee, emt_frames) -> None:
    atoms = emt_frames[0]
    doubled = atoms.repeat((2, 1, 1))
    values = describe(committee.potentials[0], [atoms, doubled])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-6)
    copper = atoms[atoms.symbols == "Cu"]
    assert values.shape[1] % 2 == 0
    half = values.shape[1] // 2
    assert not describe(committee.potentials[0], [copper])[0, half:].any()


def test_what_is_missing_is_named(committee, candidates) -> None:
    with pytest.raises(InputError, match="needs a committee"):
        select_frames(candidates, 1)
    with pytest.raises(InputError, match="needs a potential"):
        select_frames(candidates, 1, SelectionSettings("farthest"))
    with pytest.raises(InputError, match="no candidates"):
        select_frames([], 1, committee=committee)
    with pytest.raises(InputError, match=r"'best' is unknown.*choose one of"):
        SelectionSettings("best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        select_frames(candidates, 0, committee=committee)
    with pytest.raises(InputError, match=r"0\.3 to 0\.1"):
        SpreadWindow(0.3, 0.1)
