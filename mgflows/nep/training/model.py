"""The trainable numbers of a NEP and the file ``nep.txt`` that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows.errors import InputError
from mgflows.nep.calculator import read_potential
from mgflows.nep.training.harmonics import n_harmonics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mgflows.nep.parameters import NepParameters

__all__ = ["NepModel", "Shape"]


class Shape(NamedTuple):
    """The sizes on which the compiled kernels depend.

    Attributes
    ----------
    n_species
        Chemical species.
    n_radial, n_angular
        Radial and angular functions per species.
    k_radial, k_angular
        Chebyshev polynomials per function.
    l_max
        Highest degree of the three-body terms.
    has_four_body, has_five_body
        Whether the descriptor has ``q_222`` and ``q_1111``.
    n_neurons
        Neurons of the hidden layer.
    """

    n_species: int
    n_radial: int
    n_angular: int
    k_radial: int
    k_angular: int
    l_max: int
    has_four_body: bool
    has_five_body: bool
    n_neurons: int

    @classmethod
    def of(cls, parameters: NepParameters) -> Shape:
        """The shape of the model that ``parameters`` describe."""
        return cls(
            len(parameters.species),
            parameters.n_max[0] + 1,
            parameters.n_max[1] + 1,
            parameters.basis_size[0] + 1,
            parameters.basis_size[1] + 1,
            parameters.l_max[0],
            parameters.l_max[1] > 0,
            parameters.l_max[2] > 0,
            parameters.neuron,
        )

    @property
    def n_components(self) -> int:
        """Real harmonics of all degrees."""
        return n_harmonics(self.l_max)

    @property
    def dimension(self) -> int:
        """Components of the descriptor."""
        invariants = self.l_max + self.has_four_body + self.has_five_body
        return self.n_radial + self.n_angular * invariants

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parts of the flat parameter vector, in order.

        ``radial`` and ``angular`` are the expansion coefficients (central species, function,
        neighbour species x polynomial), ``hidden`` the weights of the hidden layer, ``threshold``
        its biases, ``output`` the weights of the output and ``shift`` the common bias.
        """
        n = self.n_species
        return {
            "radial": (n, self.n_radial, n * self.k_radial),
            "angular": (n, self.n_angular, n * self.k_angular),
            "hidden": (n, self.n_neurons, self.dimension),
            "threshold": (n, self.n_neurons),
            "output": (n, self.n_neurons),
            "shift": (1,),
        }

    @property
    def n_parameters(self) -> int:
        """Length of the flat parameter vector."""
        return sum(math.prod(shape) for shape in self.blocks.values())

    def split(self, flat: NDArray) -> dict[str, NDArray]:
        """Views of the parts of a flat parameter vector (or of its gradient)."""
        parts, start = {}, 0
        for name, shape in self.blocks.items():
            end = start + math.prod(shape)
            parts[name] = flat[start:end].reshape(shape)
            start = end
        return parts


@dataclass
class NepModel:
    """A NEP4 without its ZBL part.

    Song et al., Nat. Commun. 15, 10208 (2024), doi:10.1038/s41467-024-54554-x.
    The site energy is ``U = sum_m output_m tanh(hidden_m . q - threshold_m) - shift`` with the
    scaled descriptor q of the atom and the weights of its species.

    Attributes
    ----------
    parameters
        Architecture; the settings of the training are not used.
    flat
        (n_parameters,) float32, laid out as :attr:`Shape.blocks`.
    scaler
        (dimension,) float32: factors of the descriptor at the input of the network.
    reference
        (n_species,) energies in eV that are added to the site energies. ``nep.txt`` has no place
        for them except in the networks, see :meth:`to_text`.
    """

    parameters: NepParameters
    flat: NDArray[np.float32]
    scaler: NDArray[np.float32]
    reference: NDArray[np.float64]

    @property
    def shape(self) -> Shape:
        """Sizes of the model."""
        return Shape.of(self.parameters)

    @classmethod
    def random(cls, parameters: NepParameters, rng: np.random.Generator) -> NepModel:
        """Uniformly distributed weights, scaled by the number of inputs of a neuron; no biases."""
        shape = Shape.of(parameters)
        flat = np.zeros(shape.n_parameters, np.float32)
        parts = shape.split(flat)
        ranges = {
            "radial": 1.0,
            "angular": 1.0,
            "hidden": shape.dimension**-0.5,
            "output": shape.n_neurons**-0.5,
        }
        for name, width in ranges.items():
            parts[name][:] = rng.uniform(-width, width, parts[name].shape)
        scaler = np.ones(shape.dimension, np.float32)
        return cls(parameters, flat, scaler, np.zeros(shape.n_species))

    @property
    def uses_last_neuron(self) -> bool:
        """Whether ``nep.txt`` needs the last neuron of each species for the reference energies."""
        return bool(np.any(self.reference != self.reference[0]))

    def to_text(self, largest_neighbours: Sequence[int] = (100, 50)) -> str:
        """The file ``nep.txt``, reference energies included.

        The common part of the reference goes into the bias. Its deviations go into the last neuron
        of each species, which must be unused (all weights zero): with no input weights and the
        threshold -1 it is the constant tanh(1). The file is exact.

        Parameters
        ----------
        largest_neighbours
            Largest number of neighbours of an atom within the radial and the angular cutoff;
            calculators allocate their lists for it.
        """
        p, shape = self.parameters, self.shape
        radial, angular = largest_neighbours
        parts = {k: v.astype(np.float64) for k, v in shape.split(self.flat).items()}
        common = float(np.mean(self.reference))
        if self.uses_last_neuron:
            if np.any(parts["hidden"][:, -1] != 0.0) or np.any(parts["output"][:, -1] != 0.0):
                raise ValueError("the last neuron holds the reference energies and must be unused")
            parts["threshold"][:, -1] = -1.0
            parts["output"][:, -1] = (self.reference - common) / math.tanh(1.0)
        lines = [
            f"nep4{'_zbl' if p.zbl is not None else ''} {len(p.species)} {' '.join(p.species)}"
        ]
        if p.zbl is not None:
            factor = "" if p.zbl_factor is None else f" {p.zbl_factor:.10g}"
            lines.append(f"zbl {p.zbl / 2:.10g} {p.zbl:.10g}{factor}")
        lines += [
            f"cutoff {p.cutoff[0]:.10g} {p.cutoff[1]:.10g} {max(1, radial)} {max(1, angular)}",
            f"n_max {p.n_max[0]} {p.n_max[1]}",
            f"basis_size {p.basis_size[0]} {p.basis_size[1]}",
            f"l_max {p.l_max[0]} {p.l_max[1]} {p.l_max[2]}",
            f"ANN {p.neuron} 0",
        ]
        numbers = []
        for kind in range(shape.n_species):
            numbers += [parts[name][kind].ravel() for name in ("hidden", "threshold", "output")]
        numbers.append(parts["shift"] - common)
        for name, count in (("radial", shape.k_radial), ("angular", shape.k_angular)):
            # File: function, polynomial, central species, neighbour species.
            block = parts[name].reshape(shape.n_species, -1, shape.n_species, count)
            numbers.append(block.transpose(1, 3, 0, 2).ravel())
        numbers.append(self.scaler.astype(np.float64))
        lines += [f"{value:15.9e}" for value in np.concatenate(numbers)]
        return "\n".join(lines) + "\n"

    @classmethod
    def reduced(cls, text: str, parameters: NepParameters) -> NepModel:
        """A potential to start from: the part of a ``nep.txt`` for the species of ``parameters``.

        Raises
        ------
        InputError
            If the file lacks a species or has another architecture.
        """
        model = cls.from_text(text, parameters.species)
        differences = [
            f"{name} {getattr(model.parameters, name)} instead of {getattr(parameters, name)}"
            for name in ("zbl", "zbl_factor", "cutoff", "n_max", "basis_size", "l_max", "neuron")
            if getattr(model.parameters, name) != getattr(parameters, name)
        ]
        if differences:
            raise InputError(
                "the initial potential has another architecture than the parameters "
                f"({', '.join(differences)})",
                hint="use its own settings, or train without it",
            )
        model.parameters = parameters
        return model

    @classmethod
    def from_text(cls, text: str, species: Sequence[str] | None = None) -> NepModel:
        """Read a ``nep.txt``; with ``species``, keep only these, in this order.

        Raises
        ------
        InputError
            For a file that is not a NEP4 or lacks one of the species.
        """
        read = read_potential(text, species)
        header = read.parameters()
        whole = Shape.of(header)
        numbers = np.array(text.split("\n", read.n_lines)[read.n_lines].split(), dtype=np.float64)
        kept = [header.species.index(symbol) for symbol in species or header.species]
        per_species = (whole.dimension + 2) * whole.n_neurons
        networks = numbers[: whole.n_species * per_species].reshape(whole.n_species, -1)[kept]
        start = whole.n_species * per_species
        shift = numbers[start]
        start += 1
        blocks = {}
        for name, functions, count in (
            ("radial", whole.n_radial, whole.k_radial),
            ("angular", whole.n_angular, whole.k_angular),
        ):
            end = start + functions * count * whole.n_species**2
            block = numbers[start:end].reshape(functions, count, whole.n_species, whole.n_species)
            blocks[name] = block[:, :, kept][:, :, :, kept].transpose(2, 0, 3, 1)
            start = end
        scaler = numbers[start:].astype(np.float32)
        parameters = replace(header, species=tuple(header.species[k] for k in kept))
        shape = Shape.of(parameters)
        flat = np.zeros(shape.n_parameters, np.float32)
        parts = shape.split(flat)
        for name in ("radial", "angular"):
            parts[name][:] = blocks[name].reshape(parts[name].shape)
        n_weights = whole.dimension * whole.n_neurons
        parts["hidden"][:] = networks[:, :n_weights].reshape(parts["hidden"].shape)
        parts["threshold"][:] = networks[:, n_weights : n_weights + whole.n_neurons]
        parts["output"][:] = networks[:, n_weights + whole.n_neurons :]
        if not np.all(np.isfinite(flat)) or not np.all(np.isfinite(scaler)):
            raise InputError(
                "the potential has numbers too large for single precision",
                hint="start from another potential, or from random parameters",
            )
        # Constants stay in double precision: single precision would round large reference energies.
        reference = np.full(shape.n_species, -shift)
        if not np.any(parts["hidden"][:, -1]):
            network = networks[:, n_weights:].reshape(len(kept), 2, whole.n_neurons)
            reference -= network[:, 1, -1] * np.tanh(network[:, 0, -1])
            parts["threshold"][:, -1] = parts["output"][:, -1] = 0.0
        return cls(parameters, flat, scaler, reference)
