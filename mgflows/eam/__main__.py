"""``python -m mgflows.eam`` prints the tables of docs/concepts/stand_in.md.

They compare the stand-in with its fit targets, for its elements and three crystals.
"""

from __future__ import annotations

import sys

from mgflows.eam.fit import TARGETS, formation_energy, relax_cubic, relax_element
from mgflows.eam.stand_in import CROSS_PAIRS, SPECIES, stand_in_fingerprint, stand_in_model
from mgflows.eam.zhou2004 import zhou_model


def stand_in_table() -> str:
    """Markdown tables of the elements, crystals and refitted pairs, and the fingerprint's hash."""
    stand_in, johnson = stand_in_model(), zhou_model(SPECIES)
    elements = {symbol: relax_element(stand_in, symbol) for symbol in SPECIES}
    references = {symbol: element.energy for symbol, element in elements.items()}

    lines = ["| element | structure | energy (eV/atom) | a (Å) | c (Å) |", "|---|---|---|---|---|"]
    for symbol, element in elements.items():
        structure = stand_in.reference_crystals[symbol][0]
        lines.append(
            f"| {symbol} | {structure} | {element.energy:.3f} | {element.a:.3f} | {element.c:.3f} |"
        )

    lines += [
        "",
        (
            "| crystal | E target (eV/atom) | E stand-in | E Johnson mixing "
            "| V target (Å³/atom) | V stand-in | V Johnson mixing |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for target in TARGETS:
        symbols = target.atoms().get_chemical_symbols()
        relaxed = [relax_cubic(model, target.atoms()) for model in (stand_in, johnson)]
        energies = [
            target.formation_energy,
            *(formation_energy(energy, symbols, references) for energy, _ in relaxed),
        ]
        volumes = [target.volume, *(volume for _, volume in relaxed)]
        lines.append(
            "| "
            + " | ".join(
                [
                    target.name,
                    *(f"{energy:.3f}" for energy in energies),
                    *(f"{volume:.2f}" for volume in volumes),
                ]
            )
            + " |"
        )

    lines += ["", "| pair | scale | stretch |", "|---|---|---|"]
    lines += [
        f"| {'-'.join(pair)} | {fitted.scale:.5f} | {fitted.stretch:.5f} |"
        for pair, fitted in CROSS_PAIRS.items()
    ]
    return "\n".join([*lines, "", f"fingerprint {stand_in_fingerprint()['sha256']}", ""])


if __name__ == "__main__":
    sys.stdout.write(stand_in_table())
