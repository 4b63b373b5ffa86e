from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import fields, replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from mgflows.errors import InputError
from mgflows.nep import NepParameters
from mgflows.nep.training.data import BasisCache, FrameSet, fit_reference
from mgflows.nep.training.neighbours import list_neighbours

PAPER = NepParameters(("Cu", "Zr", "Al"))


@pytest.mark.physics
@pytest.mark.parametrize("cutoff", [4.0, 6.5])
def test_neighbours_are_those_of_ase(structures, cutoff) -> None:
    outside = structures[0].copy()
    outside.positions += outside.cell.array.sum(axis=0) * np.arange(len(outside))[:, None] % 7
    for atoms in (*structures, outside):
        i, distances = neighbor_list("id", atoms, cutoff)
        first = np.empty(len(atoms) + 1, np.int64)
        index, vector = np.empty(len(i), np.int64), np.empty((len(i), 3))
        list_neighbours(atoms.positions, atoms.cell.array, cutoff, first, index, vector)
        np.testing.assert_array_equal(np.diff(first), np.bincount(i, minlength=len(atoms)))
        ours = np.linalg.norm(vector, axis=1)
        for atom in range(len(atoms)):
            np.testing.assert_allclose(
                np.sort(ours[first[atom] : first[atom + 1]]),
                np.sort(distances[i == atom]),
                atol=1e-10,
            )


def test_constants_are_the_same_in_memory_and_recomputed(structures) -> None:
    data = FrameSet.build(structures, PAPER)
    kept, recomputed = BasisCache(data, PAPER, 1.0, 2), BasisCache(data, PAPER, 0.0, 2)
    assert (kept.n_kept, recomputed.n_kept) == (3, 0)
    for frames in ([0, 2], [1, 0], [2, 1]):
        starts = kept.load(np.array(frames)), recomputed.load(np.array(frames))
        for frame, a, b in zip(frames, *starts, strict=True):
            n = data.sizes[frame]
            for which in (5, 6):
                np.testing.assert_array_equal(
                    kept.basis[which][a : a + n], recomputed.basis[which][b : b + n]
                )


def test_the_reference_explains_compositions() -> None:
    rng = np.random.default_rng(4)
    composition = rng.integers(1, 50, (30, 3)).astype(float)
    elements = np.array([-3.5, -6.3, 1200.0])
    energies = composition @ elements
    np.testing.assert_allclose(fit_reference(energies, composition), elements, rtol=1e-4)
    # A single composition does not determine the elements.
    same = np.tile([10.0, 10.0, 20.0], (5, 1))
    reference = fit_reference(same @ elements, same)
    np.testing.assert_allclose(reference, np.full(3, (same @ elements)[0] / 40))
    with pytest.raises(InputError, match="frame 3 is 200 eV/atom away"):
        fit_reference(
            energies + 200.0 * composition.sum(axis=1) * (np.arange(30) == 3), composition
        )


def test_frames_without_virial_and_weights(structures, add_labels) -> None:
    frame = add_labels(structures[0].copy(), np.random.default_rng(1), stress=False)
    frame.info = {"weight": 0.5, "energy_weight": 2.0, "subset": "aimd"}
    data = FrameSet.build([frame, structures[1]], PAPER, {"aimd": 3.0})
    np.testing.assert_array_equal(data.has_virial, [False, True])
    np.testing.assert_allclose(data.weights, [2.25, 1.0])
    np.testing.assert_allclose(data.energy_weights, [2.0, 1.0])


def is_mapped(array: np.ndarray | None) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base if isinstance(array.base, np.ndarray) else None
    return array is not None


def fill_after_one_chunk(monkeypatch) -> None:
    """Let every file of a :class:`GrowingArray` take one chunk of rows."""

    class Disk:
        def __init__(self, file) -> None:
            self.file, self.n_writes = file, 0

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data) -> int:
            self.n_writes += 1
            if self.n_writes > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

    make = tempfile.TemporaryFile
    monkeypatch.setattr(
        "mgflows.nep.training.growing.tempfile.TemporaryFile", lambda **kw: Disk(make(**kw))
    )


@pytest.mark.parametrize("place", ["memory", "file", "full disk"])
def test_frames_in_chunks_are_the_same(structures, monkeypatch, tmp_path, place) -> None:
    parameters = replace(PAPER, force_delta=0.5)
    frames = [frame for frame in structures for _ in range(2)]
    whole = FrameSet.build(frames, parameters)
    monkeypatch.setattr("mgflows.nep.training.data._FRAMES_AT_ONCE", 4)
    if place == "full disk":
        fill_after_one_chunk(monkeypatch)
    scratch = None if place == "memory" else tmp_path
    chunked = FrameSet.build(iter(frames), parameters, scratch=scratch)
    assert is_mapped(chunked.positions) == (place == "file")
    assert not list(tmp_path.iterdir())
    for field in fields(FrameSet):
        np.testing.assert_array_equal(getattr(chunked, field.name), getattr(whole, field.name))
    frames[5] = structures[0].copy()
    with pytest.raises(InputError, match="frame 5 has no energy"):
        FrameSet.build(iter(frames), parameters)


def test_force_weights_are_those_of_gpumd(structures) -> None:
    parameters = replace(PAPER, type_weight=(1.0, 0.5, 3.0), force_delta=0.5)
    data = FrameSet.build(structures, parameters)
    symbols = [symbol for frame in structures for symbol in frame.get_chemical_symbols()]
    sizes = np.linalg.norm(np.concatenate([frame.get_forces() for frame in structures]), axis=1)
    squares = np.array([{"Cu": 1.0, "Zr": 0.25, "Al": 9.0}[symbol] for symbol in symbols])
    np.testing.assert_allclose(data.force_weights, squares * 0.5 / (0.5 + sizes), rtol=1e-6)
    assert FrameSet.build(structures, PAPER).force_weights is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a.calc.results.update(energy=np.nan),
            "frame 0 has a value in its energy that is not a finite number",
        ),
        (lambda a: a.calc.results.pop("forces"), "frame 0 has no forces"),
        (
            lambda a: a.calc.results.update(forces=a.calc.results["forces"] * 1e4),
            r"a force of .* eV/A; check the unit",
        ),
        (
            lambda a: a.calc.results.update(stress=np.full(6, 20.0)),
            "a stress of 20 eV/A.3, which is 3.2e.03 GPa; give stresses in eV/A.3",
        ),
        (lambda a: a.set_cell(np.zeros((3, 3))), "A.3 per atom; a NEP needs a periodic cell"),
        (lambda a: a.positions.__setitem__(1, a.positions[0]), "two atoms 0 A apart"),
        (
            lambda a: a.symbols.__setitem__(0, "Ni"),
            "contains Ni, which is not among the species Cu, Zr, Al",
        ),
        (lambda a: a.info.update(weight=-1.0), "the weight -1; give a number between 0 and 100"),
        (lambda a: a.info.update(weight="heavy"), "the weight 'heavy'; give a number between"),
    ],
)
def test_wrong_input_is_refused(structures, add_labels, change, message) -> None:
    frame = add_labels(structures[0].copy(), np.random.default_rng(1))
    change(frame)
    with pytest.raises(InputError, match=message):
        FrameSet.build([frame], PAPER)


def test_wrong_subsets_are_refused(structures) -> None:
    with pytest.raises(InputError, match="subset_weights names 'melt'"):
        FrameSet.build(structures, PAPER, {"melt": 1.0})
    with pytest.raises(InputError, match="no frame"):
        FrameSet.build([], PAPER)


def test_energies_of_two_zeros_are_refused(add_labels) -> None:
    rng = np.random.default_rng(1)
    frames = [add_labels(bulk("Cu", cubic=True).repeat(2), rng) for _ in range(4)]
    for k, frame in enumerate(frames):
        frame.rattle(0.1, seed=k)
        frame.calc.results["energy"] -= 400.0 * len(frame) * (k == 1)
    with pytest.raises(
        InputError, match=r"frame 1 is 3.* eV/atom away from what its composition explains"
    ):
        FrameSet.check(frames, replace(PAPER, species=("Cu",)))
    others = frames[:1] + frames[2:]
    with pytest.raises(InputError, match="the energy of test frame 0 is"):
        FrameSet.check(others, replace(PAPER, species=("Cu",)), test=frames[1:2])


def test_frames_without_any_weight_are_refused(structures, add_labels) -> None:
    frame = add_labels(structures[0].copy(), np.random.default_rng(1))
    frame.info["weight"] = 0.0
    with pytest.raises(InputError, match="all training frames have the weight 0; give at least"):
        FrameSet.check([frame], PAPER)


def test_stresses_in_other_units_are_refused(structures, add_labels) -> None:
    frames = [add_labels(frame.copy(), np.random.default_rng(1)) for frame in structures[:2]]
    FrameSet.check(frames, PAPER)
    for frame in frames:
        frame.calc.results["stress"] = frame.calc.results["stress"] * 50.0
    with pytest.raises(InputError, match=r"half of the frames .* eV/A.3; 1 GPa is 0.00624 eV/A.3"):
        FrameSet.check(frames, PAPER)


def test_isolated_atoms_are_frames(add_labels) -> None:
    atom = add_labels(
        Atoms("Cu", cell=[15.0] * 3, pbc=True), np.random.default_rng(1), stress=False
    )
    data = FrameSet.build([atom], PAPER)
    np.testing.assert_array_equal(data.counts, [[0, 0]])
    BasisCache(data, PAPER, 1.0, 1)


@pytest.mark.parametrize("moved", [slice(1, 2), slice(0, 2), slice(None, None, 2), slice(4, 8)])
def test_offsets_of_some_frames_are_found_whatever_their_share(moved, add_labels) -> None:
    """Least squares alone would share the offset among the elements of few compositions."""
    rng = np.random.default_rng(5)
    frames = []
    for number in range(12):
        frame = bulk("Cu", cubic=True).repeat((2, 1, 1))
        frame.symbols[: number // 2] = "Al"
        frame.rattle(0.1, seed=number)
        frames.append(add_labels(frame, rng))
    parameters = replace(PAPER, species=("Cu", "Al"))
    FrameSet.check(frames, parameters)
    for frame in frames[moved]:
        frame.calc.results["energy"] += 110.0 * len(frame)
    with pytest.raises(InputError, match="away from what its composition explains"):
        FrameSet.check(frames, parameters)
