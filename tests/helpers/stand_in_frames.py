"""Frames of a Cu-Zr alloy labelled with the stand-in, and potentials trained on them in seconds."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.eam import stand_in_calculator
from mgflows.md import protocols
from mgflows.md.quench import quench
from mgflows.nep import NepParameters, NepTrainer
from mgflows.validation.elasticity import relax_to_zero_stress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

SPECIES = ("Cu", "Zr")
PARAMETERS = NepParameters(
    SPECIES, cutoff=(5.0, 4.0), n_max=(4, 3), basis_size=(6, 6), l_max=(4, 0, 0), neuron=10, zbl=2.0
)
_STRAINS = (0.93, 0.97, 1.03, 1.06)


def labelled(atoms: Atoms, subset: str, family: str) -> Atoms:
    frame = atoms.copy()
    frame.calc = stand_in_calculator(SPECIES)
    results = {
        "energy": frame.get_potential_energy(),
        "forces": frame.get_forces(),
        "stress": frame.get_stress(),
    }
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info = {"subset": subset, "family": family}
    return frame


@cache
def frames(family: int) -> list[Atoms]:
    """A melt and its quench, the relaxed glass and the glass strained: 41 frames of 54 atoms."""
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", "bcc", a=3.25, cubic=True).repeat(3)
    atoms.symbols[:] = rng.permutation(["Cu"] * 27 + ["Zr"] * 27)
    atoms.rattle(0.15, rng=rng)
    calculator = stand_in_calculator(SPECIES)
    result = quench(
        atoms,
        calculator,
        protocols.quench(
            temperature_high=2200.0,
            cooling_rate=1500.0,
            equilibration_time=1.0,
            n_path_frames=36,
        ),
        seed=family,
    )
    name = f"quench-{family}"
    glass = relax_to_zero_stress(result.atoms, calculator)
    made = [labelled(frame.atoms, "mlip_feedback", name) for frame in result.path]
    made.append(labelled(glass, "dft_minimized", name))
    for factor in _STRAINS:
        strained = glass.copy()
        strained.set_cell(strained.cell * factor, scale_atoms=True)
        made.append(labelled(strained, "expanded_compressed", name))
    return made


def trained(train: Sequence[Atoms], steps: int) -> str:
    with tempfile.TemporaryDirectory() as directory:
        trainer = NepTrainer(steps=steps, reports=1)
        trainer.prepare(directory, PARAMETERS, train[:-1], train[-1:], seed=1)
        return trainer.train(directory).nep_txt


@cache
def good_potential() -> str:
    return trained(frames(0), 1500)


@cache
def bad_potential() -> str:
    """Trained on strained glasses alone, and too little."""
    return trained(frames(0)[-4:], 60)
