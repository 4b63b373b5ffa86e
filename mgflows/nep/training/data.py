"""Labelled frames as arrays, and the constants of the frames of a batch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.nep.frames import frame_labels
from mgflows.nep.training.arrays import Basis, Structures
from mgflows.nep.training.basis import compile_basis
from mgflows.nep.training.growing import GrowingArray
from mgflows.nep.training.model import Shape
from mgflows.nep.training.neighbours import count_neighbours
from mgflows.nep.training.threads import ThreadTeam
from mgflows.nep.training.zbl import pair_cutoffs, repulsion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters

__all__ = ["BasisCache", "FrameSet", "fit_reference", "usable_frames"]

logger = logging.getLogger(__name__)

_GIB = 2.0**30
_FRAMES_AT_ONCE = 500
"""Frames that are in memory as structures while a :class:`FrameSet` is built."""
_MIN_DISTANCE = 0.3
"""A; atoms closer than this coincide, or the positions are in another unit."""
_MAX_WEIGHT = 100.0
"""Limit of GPUMD's ``weight=``."""
_MAX_FORCE = 1000.0
"""eV/A; more means another unit or an overlap of atoms that no fit can use."""
_MAX_STRESS = 10.0
"""eV/A^3, which is 1600 GPa."""
_MAX_TYPICAL_STRESS = 1.0
"""eV/A^3 (160 GPa); the median of the largest components of the frames."""
_MAX_ENERGY_SPREAD = 50.0
"""eV/atom, after the energies of the elements have been removed; crystals of 0.75 to 1.35 times
their volume and glasses differ by a few."""
_N_ROBUST = 30
_NEGLIGIBLE = 0.1
"""Iterations of a least-absolute-deviations fit, and eV/atom below which deviations count alike."""
_OF_ATOMS = ("positions", "species", "forces", "force_weights")
"""Arrays of a :class:`FrameSet` with a row per atom."""
_SMALLEST = 1e-6
"""Relative singular value below which compositions do not determine the energies of elements."""


@dataclass
class FrameSet:
    """Frames in flat arrays: 40 bytes per atom, in memory or in a mapped file.

    Attributes
    ----------
    offsets
        (n_frames + 1,) first atom of each frame.
    positions, cells
        (n_atoms, 3) and (n_frames, 3, 3), A.
    species
        (n_atoms,) index of the species.
    energies
        (n_frames,) eV: label minus ZBL.
    forces
        (n_atoms, 3) eV/A: label minus ZBL.
    virials
        (n_frames, 6) eV: xx, yy, zz, xy, yz, zx, positive when compressed, label minus ZBL.
    has_virial
        (n_frames,) False for frames without a stress, which do not enter the fit of the virials.
    weights, energy_weights
        (n_frames,) factors of all squared errors of a frame; additional factors of its squared
        energy error.
    force_weights
        (n_atoms,) further factors of the squared force errors of an atom, or None for 1.
    counts, largest
        (n_frames, 2) neighbours within the radial and the angular cutoff: total over all atoms,
        and the largest number of an atom.
    """

    offsets: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    species: NDArray[np.int32]
    energies: NDArray[np.float64]
    forces: NDArray[np.float32]
    virials: NDArray[np.float64]
    has_virial: NDArray[np.bool_]
    weights: NDArray[np.float64]
    energy_weights: NDArray[np.float64]
    counts: NDArray[np.int64]
    largest: NDArray[np.int64]
    force_weights: NDArray[np.float32] | None = None

    @classmethod
    def build(
        cls,
        frames: Iterable[Atoms],
        parameters: NepParameters,
        subset_weights: Mapping[str, float] | None = None,
        scratch: Path | None = None,
    ) -> FrameSet:
        """Check the frames and compute what does not depend on the potential.

        Parameters
        ----------
        frames
            Structures with energy (eV), forces (eV/A) and, if they have one, stress (eV/A^3, ASE
            sign); read once and in order, so that they need not be in memory together.
            ``info["weight"]`` multiplies the errors of a frame, so that its squares enter the loss
            as in GPUMD; ``info["energy_weight"]`` multiplies its squared energy error once more.
        parameters
            Species, cutoffs, ZBL, ``type_weight`` and ``force_delta``.
        subset_weights
            Further weights by ``info["subset"]``, with the meaning of ``info["weight"]``.
        scratch
            Directory with space for the arrays of the atoms (:mod:`mgflows.nep.training.growing`)
            of frames that are many; None keeps them in memory.

        Raises
        ------
        InputError
            For a frame that cannot be used; the message names the frame, the value and the reason.
        """
        parts = cls._chunks(frames, parameters, subset_weights or {})
        first, second = next(parts), next(parts, None)
        if second is None:
            return first
        return cls._joined(chain([first, second], parts), scratch)

    @classmethod
    def _chunks(
        cls,
        frames: Iterable[Atoms],
        parameters: NepParameters,
        subset_weights: Mapping[str, float],
    ) -> Iterator[FrameSet]:
        remaining = iter(frames)
        present: set[str] = set()
        start = 0
        while chunk := list(islice(remaining, _FRAMES_AT_ONCE)):
            present |= {str(frame.info.get("subset", "")) for frame in chunk}
            yield cls._of_chunk(chunk, start, parameters, subset_weights)
            start += len(chunk)
        if not start:
            raise InputError(
                "there is no frame to train on", hint="give at least one labelled structure"
            )
        _check_subsets(present, subset_weights)

    @classmethod
    def _joined(cls, parts: Iterable[FrameSet], scratch: Path | None) -> FrameSet:
        atoms: dict[str, GrowingArray] = {}
        frames: dict[str, list[NDArray]] = {item.name: [] for item in fields(cls)}
        offsets = [np.zeros(1, np.int64)]
        for part in parts:
            offsets.append(part.offsets[1:] + offsets[-1][-1])
            for name in _OF_ATOMS:
                rows = getattr(part, name)
                if rows is not None:
                    if name not in atoms:
                        atoms[name] = GrowingArray(rows.dtype, rows.shape[1:], scratch)
                    atoms[name].append(rows)
            for name in frames:
                if name not in _OF_ATOMS:
                    frames[name].append(getattr(part, name))
        arrays: dict[str, Any] = {
            name: np.concatenate(chunks) for name, chunks in frames.items() if chunks
        }
        arrays |= {name: rows.finish() for name, rows in atoms.items()}
        return cls(**arrays | {"offsets": np.concatenate(offsets)})

    @classmethod
    def _of_chunk(
        cls,
        frames: Sequence[Atoms],
        start: int,
        parameters: NepParameters,
        subset_weights: Mapping[str, float],
    ) -> FrameSet:
        labels = [
            _read(frame, index, parameters.species) for index, frame in enumerate(frames, start)
        ]
        sizes = np.array([len(frame) for frame in frames])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        positions = np.concatenate([frame.positions for frame in frames]).astype(np.float64)
        cells = np.array([frame.cell.array for frame in frames], dtype=np.float64)
        order = {symbol: index for index, symbol in enumerate(parameters.species)}
        species = np.array(
            [order[symbol] for frame in frames for symbol in frame.get_chemical_symbols()], np.int32
        )
        counts, largest, closest = count_neighbours(positions, offsets, cells, *parameters.cutoff)
        for index in np.flatnonzero(closest < _MIN_DISTANCE)[:1]:
            raise InputError(
                f"{_name(frames[index], start + int(index))} has two atoms "
                f"{closest[index]:.3g} A apart",
                hint="remove the frame, or check that its positions are in A and its cell is right",
            )
        energies = np.array([label.energy for label in labels])
        forces = np.concatenate([label.forces for label in labels])
        force_weights = _force_weights(parameters, species, forces)
        virials = np.array([label.virial for label in labels])
        if parameters.zbl is not None:
            table = pair_cutoffs(parameters)
            pairs = repulsion(positions, offsets, cells, species, closest, *table)
            energies, forces, virials = energies - pairs[0], forces - pairs[1], virials - pairs[2]
        weights = [
            float(frame.info.get("weight", 1.0))
            * subset_weights.get(frame.info.get("subset", ""), 1.0)
            for frame in frames
        ]
        return cls(
            offsets=offsets,
            positions=positions,
            cells=cells,
            species=species,
            energies=energies,
            forces=forces.astype(np.float32),
            virials=virials,
            has_virial=np.array([label.has_virial for label in labels]),
            weights=np.square(weights),
            energy_weights=np.array([float(f.info.get("energy_weight", 1.0)) for f in frames]),
            counts=counts,
            largest=largest,
            force_weights=force_weights,
        )

    @classmethod
    def check(
        cls,
        frames: Sequence[Atoms],
        parameters: NepParameters,
        subset_weights: Mapping[str, float] | None = None,
        test: Sequence[Atoms] = (),
    ) -> None:
        """Raise the errors of :meth:`build`, and check that the energies have the same zero.

        Parameters
        ----------
        frames, parameters, subset_weights
            As for :meth:`build`.
        test
            Test frames, if there are any.
        """
        if not frames:
            raise InputError("there are no frames to train on", hint="give labelled frames")
        n_species = len(parameters.species)
        energies, composition = [], []
        for is_test, side in enumerate((frames, test)):
            if not side:
                continue
            weights = {} if is_test else subset_weights or {}
            used, has_virial = [], []
            # Only what is small is kept: the frames may be larger than the memory.
            for part in cls._chunks(side, parameters, weights):
                energies.append(part.energies)
                composition.append(part.composition_of(n_species))
                used.append(part.weights)
                has_virial.append(part.has_virial)
            if not is_test:
                usable_frames(np.concatenate(used))
            _check_stresses(side, np.concatenate(has_virial))
        fit_reference(np.concatenate(energies), np.concatenate(composition), n_training=len(frames))

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n_frames,) atoms per frame."""
        return np.diff(self.offsets)

    def composition_of(self, n_species: int) -> NDArray[np.float64]:
        """(n_frames, n_species) number of atoms of each species."""
        starts = self.offsets[:-1]
        counts = [
            np.add.reduceat(self.species == number, starts, dtype=np.int64)
            for number in range(n_species)
        ]
        return np.stack(counts, axis=1).astype(np.float64)


def _force_weights(
    parameters: NepParameters, species: NDArray[np.int32], forces: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """Weights of the squared force errors by species and by the size of the force, as in GPUMD."""
    if parameters.type_weight is None and not parameters.force_delta:
        return None
    weights = np.ones(len(species))
    if parameters.type_weight is not None:
        weights *= np.square(parameters.type_weight)[species]
    if parameters.force_delta > 0.0:
        delta = parameters.force_delta
        weights *= delta / (delta + np.linalg.norm(forces, axis=1))
    return weights.astype(np.float32)


@dataclass(frozen=True)
class _Label:
    energy: float
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]
    has_virial: bool


def _name(frame: Atoms, index: int) -> str:
    known = [str(frame.info[k]) for k in ("frame_id", "subset", "family") if frame.info.get(k)]
    return f"frame {index} ({', '.join(known)})" if known else f"frame {index}"


def _read(frame: Atoms, index: int, species: Sequence[str]) -> _Label:
    """The label of a frame, checked."""
    name = _name(frame, index)
    energy, forces, stress = frame_labels(frame, index, needs_stress=False)
    unknown = sorted(set(frame.get_chemical_symbols()) - set(species))
    if unknown:
        raise InputError(
            f"{name} contains {unknown[0]}, which is not among the species {', '.join(species)} "
            "of the potential",
            hint="add it to the species or remove the frame",
        )
    if not frame.cell.volume / len(frame) > 1.0:
        raise InputError(
            f"{name} has {frame.cell.volume / len(frame):.3g} A^3 per atom; a NEP needs a periodic "
            "cell with lengths in A",
            hint="set the cell of the frame, in A",
        )
    largest = float(np.abs(forces).max())
    if largest > _MAX_FORCE:
        raise InputError(
            f"{name} has a force of {largest:.4g} eV/A", hint="check the unit, or remove the frame"
        )
    largest = float(np.abs(stress).max())
    if largest > _MAX_STRESS:
        raise InputError(
            f"{name} has a stress of {largest:.4g} eV/A^3, which is "
            f"{largest * units.EV_PER_A3_IN_GPA:.3g} GPa",
            hint="give stresses in eV/A^3",
        )
    for key in ("weight", "energy_weight"):
        weight = frame.info.get(key, 1)
        is_number = isinstance(weight, int | float | np.number)
        if not is_number or not 0.0 <= weight <= _MAX_WEIGHT:
            raise InputError(
                f"{name} has the {key} {format(weight, 'g') if is_number else repr(weight)}",
                hint=f"give a number between 0 and {_MAX_WEIGHT:g}",
            )
    virial = units.virial_from_stress(stress, frame.cell.volume)
    components = virial[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
    return _Label(energy, forces, np.nan_to_num(components), bool(np.all(np.isfinite(stress))))


def _check_stresses(frames: Sequence[Atoms], has_virial: NDArray[np.bool_]) -> None:
    """Refuse stresses in GPa, recognised by a median above that of any campaign."""
    stresses = [
        float(np.abs(frame.calc.results["stress"]).max())
        for frame, has_stress in zip(frames, has_virial, strict=True)
        if has_stress
    ]
    typical = float(np.median(stresses)) if stresses else 0.0
    if typical > _MAX_TYPICAL_STRESS:
        raise InputError(
            f"half of the frames have stresses of more than {typical:.3g} eV/A^3, which is "
            f"{typical * units.EV_PER_A3_IN_GPA:.3g} GPa",
            hint="give stresses in eV/A^3; 1 GPa is 0.00624 eV/A^3",
        )


def _check_subsets(present: set[str], subset_weights: Mapping[str, float]) -> None:
    for subset, weight in subset_weights.items():
        if subset not in present:
            raise InputError(
                f"subset_weights names {subset!r}, but the subsets of the frames are "
                f"{', '.join(sorted(present))}"
            )
        if not 0.0 <= weight <= _MAX_WEIGHT:
            raise InputError(
                f"the weight of subset {subset} is {weight:g}",
                hint=f"give a number between 0 and {_MAX_WEIGHT:g}",
            )


def usable_frames(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the training frames that have a weight.

    Raises
    ------
    InputError
        If there are none.
    """
    usable = np.flatnonzero(weights > 0.0)
    if not len(usable):
        raise InputError("all training frames have the weight 0", hint="give at least one a weight")
    return usable


def fit_reference(
    energies: NDArray[np.float64],
    composition: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    n_training: int | None = None,
) -> NDArray[np.float64]:
    """Energies of the elements, in eV, from a fit to the energies of frames.

    Least squares in the energy per atom. If the compositions do not determine the energies of all
    elements, the energies are as equal as the data allow. Wrong energies are found by a fit of
    least absolute deviations, which they do not pull towards themselves.

    Parameters
    ----------
    energies
        (n_frames,) eV.
    composition
        (n_frames, n_species) number of atoms.
    weights
        (n_frames,) weights of the squared errors.
    n_training
        Number of frames at the beginning that are training frames; None for all.

    Raises
    ------
    InputError
        If a frame is more than 50 eV per atom away from the fit of least absolute deviations.
    """
    sizes = composition.sum(axis=1)
    per_atom = energies / sizes
    shares = composition / sizes[:, None]
    w = np.ones(len(energies)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not w.sum() > 0.0:
        w = np.ones(len(energies))
    reference = _least_squares(per_atom, shares, w)
    robust = reference
    for _ in range(_N_ROBUST):
        deviation = np.abs(per_atom - shares @ robust)
        robust = _least_squares(per_atom, shares, w / np.maximum(deviation, _NEGLIGIBLE))
    residual = np.abs(per_atom - shares @ robust)
    worst = int(np.argmax(residual))
    if residual[worst] > _MAX_ENERGY_SPREAD:
        n_before = len(energies) if n_training is None else n_training
        name = f"frame {worst}" if worst < n_before else f"test frame {worst - n_before}"
        raise InputError(
            f"the energy of {name} is {residual[worst]:.4g} eV/atom away from what its "
            "composition explains",
            hint="give energies in eV per cell, of one method with one zero",
        )
    return reference


def _least_squares(
    values: NDArray[np.float64], shares: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted least squares of values that are linear in the shares of the elements."""
    mean = float(np.average(values, weights=weights))
    root = np.sqrt(weights / weights.sum())[:, None]
    # Centred shares have no direction along (1, ..., 1): the mean takes its place.
    centre = np.average(shares, axis=0, weights=weights)
    left = root * (shares - centre)
    right = root[:, 0] * (values - mean)
    slopes = np.linalg.lstsq(left, right, rcond=_SMALLEST)[0]
    return mean + slopes - float(centre @ slopes)


class BasisCache:
    """The constants of frames, kept up to a limit of memory and recomputed beyond it.

    About 8 kB per atom for the paper's model at the density of a metallic glass, 1.1 GiB per 1000
    frames of 150 atoms. A frame that does not fit is computed again for every batch, which costs
    about a quarter of a training step; the numbers are the same.

    Parameters
    ----------
    data
        The frames.
    parameters
        The model.
    limit
        GiB to keep.
    batch
        Largest number of frames that are needed at once.
    team
        Threads that compute.
    """

    def __init__(
        self,
        data: FrameSet,
        parameters: NepParameters,
        limit: float,
        batch: int,
        team: ThreadTeam | None = None,
    ) -> None:
        self.data = data
        self.team = team or ThreadTeam()
        shape = Shape.of(parameters)
        self._structures = Structures(
            data.offsets, data.positions, data.cells, data.species, data.counts
        )
        self._cutoffs = np.array(parameters.cutoff)
        self._fill = compile_basis(shape.k_radial, shape.k_angular, shape.l_max)
        n_components = shape.n_components
        per_atom = 4 * (9 + shape.n_species * (shape.k_radial + shape.k_angular * n_components))
        per_edge = (4 * (shape.k_radial + 5), 4 * (2 * shape.k_angular + 5))
        size = data.sizes * per_atom + data.counts @ np.array(per_edge)
        self.total_gib = float(size.sum()) / _GIB
        kept = np.cumsum(size) <= limit * _GIB
        n_kept = int(kept.sum())
        # Space for the frames of a batch that are not kept.
        rest = np.column_stack([data.sizes, data.counts])[n_kept:]
        room = np.zeros(3, np.int64)
        if len(rest):
            room = np.sort(rest, axis=0)[-batch:].sum(axis=0)
        kept_counts = np.vstack(
            [np.zeros((1, 3), np.int64), np.column_stack([data.sizes, data.counts])[:n_kept]]
        )
        self._at = np.cumsum(kept_counts, axis=0)
        self.n_kept = n_kept
        atoms, radial, angular = (self._at[-1] + room).tolist()
        self.basis = Basis(
            species=np.zeros(atoms, np.int32),
            radial_first=np.zeros(atoms, np.int64),
            radial_last=np.zeros(atoms, np.int64),
            angular_first=np.zeros(atoms, np.int64),
            angular_last=np.zeros(atoms, np.int64),
            radial_sums=np.zeros((atoms, shape.n_species * shape.k_radial), np.float32),
            angular_sums=np.zeros(
                (atoms, shape.n_species * shape.k_angular, n_components), np.float32
            ),
            radial_index=np.zeros(radial, np.int32),
            radial_slope=np.zeros((radial, shape.k_radial), np.float32),
            radial_vector=np.zeros((radial, 4), np.float32),
            angular_index=np.zeros(angular, np.int32),
            angular_value=np.zeros((angular, shape.k_angular), np.float32),
            angular_slope=np.zeros((angular, shape.k_angular), np.float32),
            angular_vector=np.zeros((angular, 4), np.float32),
        )
        if n_kept < len(data):
            logger.info(
                "the constants of %d of %d frames stay in memory (%.2f of %.2f GiB); the others "
                "are recomputed when needed",
                n_kept,
                len(data),
                limit,
                self.total_gib,
            )
        self._compute(np.arange(n_kept), self._at[:-1])

    def load(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Provide the constants of a batch; return each frame's first atom in :attr:`basis`."""
        first = np.empty(len(frames), np.int64)
        kept = frames < self.n_kept
        first[kept] = self._at[frames[kept], 0]
        absent = frames[~kept]
        if len(absent):
            counts = np.column_stack([self.data.sizes[absent], self.data.counts[absent]])
            at = self._at[-1] + np.vstack(
                [np.zeros((1, 3), np.int64), np.cumsum(counts, axis=0)[:-1]]
            )
            self._compute(absent, at)
            first[~kept] = at[:, 0]
        return first

    def _compute(self, frames: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        if len(frames):
            self.team.run(
                self._fill,
                len(frames),
                frames,
                self._structures,
                self._cutoffs,
                np.ascontiguousarray(at),
                self.basis,
            )


def most_neighbours(data: FrameSet) -> tuple[int, int]:
    """Largest number of neighbours of an atom within the radial and the angular cutoff."""
    radial, angular = data.largest.max(axis=0)
    return int(radial), int(angular)
