"""SOAP and Adam in numpy, with a state that can be saved and restored exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.nep.training.model import Shape

__all__ = ["SOAP", "Adam", "Optimiser", "make_optimiser"]

_EPSILON = 1e-8
"""Keeps the update finite where the gradient vanishes."""


class Optimiser(Protocol):
    """Interface of an optimiser for the training loop."""

    def update(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """The step against the gradient for a learning rate of 1."""
        ...

    def state(self) -> dict[str, NDArray]:
        """Copies of everything that the next updates depend on."""
        ...

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue from a state."""
        ...


class Adam:
    """Adaptive moments (Kingma and Ba, arXiv:1412.6980, algorithm 1).

    Parameters
    ----------
    shape
        The model.
    betas
        Decay of the first and the second moment.
    """

    def __init__(self, shape: Shape, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.betas = betas
        self.n_updates = 0
        self.mean = np.zeros(shape.n_parameters)
        self.square = np.zeros(shape.n_parameters)

    def update(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """The step against the gradient for a learning rate of 1."""
        first, second = self.betas
        self.n_updates += 1
        self.mean += (1.0 - first) * (gradient - self.mean)
        self.square += (1.0 - second) * (gradient**2 - self.square)
        mean = self.mean / (1.0 - first**self.n_updates)
        square = self.square / (1.0 - second**self.n_updates)
        return mean / (np.sqrt(square) + _EPSILON)

    def state(self) -> dict[str, NDArray]:
        """Moments and number of updates."""
        return {
            "n_updates": np.array(self.n_updates),
            "mean": self.mean.copy(),
            "square": self.square.copy(),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue from a state."""
        self.n_updates = int(state["n_updates"])
        self.mean[:] = state["mean"]
        self.square[:] = state["square"]


class SOAP:
    """Adam in the eigenbasis of Shampoo's preconditioner.

    Vyas et al., arXiv:2409.11321, algorithm 3.

    The coefficients of the radial functions and the weights of the hidden layer are matrices, one
    per species. For a matrix with the gradient G, the running means of ``G G^T`` and ``G^T G`` have
    eigenvectors Q and P; Adam acts on ``Q^T G P``. The eigenvectors are recomputed every
    ``interval`` updates. All other parameters are updated by Adam.

    Parameters
    ----------
    shape
        The model.
    betas
        Decay of the first moment, and of the second moment and the preconditioner.
    interval
        Updates between two computations of the eigenvectors.
    """

    def __init__(
        self, shape: Shape, betas: tuple[float, float] = (0.95, 0.95), interval: int = 10
    ) -> None:
        self.shape = shape
        self.betas = betas
        self.interval = interval
        self.n_updates = 0
        self.mean = np.zeros(shape.n_parameters)
        self.square = np.zeros(shape.n_parameters)
        self._left: dict[str, NDArray[np.float64]] = {}
        self._right: dict[str, NDArray[np.float64]] = {}
        self._left_basis: dict[str, NDArray[np.float64]] = {}
        self._right_basis: dict[str, NDArray[np.float64]] = {}
        for name, block in shape.blocks.items():
            if len(block) == 3:
                n, rows, columns = block
                self._left[name] = np.zeros((n, rows, rows))
                self._right[name] = np.zeros((n, columns, columns))
                self._left_basis[name] = np.tile(np.eye(rows), (n, 1, 1))
                self._right_basis[name] = np.tile(np.eye(columns), (n, 1, 1))

    def update(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """The step against the gradient for a learning rate of 1."""
        first, second = self.betas
        self.mean += (1.0 - first) * (gradient - self.mean)
        rotated, mean = gradient.copy(), self.mean.copy()
        parts, means = self.shape.split(rotated), self.shape.split(mean)
        renew = self.n_updates % self.interval == 0
        self.n_updates += 1
        for name, left in self._left.items():
            g, right = parts[name], self._right[name]
            transposed = g.transpose(0, 2, 1)
            left += (1.0 - second) * (g @ transposed - left)
            right += (1.0 - second) * (transposed @ g - right)
            if renew:
                self._left_basis[name] = np.linalg.eigh(left)[1]
                self._right_basis[name] = np.linalg.eigh(right)[1]
            rows, columns = self._left_basis[name].transpose(0, 2, 1), self._right_basis[name]
            g[:] = rows @ g @ columns
            means[name][:] = rows @ means[name] @ columns
        self.square += (1.0 - second) * (rotated**2 - self.square)
        step = (mean / (1.0 - first**self.n_updates)) / (
            np.sqrt(self.square / (1.0 - second**self.n_updates)) + _EPSILON
        )
        steps = self.shape.split(step)
        for name, rows in self._left_basis.items():
            steps[name][:] = rows @ steps[name] @ self._right_basis[name].transpose(0, 2, 1)
        return step

    def state(self) -> dict[str, NDArray]:
        """Moments, preconditioners and number of updates."""
        state = {
            "n_updates": np.array(self.n_updates),
            "mean": self.mean.copy(),
            "square": self.square.copy(),
        }
        for kind, arrays in self._arrays().items():
            state |= {f"{kind}_{name}": array.copy() for name, array in arrays.items()}
        return state

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue from a state."""
        self.n_updates = int(state["n_updates"])
        self.mean[:] = state["mean"]
        self.square[:] = state["square"]
        for kind, arrays in self._arrays().items():
            for name in arrays:
                arrays[name] = state[f"{kind}_{name}"].copy()

    def _arrays(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        return {
            "left": self._left,
            "right": self._right,
            "left_basis": self._left_basis,
            "right_basis": self._right_basis,
        }


def make_optimiser(name: str, shape: Shape) -> Optimiser:
    """The optimiser with this name, ``soap`` or ``adam``."""
    return {"soap": SOAP, "adam": Adam}[name](shape)
