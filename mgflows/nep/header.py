"""The header of a ``nep.txt``, which states the architecture of the potential.

The dialects are those that nep-adapters and calorine evaluate: NEP4 with or without a universal,
typewise or flexible ZBL; common cutoffs or one for each species; any further invariants in the
``l_max`` line. The trainers of mgflows support fewer
(:class:`mgflows.nep.parameters.NepParameters`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.errors import InputError
from mgflows.nep.parameters import NepParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NepHeader", "is_number", "read_header", "split_lines"]

_EXAMPLES = {
    "zbl": "zbl 0.9 1.8",
    "cutoff": "cutoff 6.5 4 200 100",
    "n_max": "n_max 4 4",
    "basis_size": "basis_size 8 8",
    "l_max": "l_max 4 2 0",
    "ANN": "ANN 30 0",
}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NUMBERS_PER_FLEXIBLE_PAIR = 10
_LARGEST_ZBL_CUTOFF = 10.0
"""A; the repulsion is negligible beyond 2.5 A, GPUMD's limit in a training."""


@dataclass(frozen=True)
class NepHeader:
    """Architecture of a NEP4 model.

    Parameters
    ----------
    species
        Chemical symbols in the order of the NEP types.
    zbl
        Inner and outer cutoff of the universal Ziegler-Biersack-Littmark repulsion in A; (0, 0)
        if every pair has its own ten parameters at the end of the file (flexible); None for none.
    zbl_factor
        Factor of the typewise cutoffs, which replace the outer one by this factor times the sum of
        the covalent radii if that is shorter; None for none.
    cutoffs
        Radial and angular cutoff in A, once or for each species.
    n_max, basis_size
        Highest radial and angular indices of the descriptor and of the Chebyshev basis.
    l_max
        Highest l of the three-body terms, then one number for each further invariant, zero if
        it is absent: four-body, five-body, and those of later releases.
    neuron
        Neurons of the hidden layer.
    n_lines
        Lines of the header.
    """

    species: tuple[str, ...]
    zbl: tuple[float, float] | None
    zbl_factor: float | None
    cutoffs: tuple[tuple[float, float], ...]
    n_max: tuple[int, int]
    basis_size: tuple[int, int]
    l_max: tuple[int, ...]
    neuron: int
    n_lines: int

    @property
    def descriptor_dimension(self) -> int:
        """Components of the descriptor of one atom."""
        invariants = self.l_max[0] + sum(value > 0 for value in self.l_max[1:])
        return (self.n_max[0] + 1) + (self.n_max[1] + 1) * invariants

    @property
    def number_of_parameters(self) -> int:
        """Trainable numbers of the file."""
        n_species = len(self.species)
        networks = n_species * (self.descriptor_dimension + 2) * self.neuron + 1
        functions = sum(
            (n + 1) * (size + 1) for n, size in zip(self.n_max, self.basis_size, strict=True)
        )
        return networks + n_species**2 * functions

    @property
    def number_of_lines(self) -> int:
        """Numbers after the header: parameters, scaling factors and those of a flexible ZBL."""
        n_species = len(self.species)
        pairs = n_species * (n_species + 1) // 2 if self.zbl == (0.0, 0.0) else 0
        return (
            self.number_of_parameters
            + self.descriptor_dimension
            + pairs * _NUMBERS_PER_FLEXIBLE_PAIR
        )

    def parameters(self) -> NepParameters:
        """The architecture as parameters of a training; everything else has its default.

        Raises
        ------
        InputError
            If the trainers cannot train this architecture.
        """
        obstacle = ""
        if self.zbl == (0.0, 0.0):
            obstacle = "a ZBL repulsion with parameters for each pair"
        elif self.zbl_factor is None and self.zbl and self.zbl[0] != 0.5 * self.zbl[1]:
            obstacle = "an inner ZBL cutoff that is not half of the outer one"
        elif len(set(self.cutoffs)) > 1:
            obstacle = "cutoffs for each species"
        elif any(self.l_max[3:]):
            obstacle = "invariants beyond the five-body term (l_max line)"
        if obstacle:
            raise InputError(
                f"the potential has {obstacle}; mgflows evaluates such potentials but does not "
                "train them",
                hint="start from a potential without, or train from scratch",
            )
        four_body, five_body = (*self.l_max[1:3], 0, 0)[:2]
        return NepParameters(
            species=self.species,
            zbl=None if self.zbl is None else self.zbl[1],
            zbl_factor=self.zbl_factor,
            cutoff=self.cutoffs[0],
            n_max=self.n_max,
            basis_size=self.basis_size,
            l_max=(self.l_max[0], 2 if four_body else 0, 1 if five_body else 0),
            neuron=self.neuron,
        )


def read_header(text: str) -> NepHeader:
    """Read the header of a ``nep.txt`` line by line.

    Raises
    ------
    InputError
        Names the wrong line and what it should be.
    """
    lines = split_lines(text)
    first = lines[0].split() if lines else []
    if len(first) < 3 or first[0] not in ("nep4", "nep4_zbl"):
        raise InputError(
            f"line 1 of the potential is {' '.join(first)[:60]!r} but must be like 'nep4_zbl 3 Cu "
            "Zr Al'; only NEP version 4 is supported"
        )
    if first[1] != str(len(first) - 2):
        raise InputError(
            f"line 1 of the potential declares {first[1]} species and lists {len(first) - 2}: "
            f"{' '.join(first)!r}",
            hint="correct the number or the list",
        )
    _check_species(first[2:])
    n_species = len(first) - 2
    counts = {
        "zbl": (2, 3),
        # The last two are the largest numbers of neighbours.
        "cutoff": (4, 2 * n_species + 2),
        "n_max": (2,),
        "basis_size": (2,),
        "l_max": range(3, 8),
        "ANN": (2,),
    }
    keywords = [word for word in _EXAMPLES if word != "zbl" or first[0] == "nep4_zbl"]
    values: dict[str, list[float]] = {}
    for number, keyword in enumerate(keywords, start=2):
        line = lines[number - 1] if number <= len(lines) else ""
        values[keyword] = _numbers(line, number, keyword, counts[keyword])
    _check(values)
    cutoffs = values["cutoff"][:-2]
    pairs = tuple(zip(cutoffs[::2], cutoffs[1::2], strict=True))
    for radial, angular in pairs:
        if not 0.0 < angular <= radial <= 100.0:
            raise InputError(
                f"the cutoffs of the potential are {radial:g} and {angular:g} A but 0 < angular <= "
                "radial <= 100 must hold"
            )
    zbl = values.get("zbl")
    if zbl is not None:
        _check_zbl(zbl)
    return NepHeader(
        species=tuple(first[2:]),
        zbl=None if zbl is None else (zbl[0], zbl[1]),
        zbl_factor=zbl[2] if zbl is not None and len(zbl) == 3 else None,
        cutoffs=pairs,
        n_max=(int(values["n_max"][0]), int(values["n_max"][1])),
        basis_size=(int(values["basis_size"][0]), int(values["basis_size"][1])),
        l_max=tuple(int(value) for value in values["l_max"]),
        neuron=int(values["ANN"][0]),
        n_lines=1 + len(keywords),
    )


def split_lines(text: str) -> list[str]:
    """The lines of a file, divided at line ends only, as C++ does."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def is_number(word: str) -> bool:
    """Whether Python and C++ read the same finite number, unlike from ``1_0``."""
    return _NUMBER.fullmatch(word) is not None and math.isfinite(float(word))


def _check_species(species: Sequence[str]) -> None:
    from ase.data import atomic_numbers

    for symbol in species:
        if atomic_numbers.get(symbol, 0) < 1:
            raise InputError(
                f"line 1 of the potential names the species {symbol!r}, which is not an element"
            )
        if species.count(symbol) > 1:
            raise InputError(f"line 1 of the potential names {symbol} twice")


def _check_zbl(zbl: Sequence[float]) -> None:
    inner, outer = zbl[:2]
    if not (inner == outer == 0.0 or 0.0 <= inner < outer <= _LARGEST_ZBL_CUTOFF):
        raise InputError(
            f"the ZBL cutoffs of the potential are {inner:g} and {outer:g} A but 0 <= inner < "
            f"outer <= {_LARGEST_ZBL_CUTOFF:g} must hold"
        )
    if len(zbl) == 3 and not zbl[2] > 0.0:
        raise InputError(
            f"the typewise ZBL factor of the potential is {zbl[2]:g} but must be positive"
        )


def _numbers(line: str, number: int, keyword: str, counts: Sequence[int]) -> list[float]:
    words = line.split()
    found = [float(word) for word in words[1:] if is_number(word)]
    if words[:1] != [keyword] or len(found) != len(words) - 1 or len(found) not in counts:
        raise InputError(
            f"line {number} of the potential is {' '.join(words)[:60]!r} but must be {keyword!r} "
            f"and its numbers, such as {_EXAMPLES[keyword]!r}"
        )
    return found


def _check(values: dict[str, list[float]]) -> None:
    """Check integers and their limits, those of NEP_CPU."""
    limits = {
        "n_max": ((0, 19), (0, 19)),
        "basis_size": ((0, 19), (0, 19)),
        "l_max": ((0, 8),),
        "ANN": ((1, 120), (0, 0)),
    }
    for value in values["cutoff"][-2:]:
        if value != int(value) or value < 1:
            raise InputError(
                f"a largest number of neighbours in the cutoff line of the potential is "
                f"{value:g} but must be a positive integer"
            )
    for keyword, ranges in limits.items():
        for value, (low, high) in zip(values[keyword], ranges, strict=False):
            if value != int(value) or not low <= value <= high:
                raise InputError(
                    f"the {keyword} of the potential is {value:g} but must be an integer between "
                    f"{low} and {high}"
                )
