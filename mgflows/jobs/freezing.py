"""Freeze labelled frames into a dataset: one method, one label per structure, splits, one hash.

Datasets of campaigns and datasets made by hand from queries are frozen by the same function: the
same frames, splits and settings have the same ``dataset_id``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.formula import Formula

from mgflows.errors import InputError
from mgflows.files import digest_of_text
from mgflows.nep.split import split_frames
from mgflows.schemas.teacher import TEACHER
from mgflows.schemas.training import (
    DatasetDocument,
    DatasetFrame,
    ElementReferences,
    Split,
    subset_order,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from mgflows.schemas.labels import MethodFingerprint
    from mgflows.schemas.provenance import Provenance
    from mgflows.schemas.training import CrystalSource

__all__ = ["Collected", "FreezeSettings", "MixedMethodsError", "freeze"]

logger = logging.getLogger(__name__)

_SPLITS: tuple[Split, ...] = ("family", "paper")


class MixedMethodsError(InputError):
    """Frames labelled by different methods were put into one dataset."""


@dataclass(frozen=True)
class FreezeSettings:
    """Settings that determine a dataset's splits together with its frames.

    Parameters
    ----------
    test_fraction
        Fraction of frames in the test set (paper, section II: 20 %).
    split_seed
        Seed of the splits.
    include_ordered
        Keep frames of samples flagged as crystalline or Frank-Kasper ordered.
    held_out_families
        Families that are entirely in the test set.
    """

    test_fraction: float = 0.2
    split_seed: int = 0
    include_ordered: bool = False
    held_out_families: tuple[str, ...] = ()


@dataclass
class Collected:
    """The frames found so far, of one method.

    Attributes
    ----------
    frames
        The frames by their hash.
    missing, excluded, crystals
        As in :class:`~mgflows.schemas.training.DatasetDocument`.
    duplicates
        Repeated frames that were left out.
    relabelled
        Further labels of a structure that were left out, by frame id.
    mixed_methods
        Differences of methods that the user declared to be the same.
    accept_methods
        Accept labels of different methods, and record the differences.
    """

    frames: dict[str, DatasetFrame] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)
    crystals: dict[str, CrystalSource] = field(default_factory=dict)
    duplicates: int = 0
    relabelled: list[str] = field(default_factory=list)
    mixed_methods: list[str] = field(default_factory=list)
    accept_methods: bool = False
    _fingerprint: MethodFingerprint | None = None

    @property
    def fingerprint(self) -> MethodFingerprint:
        """The method of the frames."""
        if self._fingerprint is None:
            raise InputError(
                "no label of the campaign succeeded", hint="fix and rerun its failed jobs"
            )
        return self._fingerprint

    def add(self, frame: DatasetFrame) -> None:
        """Add a frame, unless it was added before."""
        if frame.frame_id in self.frames:
            self.duplicates += 1
        else:
            self.frames[frame.frame_id] = frame

    def check_method(self, fingerprint: MethodFingerprint, uuid: str) -> None:
        """Require the method of the previous frames.

        Raises
        ------
        MixedMethodsError
            If a setting differs; the message has those that do.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint
            return
        found = self._fingerprint.differences(fingerprint)
        if found and not self.accept_methods:
            raise MixedMethodsError(
                f"label {uuid} was made by another method than the others ({'; '.join(found)})",
                hint="label all frames with one method, or select those of one",
            )
        self.mixed_methods += [each for each in found if each not in self.mixed_methods]
        self._fingerprint = self._fingerprint.merge(fingerprint)

    def keep_one_label_per_structure(self, earlier: Collection[str]) -> None:
        """Drop further labels of a structure; frames of an earlier dataset are kept."""
        structures: dict[str, list[str]] = {}
        for frame in self.frames.values():
            structures.setdefault(frame.structure_id or frame.frame_id, []).append(frame.frame_id)
        for frame_ids in structures.values():
            _, *others = sorted(frame_ids, key=lambda frame_id: (frame_id not in earlier, frame_id))
            for frame_id in others:
                del self.frames[frame_id]
                self.relabelled.append(frame_id)
        self.relabelled.sort()
        if self.relabelled:
            logger.warning(
                "%d frames are further labels of a structure that is in the dataset, and are left "
                "out: %s",
                len(self.relabelled),
                ", ".join(self.relabelled[:5]),
            )


def freeze(
    collected: Collected,
    *,
    campaign: str,
    species: list[str],
    settings: FreezeSettings,
    provenance: Provenance,
    earlier: Mapping[str, Mapping[str, bool]] | None = None,
    isolated_atoms: Mapping[str, float] | None = None,
) -> DatasetDocument:
    """Freeze frames into a dataset.

    Parameters
    ----------
    collected
        The frames.
    campaign, species
        Campaign and species of the dataset.
    settings
        Settings of the splits.
    provenance
        Origin of the dataset.
    earlier
        Frame id to the side of each split that must be kept.
    isolated_atoms
        Energies of isolated atoms in eV, where they are known.

    Raises
    ------
    InputError
        If there is no frame, an element is not among the species, or a split is not possible.
    """
    roles = dict(earlier or {})
    collected.keep_one_label_per_structure(roles)
    frames = sorted(collected.frames.values(), key=lambda frame: frame.frame_id)
    if frames and (foreign := _elements(frames) - set(species)):
        raise InputError(
            f"frames of the dataset hold {', '.join(sorted(foreign))}, and its species are "
            f"{', '.join(species)}",
            hint="name all species, or leave these frames out",
        )
    held_out = sorted(set(settings.held_out_families) & {frame.family for frame in frames})
    for scheme in _SPLITS:
        try:
            sides = split_frames(
                [frame.frame_id for frame in frames],
                [frame.family for frame in frames],
                # Crystals and heated samples of a teacher are split as those of the method.
                [frame.subset.removeprefix(TEACHER) for frame in frames],
                scheme=scheme,
                test_fraction=settings.test_fraction,
                seed=settings.split_seed,
                held_out_families=held_out,
                earlier={frame_id: test[scheme] for frame_id, test in roles.items()},
            )
        except InputError as error:
            if not collected.excluded:
                raise
            raise InputError(
                f"{error.message}, and {len(collected.excluded)} ordered families are left out",
                hint=f"{error.hint}; small cells form crystals: take more atoms",
            ) from error
        for frame, side in zip(frames, sides, strict=True):
            frame.test[scheme] = bool(side)
    fingerprint = collected.fingerprint
    return DatasetDocument(
        dataset_id=_dataset_id(frames, species, settings),
        campaign=campaign,
        species=list(species),
        n_frames=len(frames),
        counts=_counts(frames),
        frames=frames,
        crystals=[collected.crystals[name] for name in sorted(collected.crystals)],
        held_out_families=held_out,
        test_fraction=settings.test_fraction,
        split_seed=settings.split_seed,
        fingerprint=fingerprint,
        fingerprint_digest=fingerprint.digest,
        mixed_methods=collected.mixed_methods,
        references=_references(frames, species, isolated_atoms or {}),
        missing=collected.missing,
        excluded_families=sorted(collected.excluded),
        duplicates=collected.duplicates,
        relabelled=collected.relabelled,
        provenance=provenance,
    )


def _dataset_id(frames: list[DatasetFrame], species: list[str], settings: FreezeSettings) -> str:
    """Hash frames, splits and the settings that define them; this input must never change."""
    values = {
        "test_fraction": settings.test_fraction,
        "split_seed": settings.split_seed,
        "include_ordered": settings.include_ordered,
    }
    content = [[frame.frame_id, frame.subset, frame.family, frame.test] for frame in frames]
    return digest_of_text(json.dumps([content, list(species), values], sort_keys=True))


def _elements(frames: Iterable[DatasetFrame]) -> set[str]:
    formulas = {frame.formula for frame in frames}
    return {symbol for formula in formulas for symbol in Formula(formula).count()}


def _references(
    frames: list[DatasetFrame], species: list[str], isolated_atoms: Mapping[str, float]
) -> ElementReferences | None:
    """Least-squares fit of the energies of the frames by the energies of their elements."""
    if not frames or not all(frame.formula for frame in frames):
        return None
    counts = {formula: Formula(formula).count() for formula in {frame.formula for frame in frames}}
    fractions = np.array(
        [
            [counts[frame.formula].get(symbol, 0) / frame.n_atoms for symbol in species]
            for frame in frames
        ]
    )
    energies = np.array([frame.energy_per_atom for frame in frames])
    solution, _, rank, _ = np.linalg.lstsq(fractions, energies, rcond=1e-6)
    residual = energies - fractions @ solution
    return ElementReferences(
        fitted=dict(zip(species, map(float, solution), strict=True)),
        is_unique=bool(rank == len(species)),
        spread=1e3 * float(np.sqrt(np.mean(residual**2))),
        isolated_atoms={s: isolated_atoms[s] for s in species if s in isolated_atoms},
    )


def _counts(frames: list[DatasetFrame]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, Any]] = {}
    families: dict[str, set[str]] = {}
    for frame in frames:
        of_subset = counts.setdefault(
            frame.subset, {"frames": 0, "families": 0, "family_test": 0, "paper_test": 0}
        )
        of_subset["frames"] += 1
        of_subset["family_test"] += frame.test["family"]
        of_subset["paper_test"] += frame.test["paper"]
        families.setdefault(frame.subset, set()).add(frame.family)
    for subset, of_subset in counts.items():
        of_subset["families"] = len(families[subset])
    return {subset: counts[subset] for subset in sorted(counts, key=subset_order)}
