"""The settings of a neuroevolution potential (NEP) and of its training: the file ``nep.in``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dialect", "NepParameters"]

Dialect = Literal["gpumd", "neppo"]
"""Trainer that reads the file: GPUMD's ``nep`` executable or neppo. Each refuses or misreads
keywords of the other."""

_MAX_SPECIES = 94
_MAX_GENERATIONS = 10_000_000


_WEIGHTS = (
    "lambda_e",
    "lambda_f",
    "lambda_v",
    "lambda_shear",
    "force_delta",
    "lambda_1",
    "lambda_2",
)
"""Keywords of the loss: finite numbers that are not negative."""


@dataclass(frozen=True)
class NepParameters:
    """A NEP4 model with ZBL repulsion, and the settings of its training.

    The defaults are the paper's (Methods, "Neuroevolutional Potential").

    Every value is written out, because the trainers' own defaults differ between releases:
    GPUMD's ``n_max 4 4`` and ``basis_size 8 8`` of the paper's time are ``6 6`` and ``6 6`` since
    April 2026.

    Parameters
    ----------
    species
        Chemical symbols in the order of the NEP types.
    version
        Generation of the NEP formalism; trainers accept only 4 (Song et al., Nat. Commun. 15, 10208
        (2024), doi:10.1038/s41467-024-54554-x).
    zbl
        Outer cutoff in A of the universal Ziegler-Biersack-Littmark repulsion (inner: half of it);
        None for none.
    zbl_factor
        Typewise cutoffs of the repulsion (``use_typewise_cutoff_zbl``): this factor times the sum
        of the covalent radii of a pair where that is shorter than ``zbl``; None for none.
    cutoff
        Radial and angular cutoff in A.
    n_max
        Highest radial and angular descriptor index; there is one more function than this.
    basis_size
        Highest index of the Chebyshev basis of the radial and the angular functions.
    l_max
        Highest l of the three-body terms, then 2 or 0 with or without the four-body term, 1 or 0
        with or without the five-body term.
    neuron
        Neurons of the hidden layer.
    lambda_e, lambda_f, lambda_v
        Weights of the errors of energy, force and virial (eV/atom, eV/A, eV/atom).
    lambda_shear
        Further factor of the errors of the shear components of the virial.
    type_weight
        Factors of the force errors of each species; None for 1.
    force_delta
        eV/A; squared errors of a force F are multiplied by ``force_delta/(force_delta + F)``, which
        favours small forces. 0 for no such weight; neppo does not have it.
    lambda_1, lambda_2
        Weights of the L1 and L2 norms of the parameters. None: the trainer's own, which is
        ``sqrt(1e-6 n / n_species)`` for GPUMD and 0 for neppo.
    batch
        Frames per step.
    population
        Solutions per generation of the evolution strategy; GPUMD only.
    generation
        GPUMD: generations of the evolution strategy. neppo: steps of AdamW, of which a few thousand
        suffice.
    output_interval
        Generations or steps between two lines of ``loss.out``. neppo evaluates the *whole* training
        and test sets for each line.
    learning_rate
        First and last learning rate of neppo's cosine schedule. None: neppo's own (0.01, 0.0001).
    loss_form
        neppo only: whether the loss contains mean squared errors or their roots. None: neppo's own
        (``mse``).
    seed
        Seed of the initial parameters and the batches. neppo: 42 if None. GPUMD has had the
        keyword since late 2026.

    Raises
    ------
    InputError
        For a value that the trainers would refuse or misinterpret.
    """

    species: tuple[str, ...]
    version: int = 4
    zbl: float | None = 1.8
    zbl_factor: float | None = None
    cutoff: tuple[float, float] = (6.5, 4.0)
    n_max: tuple[int, int] = (4, 4)
    basis_size: tuple[int, int] = (8, 8)
    l_max: tuple[int, int, int] = (4, 2, 0)
    neuron: int = 30
    lambda_e: float = 1.0
    lambda_f: float = 1.0
    lambda_v: float = 0.1
    lambda_shear: float = 1.0
    type_weight: tuple[float, ...] | None = None
    force_delta: float = 0.0
    lambda_1: float | None = None
    lambda_2: float | None = None
    batch: int = 1000
    population: int = 50
    generation: int = 100_000
    output_interval: int = 100
    learning_rate: tuple[float, float] | None = None
    loss_form: Literal["mse", "rmse"] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "species",
            "cutoff",
            "n_max",
            "basis_size",
            "l_max",
            "learning_rate",
            "type_weight",
        ):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        _check_species(self.species)
        if self.version != 4:
            raise InputError(
                f"version is {self.version}, but the trainers support only NEP version 4",
                hint="set version 4",
            )
        self._check_descriptor()
        for name in _WEIGHTS:
            weight = getattr(self, name)
            if weight is not None and not (math.isfinite(weight) and weight >= 0.0):
                raise InputError(
                    f"{name} is {weight:g} but a weight must be finite and not negative"
                )
        if self.type_weight is not None and not (
            len(self.type_weight) == len(self.species)
            and all(math.isfinite(weight) and weight >= 0.0 for weight in self.type_weight)
        ):
            raise InputError(
                f"type_weight is {self.type_weight} but must be one number for each species, "
                "finite and not negative"
            )
        _check_range("batch", self.batch, 1, None)
        _check_range("population", self.population, 10, 200)
        _check_range("generation", self.generation, 1, _MAX_GENERATIONS)
        _check_range("output_interval", self.output_interval, 1, None)
        if self.learning_rate is not None and not (
            len(self.learning_rate) == 2
            and all(math.isfinite(rate) and rate > 0.0 for rate in self.learning_rate)
        ):
            raise InputError(
                f"learning_rate is {self.learning_rate} but must be two positive numbers, first "
                "and last, such as (1e-2, 1e-4)"
            )
        if self.loss_form not in (None, "mse", "rmse"):
            raise InputError(f"loss_form is {self.loss_form!r} but must be 'mse' or 'rmse'")
        if self.seed is not None:
            _check_range("seed", self.seed, 0, None)

    def _check_descriptor(self) -> None:
        if len(self.cutoff) != 2:
            raise InputError(
                f"cutoff is {self.cutoff} but must be two lengths in A, radial and angular, such "
                "as (6.5, 4.0)"
            )
        radial, angular = self.cutoff
        if not 3.0 <= angular <= radial <= 100.0:
            raise InputError(
                f"cutoff is {radial:g} and {angular:g} A but 3 <= angular <= radial <= 100 must "
                "hold",
                hint="the paper has 6.5 and 4",
            )
        if self.zbl is not None and not 1.0 <= self.zbl <= 4.0:
            raise InputError(
                f"zbl is {self.zbl:g} A but the outer cutoff of the repulsion must lie in [1, 4] "
                "A, or be None",
                hint="the paper has 1.8",
            )
        if self.zbl_factor is not None and (self.zbl is None or not 0.5 <= self.zbl_factor <= 2.0):
            raise InputError(
                f"zbl_factor is {self.zbl_factor:g} but needs a zbl and must lie in [0.5, 2]",
                hint="GPUMD's default is 0.7",
            )
        for name, radial_limit, angular_limit in (("n_max", 12, 8), ("basis_size", 16, 12)):
            values = getattr(self, name)
            if len(values) != 2:
                raise InputError(f"{name} is {values} but must be two integers, radial and angular")
            _check_range(f"the radial {name}", values[0], 0, radial_limit)
            _check_range(f"the angular {name}", values[1], 0, angular_limit)
        if (
            len(self.l_max) != 3
            or not 2 <= self.l_max[0] <= 8
            or self.l_max[1] not in (0, 2)
            or self.l_max[2] not in (0, 1)
        ):
            raise InputError(
                f"l_max is {self.l_max} but must be (2 to 8, 0 or 2, 0 or 1)",
                hint="the paper has (4, 2, 0)",
            )
        _check_range("neuron", self.neuron, 1, 120)

    @property
    def descriptor_dimension(self) -> int:
        """Components of the descriptor of one atom.

        Radial functions, then angular functions times their rotational invariants.
        """
        invariants = self.l_max[0] + (self.l_max[1] > 0) + (self.l_max[2] > 0)
        return (self.n_max[0] + 1) + (self.n_max[1] + 1) * invariants

    @property
    def number_of_parameters(self) -> int:
        """Trainable numbers in ``nep.txt``.

        One network per species, one common bias, and the radial coefficients of every pair.
        The paper's model has 3691 for three species. The ``descriptor_dimension`` scaling factors
        that follow them in the file are not trained.
        """
        n_species = len(self.species)
        networks = n_species * (self.descriptor_dimension + 2) * self.neuron + 1
        functions = sum(
            (n + 1) * (size + 1) for n, size in zip(self.n_max, self.basis_size, strict=True)
        )
        return networks + n_species**2 * functions

    def can_become(self, other: NepParameters) -> bool:
        """Whether a training with these parameters can be continued to ``other``.

        It must have at least as many generations and be the same otherwise.
        """
        return (
            self.generation <= other.generation
            and replace(self, generation=other.generation, output_interval=other.output_interval)
            == other
        )

    def same_model(self, other: NepParameters) -> bool:
        """Whether ``other`` has the same species and architecture, so that parameters fit both."""
        return all(getattr(self, name) == getattr(other, name) for name in _ARCHITECTURE)

    def to_text(self, dialect: Dialect = "gpumd") -> str:
        """The file ``nep.in``.

        Parameters
        ----------
        dialect
            ``neppo`` leaves out what only the evolution strategy uses, ``gpumd`` what only AdamW
            uses.
        """
        lines: list[tuple[str, Any]] = [
            ("type", (len(self.species), *self.species)),
            ("version", self.version),
        ]
        if self.zbl is not None:
            lines.append(("zbl", self.zbl))
        if self.zbl_factor is not None:
            lines.append(("use_typewise_cutoff_zbl", self.zbl_factor))
        lines += [
            (name, getattr(self, name))
            for name in (
                "cutoff",
                "n_max",
                "basis_size",
                "l_max",
                "neuron",
                "lambda_e",
                "lambda_f",
                "lambda_v",
            )
        ]
        lines += [
            (name, getattr(self, name))
            for name, neutral in _NEUTRAL.items()
            if getattr(self, name) != neutral
        ]
        optional = ["lambda_1", "lambda_2", "seed"]
        if dialect == "neppo":
            optional += ["learning_rate", "loss_form"]
        lines += [
            (name, getattr(self, name)) for name in optional if getattr(self, name) is not None
        ]
        lines.append(("batch", self.batch))
        if dialect == "gpumd":
            lines.append(("population", self.population))
        lines += [("generation", self.generation), ("output_interval", self.output_interval)]
        return "".join(f"{keyword:<15} {_format(value)}\n" for keyword, value in lines)

    @classmethod
    def from_text(cls, text: str, *, needs_batch: bool = True) -> NepParameters:
        """Read a ``nep.in`` of either dialect.

        Parameters
        ----------
        text
            Contents of the file.
        needs_batch
            Whether ``batch`` must be given; NepTrainer and neppo have their own.

        Raises
        ------
        InputError
            For a line that cannot be read or a keyword that mgflows does not support, naming the
            line, and for a missing keyword whose default differs between the trainers and their
            releases.
        """
        values: dict[str, Any] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            keyword, arguments = words[0], words[1:]
            where = f"line {number} of nep.in, {line.strip()!r},"
            if keyword == "type":
                name: str = "species"
                reader: Any = _read_species
            elif keyword == "use_typewise_cutoff_zbl":
                name, reader = "zbl_factor", _reader(float)
                arguments = arguments or ["0.7"]
            elif keyword == "type_weight":
                name, reader = keyword, lambda words: tuple(map(float, words))
            elif keyword in _REFUSED:
                raise InputError(f"{where} has the keyword {keyword!r}: {_REFUSED[keyword]}")
            elif keyword in _READERS:
                name, reader = keyword, _READERS[keyword]
            else:
                raise InputError(
                    f"{where} has the keyword {keyword!r}, which mgflows does not support",
                    hint="supported are: type, type_weight, use_typewise_cutoff_zbl, "
                    f"{', '.join(_READERS)}",
                )
            if name in values:
                raise InputError(
                    f"{where} gives {keyword} a second time", hint="remove one of the two lines"
                )
            try:
                values[name] = reader(arguments)
            except (ValueError, IndexError) as error:
                raise InputError(
                    f"{where} cannot be read ({error})", hint=f"write it like: {_example(keyword)}"
                ) from error
        if "species" not in values:
            raise InputError("nep.in has no line 'type', such as: type 3 Cu Zr Al")
        absent = [name for name in _MOVING_DEFAULTS if name not in values]
        if not needs_batch:
            absent = [name for name in absent if name != "batch"]
        if absent:
            raise InputError(
                f"nep.in leaves out {', '.join(absent)}, whose default depends on the trainer",
                hint=f"write: {'; '.join(map(_example, absent))}",
            )
        return cls(**{"zbl": None, **values})


_MOVING_DEFAULTS = ("cutoff", "n_max", "basis_size", "l_max", "neuron", "batch")
_ARCHITECTURE = (
    "species", "version", "zbl", "zbl_factor", "cutoff", "n_max", "basis_size", "l_max", "neuron",
)  # fmt: skip
_NEUTRAL: dict[str, Any] = {"lambda_shear": 1.0, "type_weight": None, "force_delta": 0.0}
"""Values of keywords that are written only if they differ from these."""
_REFUSED = {
    "save_potential": "mgflows keeps the potential of the last step; remove the line",
    "fine_tune": "start from a potential with prepare(..., initial_potential=) or "
    "`mgflows train --from` instead",
    "prediction": "compute errors of a potential with mgflows.nep.parity instead",
    "import_q_scaler": "a training from an initial potential keeps its scaler; remove the line",
    "model_type": "mgflows trains potential energies only",
    "charge_mode": "mgflows trains models without charges only",
    "use_typewise_cutoff": "GPUMD no longer has it; give common cutoffs",
    "weight_decay": "use lambda_2, or train with neppo itself",
}
"""Keywords of trainers that are refused, with the reason and the remedy."""


def _check_species(species: tuple[str, ...]) -> None:
    from ase.data import atomic_numbers

    if not species:
        raise InputError(
            "species is empty", hint="give the chemical symbols, such as ('Cu', 'Zr', 'Al')"
        )
    if isinstance(species, str):
        raise InputError(
            f"species is the string {species!r}",
            hint="give a sequence of symbols, such as ('Cu', 'Zr', 'Al')",
        )
    for symbol in species:
        if not 1 <= atomic_numbers.get(symbol, 0) <= _MAX_SPECIES:
            raise InputError(
                f"{symbol!r} is not one of the elements H to Pu that NEP supports",
                hint="give symbols such as 'Zr'",
            )
        if species.count(symbol) > 1:
            raise InputError(f"species names {symbol} twice", hint="name each element once")


def _check_range(name: str, value: int, low: int, high: int | None) -> None:
    if (
        isinstance(value, bool)
        or int(value) != value
        or value < low
        or (high is not None and value > high)
    ):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{name} is {value} but must be an integer, {limits}")


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(_format(item) for item in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _read_species(arguments: list[str]) -> tuple[str, ...]:
    if int(arguments[0]) != len(arguments) - 1:
        raise ValueError(f"it declares {arguments[0]} species and lists {len(arguments) - 1}")
    return tuple(arguments[1:])


def _reader(kind: type, count: int = 1) -> Callable[[list[str]], Any]:
    def read(arguments: list[str]) -> Any:
        if len(arguments) != count:
            raise ValueError(f"it has {len(arguments)} values instead of {count}")
        values = tuple(kind(argument) for argument in arguments)
        return values if count > 1 else values[0]

    return read


def _read_l_max(arguments: list[str]) -> tuple[int, int, int]:
    # GPUMD takes any non-zero value for "with this term", and has further four-body terms after
    # the fifth value.
    numbers = [int(argument) for argument in arguments]
    if not 1 <= len(numbers) <= 3:
        raise ValueError(f"it has {len(numbers)} values instead of one to three")
    numbers += [2, 0][len(numbers) - 1 :]
    return numbers[0], 2 if numbers[1] else 0, 1 if numbers[2] else 0


_READERS: dict[str, Callable[[list[str]], Any]] = {
    "version": _reader(int),
    "zbl": _reader(float),
    "cutoff": _reader(float, 2),
    "n_max": _reader(int, 2),
    "basis_size": _reader(int, 2),
    "l_max": _read_l_max,
    "neuron": _reader(int),
    **{name: _reader(float) for name in _WEIGHTS},
    **{
        name: _reader(int)
        for name in ("batch", "population", "generation", "output_interval", "seed")
    },
    "learning_rate": _reader(float, 2),
    "loss_form": _reader(str),
}


def _example(keyword: str) -> str:
    """The line of the paper's nep.in, or the line with neppo's default."""
    examples = {
        "lambda_1": "0.05", "lambda_2": "0.05", "lambda_shear": "5", "force_delta": "0.5",
        "type_weight": "1 1 2", "use_typewise_cutoff_zbl": "0.7",
    }  # fmt: skip
    if keyword in examples:
        return f"{keyword} {examples[keyword]}"
    paper = NepParameters(("Cu", "Zr", "Al"), learning_rate=(1e-2, 1e-4), loss_form="mse", seed=42)
    lines = (paper.to_text("neppo") + paper.to_text("gpumd")).splitlines()
    return " ".join(next(line for line in lines if line.split()[0] == keyword).split())
