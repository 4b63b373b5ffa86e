"""The split of frames into training and test set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["PAPER_WHOLE_SUBSETS", "split_frames"]

PAPER_WHOLE_SUBSETS = frozenset({"aimd", "crystal"})
"""The subsets (v) and (vi), which the paper does not divide at random.

Section II, "DFT database overview". All others, and those of imported frames, are divided.
"""


def split_frames(
    frame_ids: Sequence[str],
    families: Sequence[str],
    subsets: Sequence[str],
    *,
    scheme: Literal["family", "paper"] = "family",
    test_fraction: float = 0.2,
    seed: int = 0,
    held_out_families: Collection[str] = (),
    earlier: Mapping[str, bool] | None = None,
) -> NDArray[np.bool_]:
    """Divide frames into training and test frames.

    The result does not depend on the order of the frames.

    ``paper``: frames of the subsets (i)-(iv) and (vii) are divided at random, subset by subset;
    all crystals are in the training set, and all AIMD frames except those of the held-out
    trajectories. Relatives of a test frame, such as the same glass strained by 0.4 %, are then
    usually in the training set, so that the test error is an interpolation error.

    ``family``: a sample and all its descendants are in the same set. Families are added to the
    test set in random order as long as each brings the test fractions of the subsets closer to
    ``test_fraction``. The test error is that for an unseen glass.

    Parameters
    ----------
    frame_ids, families, subsets
        One entry per frame. A frame without an id (an empty string), as read from a file that has
        none, is named by its position; one without a family is a separate family.
    scheme
        As above.
    test_fraction
        Target fraction of test frames in each subset, in (0, 1).
    seed
        Seed of the random order.
    held_out_families
        Families whose AIMD frames (``paper``) or all frames (``family``) are test frames.
    earlier
        Roles from an earlier data set by frame id, True for test. They are kept, so that no
        potential is tested on training frames of the potential from which it was started.

    Returns
    -------
    is_test
        Boolean array, one entry per frame.

    Raises
    ------
    InputError
        For lists of different lengths, repeated frame ids, an unknown held-out family, ``earlier``
        roles that the scheme cannot keep, or a split that leaves no frame to train on or to test
        with.
    """
    n_frames = len(frame_ids)
    if not len(families) == len(subsets) == n_frames:
        raise InputError(
            f"there are {n_frames} frame ids, {len(families)} families and {len(subsets)} subsets",
            hint="give one of each per frame",
        )
    if n_frames == 0:
        raise InputError("there are no frames to split", hint="give labelled frames")
    frame_ids = [name or f"frame {index}" for index, name in enumerate(frame_ids)]
    families = [
        name or f"family of {identity}" for name, identity in zip(families, frame_ids, strict=True)
    ]
    if len(set(frame_ids)) != n_frames:
        repeated = next(identity for identity in frame_ids if list(frame_ids).count(identity) > 1)
        raise InputError(
            f"the frame id {repeated!r} occurs twice", hint="frames need distinct ids to be split"
        )
    if not 0.0 < test_fraction < 1.0:
        raise InputError(
            f"test_fraction is {test_fraction:g} but must lie between 0 and 1",
            hint="the paper has 0.2",
        )
    unknown = sorted(set(held_out_families) - set(families))
    if unknown:
        raise InputError(
            f"the held-out family {unknown[0]!r} has no frame",
            hint=f"the families are {', '.join(sorted(set(families))[:5])}, ...",
        )

    family_names = np.asarray(families, dtype=object)
    subset_names = np.asarray(subsets, dtype=object)
    held_out = np.isin(family_names, list(held_out_families))
    roles = earlier or {}
    if scheme == "paper":
        is_test = _divide_subsets(frame_ids, subset_names, held_out, roles, test_fraction, seed)
    elif scheme == "family":
        is_test = _divide_families(
            frame_ids, family_names, subset_names, held_out, roles, test_fraction, seed
        )
    else:
        raise InputError(f"the split scheme is {scheme!r} but must be 'family' or 'paper'")
    if is_test.all() or not is_test.any():
        side = "train on" if is_test.all() else "test with"
        raise InputError(
            f"the {scheme} split of {plural(n_frames, 'frame')} of "
            f"{plural(len(set(families)), 'family')} leaves nothing to {side}",
            hint="add samples, change the fraction of test frames, or train without test frames",
        )
    return is_test


def _divide_subsets(
    frame_ids: Sequence[str],
    subsets: NDArray[np.object_],
    held_out: NDArray[np.bool_],
    earlier: Mapping[str, bool],
    test_fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    is_test = np.array([earlier.get(identity, False) for identity in frame_ids])
    is_test |= held_out & (subsets == "aimd")
    is_new = np.array([identity not in earlier for identity in frame_ids])
    for subset in sorted(set(subsets) - PAPER_WHOLE_SUBSETS):
        members = np.flatnonzero(subsets == subset)
        wanted = round(test_fraction * len(members)) - int(is_test[members].sum())
        candidates = sorted(
            (index for index in members if is_new[index]), key=lambda index: frame_ids[int(index)]
        )
        order = _random(seed, subset).permutation(len(candidates))
        for position in order[: max(0, wanted)]:
            is_test[candidates[position]] = True
    return is_test


def _divide_families(
    frame_ids: Sequence[str],
    families: NDArray[np.object_],
    subsets: NDArray[np.object_],
    held_out: NDArray[np.bool_],
    earlier: Mapping[str, bool],
    test_fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    names, family_of = np.unique(families.astype(str), return_inverse=True)
    subset_names, subset_of = np.unique(subsets.astype(str), return_inverse=True)
    counts = np.zeros((len(names), len(subset_names)), dtype=np.int64)
    np.add.at(counts, (family_of, subset_of), 1)
    total = counts.sum(axis=0)
    fixed = dict.fromkeys(families[held_out], True)
    for name in set(families[subsets == "crystal"]) - set(fixed):
        fixed[name] = False
    for identity, name in zip(frame_ids, families, strict=True):
        if identity in earlier and fixed.setdefault(name, earlier[identity]) != earlier[identity]:
            raise InputError(
                f"the family {name!r} was on both sides of the earlier split, or is now held out "
                "but was trained on",
                hint="keep the earlier held-out families, or start without earlier roles",
            )
    in_test = np.array([fixed.get(name, False) for name in names])

    def misfit(chosen: NDArray[np.int64]) -> float:
        return float(np.sum((chosen / total - test_fraction) ** 2))

    chosen = counts[in_test].sum(axis=0)
    for index in _random(seed, "families").permutation(len(names)):
        if names[index] not in fixed and misfit(chosen + counts[index]) < misfit(chosen):
            in_test[index] = True
            chosen += counts[index]
    return in_test[family_of]


def _random(seed: int, purpose: str) -> np.random.Generator:
    """A random generator per purpose: the split of a subset does not depend on the others."""
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "little")
    return np.random.default_rng(np.random.SeedSequence([seed, word]))
