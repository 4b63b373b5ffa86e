"""Swap Monte Carlo of Lennard-Jones mixtures: displacements and exchanges of unlike atoms.

Paper, Methods, "Sampling PEL with swap-Monte Carlo": a sweep is N trial moves, 80 % displacements
and 20 % exchanges. Exchanges of species adjacent in diameter, Cu-Al and Al-Zr, are accepted far
into the supercooled liquid.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import numpy as np
from ase import Atoms

from mgflows import units
from mgflows.errors import InputError
from mgflows.surrogate.checkpoint import Checkpointer, read_arrays, write_arrays
from mgflows.surrogate.cooling import (
    Cooling,
    CoolingProgress,
    CoolingSchedule,
    sweep_grid,
)
from mgflows.surrogate.insertion import random_configuration
from mgflows.surrogate.kernels import all_pairs
from mgflows.surrogate.kernels.layouts import lay_out
from mgflows.surrogate.lennard_jones import LennardJones

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.cooling import CoolingOptions, RunOptions

__all__ = ["SwapMonteCarlo", "random_configuration"]

logger = logging.getLogger(__name__)

_MOVES_PER_CHUNK = 2_000_000
"""Moves between two checks of the time, signals and Ctrl-C: about half a second."""
_REFRESH_INTERVAL = {"float64": 1000, "float32": 100}
"""Sweeps between two full computations of the energies: 0.1 and 1 % of the work."""
_FORMAT = 1


class SwapMonteCarlo:
    """A canonical Metropolis sampler of a Lennard-Jones mixture with exchanges of unlike atoms.

    Parameters
    ----------
    lj
        The surrogate.
    atoms
        Start configuration in A in a periodic orthorhombic box; species in any order.
    seed
        Seed of the random numbers, or a pair ``(seed, stream)``; streams of one seed are
        independent, and the seed alone is stream 0.
    exchange_pairs
        Pairs of species that may exchange positions; by default those adjacent in diameter among
        the species present.
    max_displacement
        Edge of the cube of uniform displacements, in units of the reference sigma (paper: 0.15).
    swap_fraction
        Probability that a move is an exchange (paper: 0.2). If no species can be exchanged, all
        moves are displacements.
    dtype
        ``"float64"``, or the faster ``"float32"``, with energies that agree to about 1e-6
        (``docs/reference/performance.md`` has the check for a bias).
    method
        ``"all_pairs"``, ``"cells"``, ``"images"``, or ``"auto"``: images in a box below twice the
        largest cutoff, which is slow (``docs/concepts/surrogate.md``, "Small cells") and always in
        double precision; otherwise the faster of the other two for this number of atoms.

    Raises
    ------
    InputError
        For any other cell, species that the surrogate lacks, coinciding atoms or settings out of
        range.

    Notes
    -----
    A displacement is uniform in a cube centred at the atom, and an exchange is uniform over all
    pairs of atoms whose species may exchange; both proposals are symmetric, so acceptance with
    probability min(1, exp(-dU/T)) satisfies detailed balance. An exchange swaps positions.
    """

    def __init__(
        self,
        lj: LennardJones,
        atoms: Atoms,
        seed: int | tuple[int, int],
        *,
        exchange_pairs: Sequence[tuple[str, str]] | None = None,
        max_displacement: float = 0.15,
        swap_fraction: float = 0.2,
        dtype: Literal["float64", "float32"] = "float64",
        method: Literal["auto", "all_pairs", "cells", "images"] = "auto",
    ) -> None:
        if dtype not in _REFRESH_INTERVAL:
            raise InputError(
                f"the dtype {dtype!r} does not exist", hint="choose 'float64' or 'float32'"
            )
        reduced = lj.reduced_configuration(atoms)
        if not 0.0 < max_displacement <= reduced.box.min():
            raise InputError(
                f"max_displacement is {max_displacement:g} but must be positive and at most the "
                f"box edge {reduced.box.min():.4g}, in units of the reference sigma",
                hint="the paper uses 0.15",
            )
        _check_swap_fraction(swap_fraction)
        self.lj = lj
        self.dtype = dtype
        self.max_displacement = max_displacement
        self.swap_fraction = swap_fraction
        self.cooling: Cooling | None = None
        self._template = Atoms(numbers=atoms.numbers, cell=atoms.cell, pbc=True)
        self._order = np.argsort(reduced.types, kind="stable")
        self._random_state = all_pairs.seed_random_state(*_seed_and_stream(seed))
        counts = np.bincount(reduced.types, minlength=len(lj.species))
        present = [species for species, count in zip(lj.species, counts, strict=True) if count]
        self.exchange_pairs = lj.exchanges_of(present, exchange_pairs)
        self._proposals = self._make_proposals(counts, reduced.box)
        self._system = lay_out(lj, reduced, self._order, max_displacement, dtype, method)
        self._counters = all_pairs.new_counters(len(lj.species), len(self.exchange_pairs))
        if not np.isfinite(self._system.configuration.total[0]):
            raise InputError(
                "the energy of the start configuration is infinite: two atoms coincide",
                hint="move them apart, or start from SwapMonteCarlo.from_alloy",
            )

    @classmethod
    def from_alloy(
        cls, lj: LennardJones, alloy: Alloy, seed: int | tuple[int, int], **settings: Any
    ) -> Self:
        """Start from atoms inserted at random in the alloy's box; :meth:`equilibrate` melts it.

        Parameters
        ----------
        lj, alloy, seed
            Surrogate, composition with number of atoms and density, and seed of both the insertion
            and the sampling. Streams of one seed start from the same insertion.
        settings
            As in :class:`SwapMonteCarlo`.
        """
        return cls(lj, random_configuration(lj, alloy, _seed_and_stream(seed)[0]), seed, **settings)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self._template)

    @property
    def sweeps(self) -> int:
        """Sweeps done so far."""
        return int(self._system.configuration.sweeps[0])

    @property
    def energy_per_atom(self) -> float:
        """Reduced potential energy per atom of the current configuration."""
        return float(self._system.configuration.total.mean()) / self.n_atoms

    @property
    def atoms(self) -> Atoms:
        """The current configuration in A, in the order of the atoms given, wrapped into the box."""
        atoms = self._template.copy()
        atoms.positions = self._positions()
        return atoms

    @property
    def displacements(self) -> dict[str, tuple[int, int]]:
        """Displacements attempted and accepted by species.

        Counted since the start or the last :meth:`reset_counters`.
        """
        columns = self._counters.displacements.T.tolist()
        return {
            species: (attempted, accepted)
            for species, (attempted, accepted) in zip(self.lj.species, columns, strict=True)
        }

    @property
    def exchanges(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Exchanges attempted and accepted by pair of species.

        Counted since the start or the last :meth:`reset_counters`.
        """
        columns = self._counters.exchanges.T.tolist()
        return {
            pair: (attempted, accepted)
            for pair, (attempted, accepted) in zip(self.exchange_pairs, columns, strict=True)
        }

    def pressure(self, reduced_temperature: float) -> float:
        """Return the pressure of the current configuration in GPa.

        It is the sum of the virial term and the ideal-gas term at the given temperature.
        """
        atoms = self.atoms
        atoms.calc = self.lj.calculator()
        ideal = (
            self.n_atoms
            / atoms.get_volume()
            * self.lj.energy_unit
            * reduced_temperature
            * units.EV_PER_A3_IN_GPA
        )
        return units.pressure_from_stress(atoms.get_stress()) + ideal

    def check_density(
        self, glass_mass_density: float, reduced_temperature: float, tolerance: float = 0.05
    ) -> str | None:
        """Warn if the density of the samples differs from that of the real glass.

        Parameters
        ----------
        glass_mass_density
            Measured density of the glass in g/cm^3.
        reduced_temperature
            Temperature of the current configuration, for its pressure.
        tolerance
            Largest relative difference without a warning.

        Returns
        -------
        The warning, which is also logged; None if the densities agree.
        """
        atoms = self.atoms
        density = units.mass_density(
            self.n_atoms / atoms.get_volume(), float(atoms.get_masses().mean())
        )
        difference = density / glass_mass_density - 1.0
        if abs(difference) <= tolerance:
            return None
        message = (
            f"the samples have {density:.2f} g/cm^3, {abs(difference):.0%} "
            f"{'more' if difference > 0 else 'less'} than the glass with "
            f"{glass_mass_density:.2f}; their pressure is "
            f"{self.pressure(reduced_temperature):.0f} GPa at T* = {reduced_temperature:g}"
        )
        logger.warning(message)
        return message

    @property
    def finished_cooling(self) -> Cooling | None:
        """The last cooling, if all of its sweeps are done."""
        return self.cooling if self.cooling is not None and self.cooling.finished else None

    def reset_counters(self) -> None:
        """Set the counters of attempted and accepted moves to zero."""
        for counts in self._counters:
            counts[:] = 0

    def run(
        self,
        n_sweeps: int,
        reduced_temperature: float,
        *,
        swap_fraction: float | None = None,
        sample_every: int = 1,
    ) -> NDArray[np.float64]:
        """Sample at constant temperature.

        Parameters
        ----------
        n_sweeps
            Number of sweeps.
        reduced_temperature
            Temperature in units of the reference epsilon over k_B.
        swap_fraction
            Probability of an exchange in this run; by default that of the sampler.
        sample_every
            Sweeps between two samples of the energy.

        Returns
        -------
        (n_sweeps // sample_every,) reduced potential energy per atom.
        """
        if n_sweeps < 0 or sample_every < 1:
            raise InputError(
                f"n_sweeps is {n_sweeps} and sample_every {sample_every}",
                hint="give n_sweeps of at least 0 and sample_every of at least 1",
            )
        if not (np.isfinite(reduced_temperature) and reduced_temperature > 0.0):
            raise InputError(
                f"the reduced temperature is {reduced_temperature:g} but must be positive, such "
                "as 5.0"
            )
        if swap_fraction is None:
            swap_fraction = self.swap_fraction
        _check_swap_fraction(swap_fraction)
        temperatures = np.full(min(n_sweeps, self._chunk), float(reduced_temperature))
        energies = [
            self._advance(temperatures[: n_sweeps - start], swap_fraction)
            for start in range(0, n_sweeps, self._chunk)
        ]
        return (
            np.concatenate([np.empty((0, *self._energy_shape)), *energies])[
                sample_every - 1 :: sample_every
            ]
            / self.n_atoms
        )

    def equilibrate(self, n_sweeps: int = 1000, reduced_temperature_high: float = 10.01) -> None:
        """Melt the start configuration at the high temperature of a cooling run.

        The counters of moves are reset afterwards.
        """
        self.run(n_sweeps, reduced_temperature_high)
        self.reset_counters()

    def cool(
        self,
        n_sweeps: int,
        reduced_temperature_high: float = 10.01,
        reduced_temperature_low: float = 0.01,
        **options: Unpack[CoolingOptions],
    ) -> Cooling:
        """Cool linearly, or continue an interrupted cooling of the same schedule.

        Parameters
        ----------
        n_sweeps, reduced_temperature_high, reduced_temperature_low
            Length and end points of the cooling, as in
            :class:`~mgflows.surrogate.cooling.CoolingSchedule`.
        options
            Keywords of :meth:`follow`: ``n_history``, ``n_snapshots``, ``snapshot_grid``,
            ``progress``, ``checkpoint``, ``checkpoint_interval``, ``wall_time``.

        Returns
        -------
        The record of the run. It is not ``finished`` if ``wall_time`` or a signal stopped it.

        Raises
        ------
        InputError
            For a schedule out of range, or if a cooling of another schedule is unfinished.
        """
        schedule = CoolingSchedule(n_sweeps, reduced_temperature_high, reduced_temperature_low)
        return self.follow(schedule, **options)

    def follow(
        self,
        schedule: CoolingSchedule,
        *,
        n_history: int = 100,
        n_snapshots: int = 0,
        snapshot_grid: Literal["linear", "log"] = "linear",
        **run: Unpack[RunOptions],
    ) -> Cooling:
        """Cool by any schedule; otherwise as :meth:`cool`.

        Parameters
        ----------
        schedule
            Kind, end points, plateaus and holds of the cooling.
        n_history
            Number of entries of the history, equally spaced over the run.
        n_snapshots, snapshot_grid
            Number of configurations to keep, equally spaced in the sweeps or in their logarithm;
            the last is the final one.
        run
            As in :meth:`resume`.

        Examples
        --------
        >>> schedule = CoolingSchedule(10_000, kind="exponential", hold_low=1000)
        >>> cooling = sampler.follow(schedule, n_snapshots=10)  # doctest: +SKIP
        """
        if self.cooling is None or self.cooling.finished:
            self.cooling = Cooling(
                schedule,
                self.sweeps,
                sweep_grid(n_history, schedule.total_sweeps, "linear"),
                sweep_grid(n_snapshots, schedule.total_sweeps, snapshot_grid),
            )
        elif self.cooling.schedule != schedule:
            raise InputError(
                f"a cooling in {self.cooling.schedule.n_sweeps} sweeps is unfinished at sweep "
                f"{self.cooling.sweeps_done}",
                hint="finish it with resume(), or discard it by setting cooling to None",
            )
        return self.resume(**run)

    def resume(
        self,
        *,
        progress: Callable[[CoolingProgress], None] | None = None,
        checkpoint: Path | str | None = None,
        checkpoint_interval: float = 300.0,
        wall_time: float | None = None,
    ) -> Cooling:
        """Continue the unfinished cooling to its end.

        Parameters
        ----------
        progress
            Called with a :class:`~mgflows.surrogate.cooling.CoolingProgress` at least about twice a
            second.
        checkpoint
            File for :meth:`load`, written every ``checkpoint_interval`` seconds, at the end, on
            SIGTERM (which is then passed to the previous handler) and on SIGUSR1 (after which the
            method returns).
        checkpoint_interval
            Seconds between two checkpoints.
        wall_time
            Seconds after which the method saves and returns with the cooling unfinished.

        Raises
        ------
        InputError
            If there is no cooling.
        """
        if self.cooling is None:
            raise InputError("there is no cooling to resume", hint="start one with cool(n_sweeps)")
        cooling = self.cooling
        save = None if checkpoint is None else lambda: self.save(checkpoint)
        checkpointer = Checkpointer(save, checkpoint_interval, wall_time)
        with checkpointer.listening():
            while True:
                cooling.sweeps_done = self.sweeps - cooling.first_sweep
                cooling.record(self.energy_per_atom, *self._counters, self._positions)
                if progress is not None:
                    progress(
                        CoolingProgress(
                            cooling.sweeps_done,
                            cooling.schedule.total_sweeps,
                            cooling.reduced_temperature,
                            self.energy_per_atom,
                        )
                    )
                if cooling.finished:
                    checkpointer.save()
                    return cooling
                if checkpointer.time_to_stop():
                    return cooling
                stop = min(cooling.next_stop(), cooling.sweeps_done + self._chunk)
                self._advance(
                    cooling.schedule.temperatures(cooling.sweeps_done, stop), self.swap_fraction
                )

    def save(self, path: Path | str) -> None:
        """Write the whole state to a file, atomically.

        A sampler loaded from it continues bitwise identically.
        """
        values: dict[str, Any] = {
            "format": _FORMAT,
            "sampler": type(self).__name__,
            "lj": self.lj.as_dict(),
            "dtype": self.dtype,
            "method": self._method,
            "max_displacement": self.max_displacement,
            "swap_fraction": self.swap_fraction,
            "exchange_pairs": self.exchange_pairs,
        }
        arrays = {
            "numbers": self._template.numbers,
            "cell": self._template.cell.array,
            "positions": self._positions(),
            "random_state": self._random_state,
            "displacements": self._counters.displacements,
            "exchanges": self._counters.exchanges,
        }
        arrays |= {f"system_{name}": array for name, array in self._system.arrays().items()}
        if self.cooling is not None:
            values["cooling"], cooling_arrays = self.cooling.to_arrays()
            arrays |= {f"cooling_{name}": array for name, array in cooling_arrays.items()}
        write_arrays(path, arrays | {"values": np.array(json.dumps(values))})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a sampler that :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is not such a checkpoint.
        """
        arrays = read_arrays(path)
        values = json.loads(str(arrays["values"])) if "values" in arrays else {}
        if values.get("format") != _FORMAT or values.get("sampler") != cls.__name__:
            raise InputError(
                f"{path} is not a checkpoint of format {_FORMAT} of {cls.__name__}",
                hint="give a file that its save() wrote",
            )
        sampler = cls._rebuild(arrays, values)
        # The stored energies and the order of the atoms affect the last bits of later results, so
        # they are restored and not recomputed.
        sampler._system.restore(_under("system_", arrays))
        sampler._random_state[:] = arrays["random_state"]
        sampler._counters.displacements[:] = arrays["displacements"]
        sampler._counters.exchanges[:] = arrays["exchanges"]
        if "cooling" in values:
            sampler.cooling = Cooling.from_arrays(values["cooling"], _under("cooling_", arrays))
        return sampler

    @classmethod
    def _rebuild(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Return a sampler with the settings and, up to rounding, the positions of a checkpoint."""
        return cls(
            LennardJones.from_dict(values["lj"]),
            Atoms(
                numbers=arrays["numbers"],
                positions=arrays["positions"],
                cell=arrays["cell"],
                pbc=True,
            ),
            seed=0,
            exchange_pairs=[(a, b) for a, b in values["exchange_pairs"]],
            max_displacement=values["max_displacement"],
            swap_fraction=values["swap_fraction"],
            dtype=values["dtype"],
            method=values["method"],
        )

    @property
    def _method(self) -> str:
        return self._system.method

    @property
    def _energy_shape(self) -> tuple[int, ...]:
        """Shape of one sample of the energy: one number, or one per replica."""
        return ()

    @property
    def _chunk(self) -> int:
        return max(1, _MOVES_PER_CHUNK // self.n_atoms)

    def _make_proposals(
        self, counts: NDArray[np.int64], box: NDArray[np.float64]
    ) -> all_pairs.Proposals:
        pairs = np.array(
            [[self.lj.species.index(s) for s in pair] for pair in self.exchange_pairs],
            dtype=np.int64,
        ).reshape(-1, 2)
        weights = np.cumsum(counts[pairs[:, 0]] * counts[pairs[:, 1]]).astype(float)
        return all_pairs.Proposals(
            reach=0.5 * self.max_displacement / box * all_pairs.LATTICE / 2**21,
            swap_fraction=float(self.swap_fraction),
            exchange_pairs=pairs,
            exchange_cumulative=weights / max(weights.max(initial=0.0), 1.0),
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def _advance(
        self, temperatures: NDArray[np.float64], swap_fraction: float
    ) -> NDArray[np.float64]:
        """Run one sweep at each temperature; return the total energies."""
        energies = np.empty((len(temperatures), *self._energy_shape))
        proposals = self._proposals._replace(
            swap_fraction=float(swap_fraction) if self.exchange_pairs else 0.0
        )
        self._system.run(
            proposals,
            self._counters,
            temperatures,
            _REFRESH_INTERVAL[self.dtype],
            energies,
            self._random_state,
        )
        return energies

    def _positions(self) -> NDArray[np.float64]:
        lattice = self._system.lattice
        positions = np.empty(lattice.shape)
        positions[..., self._order, :] = all_pairs.from_lattice(
            lattice, np.diag(self._template.cell.array)
        )
        return positions


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _seed_and_stream(seed: int | tuple[int, int]) -> tuple[int, int]:
    return seed if isinstance(seed, tuple) else (seed, 0)


def _check_swap_fraction(swap_fraction: float) -> None:
    if not 0.0 <= swap_fraction <= 1.0:
        raise InputError(
            f"the swap fraction is {swap_fraction:g} but must be a probability",
            hint="give a value between 0 and 1, such as the paper's 0.2",
        )
