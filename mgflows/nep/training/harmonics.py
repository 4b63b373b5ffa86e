"""Real spherical harmonics and their rotational invariants: the angular part of the descriptor.

A NEP sums ``g_n(r_ij) Y_lm(r_ij)`` over the neighbours j of atom i and builds rotational invariants
from these sums (Fan et al., J. Chem. Phys. 157, 114801 (2022), doi:10.1063/5.0106617, section
II.C):

* three-body, ``q_l = sum_m s_lm^2`` with orthonormal real harmonics;
* four-body, ``q_222 = sum (2 2 2; m1 m2 m3) s_2m1 s_2m2 s_2m3`` with Wigner's 3j symbol, which in
  real harmonics is the cubic form of :func:`add_cubic`;
* five-body, ``q_1111 = (7/15) (sum_m s_1m^2)^2``.

Components are numbered ``l^2 - 1 + (0, 1, 2, ...)`` for ``m = 0``, then the cosine and the sine
part of ``m = 1, 2, ...``; l starts at 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FIVE_BODY", "L_LIMIT", "n_harmonics", "solid_harmonics"]

L_LIMIT = 8
"""Highest l of the file format."""

FIVE_BODY = np.float32(7.0 / 15.0)
"""The prefactor 1/3 + 2/15 of the couplings of two l = 1 sums to L = 0 and L = 2."""

_THREE_J = math.sqrt(2.0 / 35.0)
"""Minus Wigner's 3j symbol (2 2 2; 0 0 0)."""
C_000 = np.float32(-_THREE_J)
C_011 = np.float32(-1.5 * _THREE_J)
C_022 = np.float32(3.0 * _THREE_J)
C_112 = np.float32(-1.5 * math.sqrt(3.0) * _THREE_J)
C_XYZ = np.float32(-3.0 * math.sqrt(3.0) * _THREE_J)


def _normalisation() -> NDArray[np.float32]:
    """(L_LIMIT + 1, L_LIMIT + 1) factors that make the real harmonics orthonormal."""
    table = np.zeros((L_LIMIT + 1, L_LIMIT + 1))
    for degree in range(L_LIMIT + 1):
        for order in range(degree + 1):
            ratio = math.factorial(degree - order) / math.factorial(degree + order)
            square = (2 * degree + 1) / (4.0 * math.pi) * ratio * (2.0 if order else 1.0)
            table[degree, order] = math.sqrt(square)
    return table.astype(np.float32)


_NORM = _normalisation()


def n_harmonics(l_max: int) -> int:
    """Components of all degrees 1 to ``l_max``."""
    return l_max * (l_max + 2)


@numba.njit(fastmath=True, inline="always")
def solid_harmonics(
    x: np.float32,
    y: np.float32,
    z: np.float32,
    l_max: int,
    legendre: NDArray[np.float32],
    values: NDArray[np.float32],
    slopes: NDArray[np.float32],
) -> None:
    """Harmonics of a unit vector, and their derivatives as polynomials in x, y and z.

    With ``P = d^m P_l / dz^m``, the harmonics are ``N P(z) Re (x + iy)^m`` and
    ``N P(z) Im (x + iy)^m``. The derivatives are not projected on the sphere; that is left to the
    caller.

    Parameters
    ----------
    x, y, z
        Unit vector.
    l_max
        Highest degree.
    legendre
        (l_max + 1, l_max + 2) scratch, whose elements beyond the diagonal are zero.
    values, slopes
        (n,) and (3, n) results.
    """
    for order in range(l_max + 1):
        if order == 0:
            legendre[0, 0] = np.float32(1.0)
        else:
            legendre[order, order] = np.float32(2 * order - 1) * legendre[order - 1, order - 1]
        if order < l_max:
            legendre[order + 1, order] = np.float32(2 * order + 1) * z * legendre[order, order]
        for degree in range(order + 2, l_max + 1):
            legendre[degree, order] = (
                np.float32(2 * degree - 1) * z * legendre[degree - 1, order]
                - np.float32(degree + order - 1) * legendre[degree - 2, order]
            ) * np.float32(1.0 / (degree - order))
    for degree in range(1, l_max + 1):
        c = degree * degree - 1
        norm = _NORM[degree, 0]
        values[c] = norm * legendre[degree, 0]
        slopes[0, c] = np.float32(0.0)
        slopes[1, c] = np.float32(0.0)
        slopes[2, c] = norm * legendre[degree, 1]
    real_before, imaginary_before = np.float32(1.0), np.float32(0.0)
    for order in range(1, l_max + 1):
        real = x * real_before - y * imaginary_before
        imaginary = x * imaginary_before + y * real_before
        for degree in range(order, l_max + 1):
            c = degree * degree - 2 + 2 * order
            factor = _NORM[degree, order] * legendre[degree, order]
            lateral = np.float32(order) * factor
            vertical = _NORM[degree, order] * legendre[degree, order + 1]
            values[c] = factor * real
            slopes[0, c] = lateral * real_before
            slopes[1, c] = -lateral * imaginary_before
            slopes[2, c] = vertical * real
            values[c + 1] = factor * imaginary
            slopes[0, c + 1] = lateral * imaginary_before
            slopes[1, c + 1] = lateral * real_before
            slopes[2, c + 1] = vertical * imaginary
        real_before, imaginary_before = real, imaginary


_TWO, _THREE = np.float32(2.0), np.float32(3.0)


@numba.njit(fastmath=True, inline="always")
def cubic(s: NDArray[np.float32]) -> np.float32:
    """The four-body invariant of the sums ``s`` (n,) of one radial function."""
    a, b, c, d, e = s[3], s[4], s[5], s[6], s[7]
    return (
        C_000 * a * a * a
        + C_011 * a * (b * b + c * c)
        + C_022 * a * (d * d + e * e)
        + C_112 * d * (b * b - c * c)
        + C_XYZ * b * c * e
    )


@numba.njit(fastmath=True, inline="always")
def add_cubic(s: NDArray[np.float32], factor: np.float32, gradient: NDArray[np.float32]) -> None:
    """Add ``factor`` times the gradient of :func:`cubic` to ``gradient`` (n,)."""
    a, b, c, d, e = s[3], s[4], s[5], s[6], s[7]
    gradient[3] += factor * (
        _THREE * C_000 * a * a + C_011 * (b * b + c * c) + C_022 * (d * d + e * e)
    )
    gradient[4] += factor * (_TWO * C_011 * a * b + _TWO * C_112 * d * b + C_XYZ * c * e)
    gradient[5] += factor * (_TWO * C_011 * a * c - _TWO * C_112 * d * c + C_XYZ * b * e)
    gradient[6] += factor * (_TWO * C_022 * a * d + C_112 * (b * b - c * c))
    gradient[7] += factor * (_TWO * C_022 * a * e + C_XYZ * b * c)


@numba.njit(fastmath=True, inline="always")
def cubic_change(s: NDArray[np.float32], t: NDArray[np.float32]) -> np.float32:
    """The derivative of :func:`cubic` along ``t`` (n,)."""
    a, b, c, d, e = s[3], s[4], s[5], s[6], s[7]
    p, q, r, u, v = t[3], t[4], t[5], t[6], t[7]
    return (
        p * (_THREE * C_000 * a * a + C_011 * (b * b + c * c) + C_022 * (d * d + e * e))
        + q * (_TWO * C_011 * a * b + _TWO * C_112 * d * b + C_XYZ * c * e)
        + r * (_TWO * C_011 * a * c - _TWO * C_112 * d * c + C_XYZ * b * e)
        + u * (_TWO * C_022 * a * d + C_112 * (b * b - c * c))
        + v * (_TWO * C_022 * a * e + C_XYZ * b * c)
    )


@numba.njit(fastmath=True, inline="always")
def add_cubic_change(
    s: NDArray[np.float32],
    t: NDArray[np.float32],
    factor: np.float32,
    change: NDArray[np.float32],
) -> None:
    """Add ``factor`` times the second derivative of :func:`cubic` on ``t`` to ``change``."""
    a, b, c, d, e = s[3], s[4], s[5], s[6], s[7]
    p, q, r, u, v = t[3], t[4], t[5], t[6], t[7]
    change[3] += (
        factor * _TWO * (_THREE * C_000 * a * p + C_011 * (b * q + c * r) + C_022 * (d * u + e * v))
    )
    change[4] += factor * (
        _TWO * C_011 * (p * b + a * q) + _TWO * C_112 * (u * b + d * q) + C_XYZ * (r * e + c * v)
    )
    change[5] += factor * (
        _TWO * C_011 * (p * c + a * r) - _TWO * C_112 * (u * c + d * r) + C_XYZ * (q * e + b * v)
    )
    change[6] += factor * (_TWO * C_022 * (p * d + a * u) + _TWO * C_112 * (b * q - c * r))
    change[7] += factor * (_TWO * C_022 * (p * e + a * v) + C_XYZ * (q * c + b * r))
