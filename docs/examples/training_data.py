"""Data sets for measuring trainers: wide crystals with glasses, small cells, and small melts.

    python docs/examples/training_data.py DIRECTORY --kind wide [--corners]
    python docs/examples/training_data.py DIRECTORY --kind small --potential nep.txt
    python docs/examples/training_data.py DIRECTORY --kind small --gpaw 400 --atoms 12 --each 3
    python docs/examples/training_data.py DIRECTORY --kind melts --teacher nep.txt --gpaw 400

``wide`` has all crystals of the shipped table for Cu-Zr-Al at 0.75 to 1.35 times their volume with
strains of 4 % and displaced atoms, and glasses of random compositions; with ``--corners`` also
glasses with 98 % of one element, so that all compositions lie between those of glasses. ``small``
has 80 frames of 24-atom glasses and strained elements: what a small campaign with density
functionals affords. ``melts`` has frames of four 24-atom melts that another potential, the teacher,
holds at 2000 K, at 0.92 to 1.1 times their volume. The labels are those of the stand-in or, with
``--potential``, of a NEP: UNEP-v1 (Song et al., Nat. Commun. 15, 10208 (2024)), which was fitted to
PBE, stands for density functionals in docs/how_to/training.md. With ``--gpaw`` GPAW labels them,
with a cutoff in eV and at the Gamma point in glasses. Labels are kept in DIRECTORY/labels.xyz: the
same command resumes, and after ``--minutes`` it writes the frames that have one. A quarter of the
families are test frames.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows import Alloy
from mgflows.eam import stand_in_calculator
from mgflows.errors import LabelError
from mgflows.md import protocols
from mgflows.md.quench import hold
from mgflows.methods.gpaw import GpawMethod
from mgflows.nep import nep_calculator, read_frames, write_frames
from mgflows.structures.crystals import crystal_prototypes
from mgflows.surrogate import LennardJones
from mgflows.surrogate.glasses import GlassProtocol, sample_glass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

SPECIES = ("Al", "Cu", "Zr")
VOLUMES = np.array([16.6, 11.8, 23.3])
"""Of the elements, A^3 per atom."""
GAMMA_IN_GLASSES = 0.69
"""Spacing of k-points in 1/A: one per direction in cells wider than 6.1 A, more in crystals."""
_ATOMS_LARGEST = 64


def disturbed(atoms: Atoms, rng: np.random.Generator, volume: float, rattle: float) -> Atoms:
    """A structure at another volume (a factor), strained by 4 % and with displaced atoms."""
    atoms = atoms.copy()
    strain = rng.normal(0.0, 0.04, (3, 3))
    shape = np.eye(3) + 0.5 * (strain + strain.T)
    shape *= (volume / np.linalg.det(shape)) ** (1.0 / 3.0)
    atoms.set_cell(atoms.cell.array @ shape, scale_atoms=True)
    atoms.rattle(rattle, rng=rng)
    return atoms


def crystals(rng: np.random.Generator, n_each: int, *, elements: bool) -> Iterator[Atoms]:
    """Strained crystals: those of the elements alone, or all."""
    for crystal in crystal_prototypes(SPECIES):
        atoms = crystal.atoms()
        if len(atoms) > _ATOMS_LARGEST or (elements and len(crystal.species) > 1):
            continue
        for _ in range(n_each):
            frame = disturbed(atoms, rng, rng.uniform(0.75, 1.35), rng.uniform(0.0, 0.25))
            frame.info = {"subset": "crystal", "family": crystal.name.replace(" ", "-")}
            yield frame


def glasses(
    rng: np.random.Generator, n_glasses: int, n_atoms: int, n_each: int, *, fixed: bool
) -> Iterator[Atoms]:
    """Surrogate glasses of a fixed or of random compositions, expanded and displaced."""
    for number in range(n_glasses):
        shares = np.array([8.0, 46.0, 46.0]) if fixed else rng.dirichlet([2.0, 2.0, 2.0]) * 100.0
        # At least one atom of every species.
        counts = np.maximum(1, np.round(shares * n_atoms / 100.0)).astype(int)
        yield from copies_of_a_glass(rng, counts, n_each, f"glass-{number}")


def corners(rng: np.random.Generator, n_each: int) -> Iterator[Atoms]:
    """Surrogate glasses with 98 % of one element, expanded and displaced."""
    for number, symbol in enumerate(SPECIES):
        counts = np.ones(len(SPECIES), int)
        counts[number] = 98
        yield from copies_of_a_glass(rng, counts, n_each, f"glass-{symbol}")


def copies_of_a_glass(
    rng: np.random.Generator, counts: NDArray[np.int64], n_each: int, family: str
) -> Iterator[Atoms]:
    """Expanded and displaced copies of a surrogate glass with these numbers of atoms."""
    formula = "".join(f"{s}{n}" for s, n in zip(SPECIES, counts, strict=True))
    n = int(counts.sum())
    alloy = Alloy.from_formula(formula, n_atoms=n, number_density=n / float(counts @ VOLUMES))
    glass = sample_glass(
        LennardJones.cuzral(),
        alloy,
        GlassProtocol(n_sweeps=1000),
        seed=int(rng.integers(2**31)),
    )
    for _ in range(n_each):
        frame = disturbed(
            glass.inherent_structure, rng, rng.uniform(0.95, 1.3), rng.uniform(0.0, 0.2)
        )
        frame.info = {"subset": "lj_surrogate", "family": family}
        yield frame


def melts(
    rng: np.random.Generator, n_melts: int, n_atoms: int, n_each: int, teacher: Path
) -> Iterator[Atoms]:
    """Frames of melts at 2000 K and 0 GPa under a potential, at several volumes."""
    calculator = nep_calculator(teacher)
    stages = protocols.hold(2000.0, 0.5 * n_each, equilibration_time=2.0, n_frames=n_each)
    for number, glass in enumerate(glasses(rng, n_melts, n_atoms, 1, fixed=True)):
        for frame in hold(glass, calculator, stages, seed=int(rng.integers(2**31))).frames:
            volume = rng.uniform(0.92, 1.1)
            frame.set_cell(frame.cell.array * volume ** (1.0 / 3.0), scale_atoms=True)
            frame.info = {"subset": "melt", "family": f"melt-{number}"}
            yield frame


def labelled(frame: Atoms, calculator: Calculator) -> Atoms:
    """The frame with its labels."""
    frame = frame.copy()
    frame.calc = calculator
    # Of a density functional the free energy, whose derivatives the forces are.
    has_free = "free_energy" in calculator.implemented_properties
    results = {
        "energy": frame.get_potential_energy(force_consistent=has_free),
        "forces": frame.get_forces(),
        "stress": frame.get_stress(),
    }
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def gpaw_labelled(
    frames: list[Atoms], directory: Path, cutoff: float, minutes: float, rng: np.random.Generator
) -> list[Atoms]:
    """The frames that have a label of GPAW after this many minutes, in random order."""
    method = GpawMethod(cutoff=cutoff, k_spacing=GAMMA_IN_GLASSES)
    path = directory.absolute() / "labels.xyz"
    done = {frame.info["number"]: frame for frame in read_frames(path)} if path.exists() else {}
    work = directory / "gpaw"
    work.mkdir(exist_ok=True)
    os.chdir(work)
    end = time.monotonic() + 60.0 * minutes
    for number in rng.permutation(len(frames)).tolist():
        if number in done or time.monotonic() > end:
            continue
        calculator = method.build(frames[number])
        try:
            frame = labelled(frames[number], calculator)
        except LabelError as error:
            print(f"frame {number} has no label: {error}", flush=True)
            continue
        finally:
            calculator.close()
        frame.info["number"] = number
        done[number] = frame
        write_frames(path, list(done.values()))
    return [done[number] for number in sorted(done)]


def main() -> None:
    """Read the command line, label and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kind", choices=("wide", "small", "melts"), required=True)
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--potential", type=Path, help="a nep.txt that labels")
    labels.add_argument("--gpaw", type=float, metavar="CUTOFF", help="label with GPAW; eV")
    parser.add_argument("--teacher", type=Path, help="the nep.txt that makes the melts")
    parser.add_argument("--add", type=Path, help="the frames of this directory come first")
    parser.add_argument("--minutes", type=float, default=1e6, help="of labelling with GPAW")
    parser.add_argument("--atoms", type=int, default=24, help="of a glass or melt of small cells")
    parser.add_argument("--each", type=int, default=6, help="frames per family of small cells")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--corners", action="store_true", help="add glasses near the elements to the training"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    if options.kind == "wide":
        frames = [*crystals(rng, 8, elements=False), *glasses(rng, 12, 100, 6, fixed=False)]
    elif options.kind == "melts":
        if options.teacher is None:
            parser.error("--kind melts needs --teacher")
        frames = list(melts(rng, 4, options.atoms, options.each, options.teacher))
    else:
        frames = [
            *crystals(rng, options.each, elements=True),
            *glasses(rng, 12, options.atoms, options.each, fixed=True),
        ]
    directory = options.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    families = list(dict.fromkeys(frame.info["family"] for frame in frames))
    sides: dict[bool, list[Atoms]] = {False: [], True: []}
    if options.add is not None:
        sides = {
            is_test: read_frames(options.add / f"{name}.xyz")
            for name, is_test in (("train", False), ("test", True))
        }
    if options.gpaw is not None:
        frames = gpaw_labelled(frames, directory, options.gpaw, options.minutes, rng)
    else:
        calculator = (
            stand_in_calculator(SPECIES)
            if options.potential is None
            else nep_calculator(options.potential)
        )
        frames = [labelled(frame, calculator) for frame in frames]
    for frame in frames:
        sides[families.index(frame.info["family"]) % 4 == 3].append(frame)
    if options.corners:
        more = corners(np.random.default_rng(options.seed + 10), 6)
        sides[False] += [labelled(frame, stand_in_calculator(SPECIES)) for frame in more]
    for name, is_test in (("train", False), ("test", True)):
        write_frames(directory / f"{name}.xyz", sides[is_test])
        print(f"{len(sides[is_test])} frames in {directory / name}.xyz")


if __name__ == "__main__":
    main()
