"""Cooling runs: the temperature of every sweep, and the record of the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "Cooling",
    "CoolingHistory",
    "CoolingOptions",
    "CoolingProgress",
    "CoolingSchedule",
    "RunOptions",
    "Snapshot",
    "sweep_grid",
]

Kind = Literal["linear", "exponential", "stepwise"]
Grid = Literal["linear", "log"]


@dataclass(frozen=True)
class CoolingSchedule:
    """The reduced temperature of every sweep of a cooling run.

    Parameters
    ----------
    n_sweeps
        Sweeps from the high to the low temperature; holds are not counted.
    reduced_temperature_high, reduced_temperature_low
        Temperatures of the first and last of these sweeps; by default the paper's (Methods,
        "Sampling PEL with swap-Monte Carlo").
    kind
        ``"linear"`` in the sweep (as in the paper), ``"exponential"``, or ``"stepwise"``: constant
        on ``n_steps`` plateaus with equal temperature steps.
    n_steps
        Number of plateaus of the stepwise schedule.
    hold_high, hold_low
        Sweeps at the high temperature before the cooling, and at the low temperature after it.

    Raises
    ------
    InputError
        If ``n_sweeps`` or ``n_steps`` is below one, a hold is negative, a temperature is not
        positive or the schedule is unknown.
    """

    n_sweeps: int
    reduced_temperature_high: float = 10.01
    reduced_temperature_low: float = 0.01
    kind: Kind = "linear"
    n_steps: int = 20
    hold_high: int = 0
    hold_low: int = 0

    def __post_init__(self) -> None:
        if self.n_sweeps < 1:
            raise InputError(
                f"n_sweeps is {self.n_sweeps} but a cooling needs at least one sweep",
                hint="the paper's runs have 10 000 to 10^9",
            )
        for name in ("reduced_temperature_high", "reduced_temperature_low"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise InputError(
                    f"{name} is {getattr(self, name):g} but must be positive",
                    hint="the paper cools from 10.01 to 0.01",
                )
        if self.kind not in ("linear", "exponential", "stepwise"):
            raise InputError(
                f"the schedule {self.kind!r} does not exist",
                hint="choose 'linear', 'exponential' or 'stepwise'",
            )
        if self.n_steps < 1 or min(self.hold_high, self.hold_low) < 0:
            raise InputError(
                f"n_steps is {self.n_steps} and the holds are {self.hold_high} and "
                f"{self.hold_low} sweeps",
                hint="give at least one step, and holds that are not negative",
            )

    @property
    def total_sweeps(self) -> int:
        """Sweeps including the holds."""
        return self.hold_high + self.n_sweeps + self.hold_low

    @property
    def rate(self) -> float:
        """Mean cooling rate: reduced temperature per sweep, positive on cooling."""
        return (self.reduced_temperature_high - self.reduced_temperature_low) / self.n_sweeps

    def temperatures(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the reduced temperatures of the sweeps ``start`` to ``stop`` (exclusive).

        Sweeps are counted from the beginning of the run.
        """
        high, low = self.reduced_temperature_high, self.reduced_temperature_low
        sweep = np.clip(np.arange(start, stop) - self.hold_high, 0, self.n_sweeps - 1)
        if self.kind == "stepwise":
            fraction = (sweep * self.n_steps // self.n_sweeps) / max(self.n_steps - 1, 1)
        else:
            fraction = sweep / max(self.n_sweeps - 1, 1)
        if self.kind == "exponential":
            return high * (low / high) ** fraction
        return high + (low - high) * fraction


class RunOptions(TypedDict, total=False):
    """Keywords of :meth:`SwapMonteCarlo.resume <mgflows.surrogate.SwapMonteCarlo.resume>`."""

    progress: Callable[[CoolingProgress], None] | None
    checkpoint: Path | str | None
    checkpoint_interval: float
    wall_time: float | None


class CoolingOptions(RunOptions, total=False):
    """Keywords of :meth:`SwapMonteCarlo.follow <mgflows.surrogate.SwapMonteCarlo.follow>`."""

    n_history: int
    n_snapshots: int
    snapshot_grid: Grid


def sweep_grid(n: int, n_sweeps: int, grid: Grid) -> NDArray[np.int64]:
    """Return up to ``n`` distinct sweep numbers in [1, n_sweeps], the last of them ``n_sweeps``.

    They are equally spaced in the sweep number or in its logarithm.
    """
    if n < 1:
        return np.empty(0, dtype=np.int64)
    if grid not in ("linear", "log"):
        raise InputError(f"the grid {grid!r} does not exist", hint="choose 'linear' or 'log'")
    if n == 1:
        return np.array([n_sweeps], dtype=np.int64)
    points = (
        np.arange(1, n + 1) * n_sweeps / n if grid == "linear" else np.geomspace(1, n_sweeps, n)
    )
    return np.unique(np.clip(np.round(points), 1, n_sweeps).astype(np.int64))


class CoolingProgress(NamedTuple):
    """Argument of a progress callback: sweeps done and in total, and the current state.

    The temperature and the energy per atom are in reduced units.
    """

    sweeps_done: int
    total_sweeps: int
    reduced_temperature: float
    energy_per_atom: float


class Snapshot(NamedTuple):
    """A configuration during a cooling run.

    The temperature and the energy per atom are in reduced units; the positions are (n, 3) in A, in
    the order of the atoms given.
    """

    sweep: int
    reduced_temperature: float
    energy_per_atom: float
    positions: NDArray[np.float64]


@dataclass
class CoolingHistory:
    """Energy and moves along a cooling run, at equally spaced sweeps; the first entry is the start.

    Parameters
    ----------
    sweep
        Sweeps done.
    reduced_temperature
        Temperature of the last sweep done (in the first entry, of the first sweep).
    energy_per_atom
        Reduced potential energy per atom after that sweep.
    displacements, exchanges
        (2, n_species) and (2, n_pairs) cumulative numbers of moves attempted and accepted.
    """

    sweep: list[int] = field(default_factory=list)
    reduced_temperature: list[float] = field(default_factory=list)
    energy_per_atom: list[float] = field(default_factory=list)
    displacements: list[NDArray[np.int64]] = field(default_factory=list)
    exchanges: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def displacement_acceptance(self) -> NDArray[np.float64]:
        """(n_entries - 1, n_species) accepted fraction of the displacements between entries.

        NaN where no move was attempted.
        """
        return _acceptance(self.displacements)

    @property
    def exchange_acceptance(self) -> NDArray[np.float64]:
        """(n_entries - 1, n_pairs) accepted fraction of the exchanges between entries.

        NaN where no move was attempted.
        """
        return _acceptance(self.exchanges)


def _acceptance(counts: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    attempted, accepted = np.moveaxis(np.diff(np.array(counts), axis=0), 1, 0)
    return np.divide(accepted, attempted, out=np.full(attempted.shape, np.nan), where=attempted > 0)


@dataclass
class Cooling:
    """One cooling run, finished or not.

    Parameters
    ----------
    schedule
        Temperature of every sweep.
    first_sweep
        Sweeps that the sampler had done before this run.
    history_sweeps, snapshot_sweeps
        Sweeps of this run after which an entry of the history and a snapshot are recorded.
    sweeps_done
        Sweeps of this run done so far.
    history, snapshots
        The recorded entries and configurations.
    """

    schedule: CoolingSchedule
    first_sweep: int
    history_sweeps: NDArray[np.int64]
    snapshot_sweeps: NDArray[np.int64]
    sweeps_done: int = 0
    history: CoolingHistory = field(default_factory=CoolingHistory)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether every sweep of the schedule is done."""
        return self.sweeps_done == self.schedule.total_sweeps

    @property
    def reduced_temperature(self) -> float:
        """Temperature of the last sweep done, or of the first before any is done."""
        sweep = max(self.sweeps_done - 1, 0)
        return float(self.schedule.temperatures(sweep, sweep + 1)[0])

    def next_stop(self) -> int:
        """Return the next sweep with an entry to record, or the last sweep."""
        stops = [
            grid[grid > self.sweeps_done][0]
            for grid in (self.history_sweeps, self.snapshot_sweeps)
            if np.any(grid > self.sweeps_done)
        ]
        return int(min([*stops, self.schedule.total_sweeps]))

    def record(
        self,
        energy_per_atom: float,
        displacements: NDArray[np.int64],
        exchanges: NDArray[np.int64],
        positions: Callable[[], NDArray[np.float64]],
    ) -> None:
        """Add the entries due after ``sweeps_done`` sweeps, unless already present.

        Parameters
        ----------
        energy_per_atom
            Reduced potential energy.
        displacements, exchanges
            Counts of moves, as in :class:`CoolingHistory`.
        positions
            Returns the positions of a :class:`Snapshot`.
        """
        done, temperature = self.sweeps_done, self.reduced_temperature
        history, snapshots = self.history, self.snapshots
        if (done == 0 or done in self.history_sweeps) and (
            not history.sweep or history.sweep[-1] < done
        ):
            history.sweep.append(done)
            history.reduced_temperature.append(temperature)
            history.energy_per_atom.append(energy_per_atom)
            history.displacements.append(displacements.copy())
            history.exchanges.append(exchanges.copy())
        if done in self.snapshot_sweeps and (not snapshots or snapshots[-1].sweep < done):
            snapshots.append(Snapshot(done, temperature, energy_per_atom, positions()))

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the run as JSON values and arrays, for a checkpoint."""
        values = {
            "schedule": asdict(self.schedule),
            "first_sweep": self.first_sweep,
            "sweeps_done": self.sweeps_done,
        }
        arrays = {"history_sweeps": self.history_sweeps, "snapshot_sweeps": self.snapshot_sweeps}
        arrays |= {
            f"history_{name}": np.array(column) for name, column in vars(self.history).items()
        }
        arrays |= {
            f"snapshot_{name}": np.array([getattr(s, name) for s in self.snapshots])
            for name in Snapshot._fields
        }
        return values, arrays

    @classmethod
    def from_arrays(cls, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Cooling:
        """Invert :meth:`to_arrays`."""
        history = CoolingHistory(
            sweep=arrays["history_sweep"].tolist(),
            reduced_temperature=arrays["history_reduced_temperature"].tolist(),
            energy_per_atom=arrays["history_energy_per_atom"].tolist(),
            displacements=list(arrays["history_displacements"]),
            exchanges=list(arrays["history_exchanges"]),
        )
        columns = [arrays[f"snapshot_{name}"] for name in Snapshot._fields]
        snapshots = [
            Snapshot(int(s), float(t), float(e), p) for s, t, e, p in zip(*columns, strict=True)
        ]
        return cls(
            CoolingSchedule(**values["schedule"]),
            values["first_sweep"],
            arrays["history_sweeps"],
            arrays["snapshot_sweeps"],
            values["sweeps_done"],
            history,
            snapshots,
        )
