from __future__ import annotations

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep.split import split_frames


def campaign(
    n_families: int = 30, n_expanded: int = 6, n_aimd: int = 40
) -> tuple[list[str], list[str], list[str]]:
    """Frame ids, families and subsets of a campaign: every sixth sample has descendants."""
    families, subsets = [], []
    for number in range(n_families):
        members = ["lj_surrogate"]
        if number % 6 == 0:
            members += (
                ["dft_minimized"]
                + n_expanded * ["expanded_compressed"]
                + 36 * ["distorted"]
                + n_aimd * ["aimd"]
            )
        families += len(members) * [f"sample{number}"]
        subsets += members
    for number in range(5):
        families += 10 * [f"crystal{number}"]
        subsets += 10 * ["crystal"]
    return [f"frame{index}" for index in range(len(families))], families, subsets


@pytest.mark.parametrize("scheme", ["family", "paper"])
def test_the_order_of_the_frames_does_not_matter(scheme) -> None:
    ids, families, subsets = campaign()
    held_out = ["sample12"]
    first = split_frames(ids, families, subsets, scheme=scheme, seed=4, held_out_families=held_out)
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = ([values[index] for index in order] for values in (ids, families, subsets))
    again = split_frames(*shuffled, scheme=scheme, seed=4, held_out_families=held_out)
    np.testing.assert_array_equal(again, first[order])
    assert not np.array_equal(
        first,
        split_frames(ids, families, subsets, scheme=scheme, seed=5, held_out_families=held_out),
    )


@pytest.mark.parametrize("seed", range(10))
def test_no_family_straddles_the_family_split(seed) -> None:
    ids, families, subsets = campaign()
    is_test = split_frames(ids, families, subsets, scheme="family", seed=seed)
    names = np.array(families)
    assert set(names[is_test]).isdisjoint(names[~is_test])
    assert not is_test[np.array(subsets) == "crystal"].any(), "every phase is trained on"
    for subset in set(subsets) - {"crystal"}:
        # One of five families with descendants: a fifth is possible in every subset.
        assert is_test[np.array(subsets) == subset].mean() == pytest.approx(0.2, abs=0.04)


def test_a_held_out_family_is_wholly_in_the_test_set() -> None:
    ids, families, subsets = campaign()
    is_test = split_frames(
        ids, families, subsets, scheme="family", seed=1, held_out_families=["sample0", "sample6"]
    )
    names = np.array(families)
    assert is_test[np.isin(names, ["sample0", "sample6"])].all()
    assert set(names[is_test]).isdisjoint(names[~is_test])


def test_the_paper_s_split_divides_five_subsets_and_holds_out_trajectories() -> None:
    ids, families, subsets = campaign()
    is_test = split_frames(
        ids, families, subsets, scheme="paper", seed=1, held_out_families=["sample6"]
    )
    names, groups = np.array(families), np.array(subsets)
    for subset in ("lj_surrogate", "dft_minimized", "expanded_compressed", "distorted"):
        assert is_test[groups == subset].sum() == round(0.2 * np.count_nonzero(groups == subset))
    assert not is_test[groups == "crystal"].any()
    np.testing.assert_array_equal(is_test[groups == "aimd"], names[groups == "aimd"] == "sample6")


@pytest.mark.parametrize("scheme", ["family", "paper"])
def test_frames_keep_their_side_when_more_are_added(scheme) -> None:
    ids, families, subsets = campaign()
    first = split_frames(ids, families, subsets, scheme=scheme, seed=1)
    feedback = (
        [f"new{index}" for index in range(20)],
        [f"quench{index}" for index in range(20)],
        20 * ["mlip_feedback"],
    )
    roles = dict(zip(ids, map(bool, first), strict=True))
    merged = (old + new for old, new in zip((ids, families, subsets), feedback, strict=True))
    second = split_frames(*merged, scheme=scheme, seed=1, earlier=roles)
    np.testing.assert_array_equal(second[: len(ids)], first)
    assert second[len(ids) :].sum() == 4


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["a"], ["f"], ["aimd", "aimd"]), {}, "1 frame ids, 1 families and 2 subsets"),
        (([], [], []), {}, "no frames"),
        ((["a", "a"], ["f", "g"], ["aimd", "aimd"]), {}, "'a' occurs twice"),
        ((["a", "b"], ["f", "g"], ["aimd", "aimd"]), {"test_fraction": 1.0}, "test_fraction is 1"),
        (
            (["a", "b"], ["f", "g"], ["aimd", "aimd"]),
            {"held_out_families": ["h"]},
            "'h' has no frame",
        ),
        ((["a", "b"], ["f", "g"], ["aimd", "aimd"]), {"scheme": "random"}, "'random'"),
        ((["a", "b"], ["f", "f"], ["aimd", "aimd"]), {}, "nothing to test with"),
        (
            (["a", "b"], ["f", "f"], ["aimd", "aimd"]),
            {"held_out_families": ["f"]},
            "nothing to train on",
        ),
        (
            (["a", "b"], ["f", "f"], ["aimd", "aimd"]),
            {"earlier": {"a": True, "b": False}},
            "both sides",
        ),
    ],
)
def test_impossible_splits_are_refused(arguments, options, message) -> None:
    with pytest.raises(InputError, match=message):
        split_frames(*arguments, **options)


def test_frames_of_files_without_ids_and_families_can_be_split():
    is_test = split_frames([""] * 10, [""] * 10, [""] * 10)
    assert is_test.sum() == 2
    related = split_frames([""] * 10, ["a"] * 5 + ["b"] * 5, ["set"] * 10, test_fraction=0.5)
    assert related.tolist() in ([True] * 5 + [False] * 5, [False] * 5 + [True] * 5)
