"""Energies, forces and virials of labelled frames, and the gradient of a loss.

Forward, for each atom i: the descriptor from the sums of basis functions, the network, and from its
derivatives the coefficients ``A = dU_i/d(sums)``, with which every neighbour contributes the force
``dU_i/dr_ij`` in one contraction (Fan et al., Phys. Rev. B 104, 104309 (2021),
doi:10.1103/PhysRevB.104.104309, eqs. 12-14).

Backward: a loss L depends on a frame through its energy E, forces F and virial W. With
``e_ij = dL/dF_i - dL/dF_j - r_ij . dL/dW``, the part of the loss that comes from forces and virial
is, to first order, ``sum_ij e_ij . dU_i/dr_ij``: the derivative of U_i when its neighbours are
displaced by e_ij. It is a forward-mode derivative of the descriptor (``changes``), of which one
reverse pass per atom gives the gradient; no second pass over the edges is needed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from mgflows.compilation import njit
from mgflows.nep.training.harmonics import (
    FIVE_BODY,
    add_cubic,
    add_cubic_change,
    cubic,
    cubic_change,
    solid_harmonics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mgflows.nep.training.arrays import Basis, LossSlopes, Memory, WorkItems
    from mgflows.nep.training.model import Shape

__all__ = ["Kernels", "compile_kernels"]


class Kernels(NamedTuple):
    """Compiled functions for one shape of the model.

    Attributes
    ----------
    evaluate
        Energies, forces and virials of work items, and intermediate results for
        ``differentiate``.
    differentiate
        Gradient of a loss for the same work items.
    describe
        Unscaled descriptors of atoms.
    """

    evaluate: Callable[..., Any]
    differentiate: Callable[..., Any]
    describe: Callable[..., Any]


_ZERO, _ONE, _TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)
_FOUR_FIVE = np.float32(4.0) * FIVE_BODY


@numba.njit(fastmath=True, inline="always")
def sum_harmonics(
    coefficients: NDArray[np.float32],
    sums: NDArray[np.float32],
    s: NDArray[np.float32],
    n_angular: int,
    t_angular: int,
    n_components: int,
) -> None:
    """``s[n] = sum_k coefficients[n, k] sums[k]``, component by component."""
    for n in range(n_angular):
        for c in range(n_components):
            total = _ZERO
            for k in range(t_angular):
                total += coefficients[n, k] * sums[k, c]
            s[n, c] = total


@numba.njit(fastmath=True, inline="always")
def invariants(
    coefficients: NDArray[np.float32],
    radial_sums: NDArray[np.float32],
    s: NDArray[np.float32],
    q: NDArray[np.float32],
    n_radial: int,
    n_angular: int,
    t_radial: int,
    l_max: int,
    four_body: bool,
    five_body: bool,
) -> None:
    """The descriptor, unscaled."""
    four_at = n_radial + l_max * n_angular
    five_at = four_at + n_angular * four_body
    for n in range(n_radial):
        total = _ZERO
        for k in range(t_radial):
            total += coefficients[n, k] * radial_sums[k]
        q[n] = total
    for n in range(n_angular):
        for degree in range(1, l_max + 1):
            total = _ZERO
            for c in range(degree * degree - 1, (degree + 1) * (degree + 1) - 1):
                total += s[n, c] * s[n, c]
            q[n_radial + (degree - 1) * n_angular + n] = total
        if four_body:
            q[four_at + n] = cubic(s[n])
        if five_body:
            square = s[n, 0] * s[n, 0] + s[n, 1] * s[n, 1] + s[n, 2] * s[n, 2]
            q[five_at + n] = FIVE_BODY * square * square


@numba.njit(fastmath=True, inline="always")
def _gradient_of_sums(
    s: NDArray[np.float32],
    slope: NDArray[np.float32],
    p: NDArray[np.float32],
    n_radial: int,
    n_angular: int,
    l_max: int,
    four_body: bool,
    five_body: bool,
) -> None:
    """``p = dU/ds`` from ``slope = dU/dq``."""
    four_at = n_radial + l_max * n_angular
    five_at = four_at + n_angular * four_body
    for n in range(n_angular):
        for degree in range(1, l_max + 1):
            w = _TWO * slope[n_radial + (degree - 1) * n_angular + n]
            for c in range(degree * degree - 1, (degree + 1) * (degree + 1) - 1):
                p[n, c] = w * s[n, c]
        if four_body:
            add_cubic(s[n], slope[four_at + n], p[n])
        if five_body:
            square = s[n, 0] * s[n, 0] + s[n, 1] * s[n, 1] + s[n, 2] * s[n, 2]
            w = _FOUR_FIVE * slope[five_at + n] * square
            for c in range(3):
                p[n, c] += w * s[n, c]


@numba.njit(fastmath=True, inline="always")
def _change_of_invariants(
    s: NDArray[np.float32],
    ds: NDArray[np.float32],
    dq: NDArray[np.float32],
    scaler: NDArray[np.float32],
    n_radial: int,
    n_angular: int,
    l_max: int,
    four_body: bool,
    five_body: bool,
) -> None:
    """Change of the angular part of the descriptor when the sums change by ``ds``."""
    four_at = n_radial + l_max * n_angular
    five_at = four_at + n_angular * four_body
    for n in range(n_angular):
        for degree in range(1, l_max + 1):
            total = _ZERO
            for c in range(degree * degree - 1, (degree + 1) * (degree + 1) - 1):
                total += s[n, c] * ds[n, c]
            at = n_radial + (degree - 1) * n_angular + n
            dq[at] = _TWO * total * scaler[at]
        if four_body:
            dq[four_at + n] = cubic_change(s[n], ds[n]) * scaler[four_at + n]
        if five_body:
            square, mixed = _ZERO, _ZERO
            for c in range(3):
                square += s[n, c] * s[n, c]
                mixed += s[n, c] * ds[n, c]
            dq[five_at + n] = _FOUR_FIVE * square * mixed * scaler[five_at + n]


@lru_cache
def compile_kernels(shape: Shape) -> Kernels:
    """Compile the functions for these sizes; the code is cached on disk.

    The speed depends on the form of the inner loops. Where the sum is over the inner index, a
    constant length lets the compiler unroll the inner loop and vectorise the outer one. Where the
    inner loop itself is to be vectorised, its length (``any_``) must be unknown at compile time,
    because it is otherwise unrolled to scalar code.
    """
    n_species, n_radial, n_angular, k_radial, k_angular, l_max = shape[:6]
    has_four_body, has_five_body, n_neurons = bool(shape[6]), bool(shape[7]), shape[8]
    n_components = shape.n_components
    dimension = shape.dimension
    t_radial, t_angular = n_species * k_radial, n_species * k_angular
    four_at = n_radial + l_max * n_angular
    five_at = four_at + n_angular * has_four_body
    # Start of each part of the flat parameter vector.
    at_angular = n_species * n_radial * t_radial
    at_hidden = at_angular + n_species * n_angular * t_angular
    at_threshold = at_hidden + n_species * n_neurons * dimension
    at_output = at_threshold + n_species * n_neurons
    at_shift = at_output + n_species * n_neurons
    zero, one, two = _ZERO, _ONE, _TWO

    @njit(nogil=True, fastmath=True)
    def evaluate(
        which: NDArray[np.int64],
        items: WorkItems,
        flat: NDArray[np.float32],
        scaler: NDArray[np.float32],
        basis: Basis,
        energies: NDArray[np.float64],
        forces: NDArray[np.float32],
        virials: NDArray[np.float64],
        memory: Memory,
    ) -> None:

        item_first, item_last, item_base = items.first, items.last, items.base
        item_start, item_size = items.start, items.size
        species = basis.species
        radial_first, radial_last = basis.radial_first, basis.radial_last
        angular_first, angular_last = basis.angular_first, basis.angular_last
        radial_sums, angular_sums = basis.radial_sums, basis.angular_sums
        radial_index, radial_slope = basis.radial_index, basis.radial_slope
        angular_index, angular_value = basis.angular_index, basis.angular_value
        angular_slope = basis.angular_slope
        radial_vector, angular_vector = basis.radial_vector, basis.angular_vector
        all_sums, all_hidden = memory.sums, memory.hidden
        all_descriptors, all_slopes = memory.descriptor, memory.slope
        radial_all = flat[:at_angular].reshape((n_species, n_radial, t_radial))
        angular_all = flat[at_angular:at_hidden].reshape((n_species, n_angular, t_angular))
        hidden_all = flat[at_hidden:at_threshold].reshape((n_species, n_neurons, dimension))
        threshold_all = flat[at_threshold:at_output].reshape((n_species, n_neurons))
        output_all = flat[at_output:at_shift].reshape((n_species, n_neurons))
        any_dimension = all_descriptors.shape[1]
        shift = flat[at_shift]
        for item in which:
            base = item_base[item]
            force, virial = forces[item], np.zeros(6, np.float32)
            for j in range(item_size[item]):
                force[j, 0] = force[j, 1] = force[j, 2] = zero
            p = np.empty((n_angular, n_components), np.float32)
            a_radial = np.empty(t_radial, np.float32)
            a_angular = np.empty((t_angular, n_components), np.float32)
            legendre = np.zeros((l_max + 1, l_max + 2), np.float32)
            y = np.empty(n_components, np.float32)
            dy = np.empty((3, n_components), np.float32)
            energy = 0.0
            for i in range(item_first[item], item_last[item]):
                kind = species[i]
                local = i - base
                at_memory = item_start[item] + local
                s, h, q = all_sums[at_memory], all_hidden[at_memory], all_descriptors[at_memory]
                slope = all_slopes[at_memory]
                sum_harmonics(
                    angular_all[kind], angular_sums[i], s, n_angular, t_angular, n_components
                )
                invariants(
                    radial_all[kind], radial_sums[i], s, q, n_radial, n_angular, t_radial, l_max,
                    has_four_body, has_five_body,
                )  # fmt: skip
                for d in range(dimension):
                    q[d] *= scaler[d]
                    slope[d] = zero
                site = -shift
                for m in range(n_neurons):
                    z = -threshold_all[kind, m]
                    for d in range(any_dimension):
                        z += hidden_all[kind, m, d] * q[d]
                    h[m] = math.tanh(z)
                for m in range(n_neurons):
                    activation = h[m]
                    site += output_all[kind, m] * activation
                    w = output_all[kind, m] * (one - activation * activation)
                    for d in range(any_dimension):
                        slope[d] += w * hidden_all[kind, m, d]
                energy += site
                for d in range(dimension):
                    slope[d] *= scaler[d]
                _gradient_of_sums(
                    s, slope, p, n_radial, n_angular, l_max, has_four_body, has_five_body
                )
                for k in range(t_radial):
                    total = zero
                    for n in range(n_radial):
                        total += slope[n] * radial_all[kind, n, k]
                    a_radial[k] = total
                for k in range(t_angular):
                    for c in range(n_components):
                        total = zero
                        for n in range(n_angular):
                            total += angular_all[kind, n, k] * p[n, c]
                        a_angular[k, c] = total
                fx, fy, fz = zero, zero, zero
                for e in range(radial_first[i], radial_last[i]):
                    j = radial_index[e]
                    at = species[base + j] * k_radial
                    t = zero
                    for k in range(k_radial):
                        t += a_radial[at + k] * radial_slope[e, k]
                    r = radial_vector[e, 3]
                    ux, uy, uz = radial_vector[e, 0], radial_vector[e, 1], radial_vector[e, 2]
                    gx, gy, gz = t * ux, t * uy, t * uz
                    fx += gx
                    fy += gy
                    fz += gz
                    force[j, 0] -= gx
                    force[j, 1] -= gy
                    force[j, 2] -= gz
                    virial[0] -= r * ux * gx
                    virial[1] -= r * uy * gy
                    virial[2] -= r * uz * gz
                    virial[3] -= r * ux * gy
                    virial[4] -= r * uy * gz
                    virial[5] -= r * uz * gx
                for e in range(angular_first[i], angular_last[i]):
                    j = angular_index[e]
                    at = species[base + j] * k_angular
                    r = angular_vector[e, 3]
                    ux, uy, uz = angular_vector[e, 0], angular_vector[e, 1], angular_vector[e, 2]
                    solid_harmonics(ux, uy, uz, l_max, legendre, y, dy)
                    along, x, yy, zz = zero, zero, zero, zero
                    for c in range(n_components):
                        w, v = zero, zero
                        for k in range(k_angular):
                            w += angular_slope[e, k] * a_angular[at + k, c]
                            v += angular_value[e, k] * a_angular[at + k, c]
                        along += w * y[c]
                        x += v * dy[0, c]
                        yy += v * dy[1, c]
                        zz += v * dy[2, c]
                    inverse = one / r
                    along -= inverse * (x * ux + yy * uy + zz * uz)
                    gx = along * ux + inverse * x
                    gy = along * uy + inverse * yy
                    gz = along * uz + inverse * zz
                    fx += gx
                    fy += gy
                    fz += gz
                    force[j, 0] -= gx
                    force[j, 1] -= gy
                    force[j, 2] -= gz
                    virial[0] -= r * ux * gx
                    virial[1] -= r * uy * gy
                    virial[2] -= r * uz * gz
                    virial[3] -= r * ux * gy
                    virial[4] -= r * uy * gz
                    virial[5] -= r * uz * gx
                force[local, 0] += fx
                force[local, 1] += fy
                force[local, 2] += fz
            energies[item] = energy
            for x_ in range(6):
                virials[item, x_] = virial[x_]

    @njit(nogil=True, fastmath=True)
    def differentiate(
        which: NDArray[np.int64],
        items: WorkItems,
        flat: NDArray[np.float32],
        scaler: NDArray[np.float32],
        basis: Basis,
        slopes: LossSlopes,
        memory: Memory,
        gradients: NDArray[np.float32],
    ) -> None:

        item_first, item_last, item_base = items.first, items.last, items.base
        item_start, item_frame = items.start, items.frame
        species = basis.species
        radial_first, radial_last = basis.radial_first, basis.radial_last
        angular_first, angular_last = basis.angular_first, basis.angular_last
        radial_sums, angular_sums = basis.radial_sums, basis.angular_sums
        radial_index, radial_slope = basis.radial_index, basis.radial_slope
        angular_index, angular_value = basis.angular_index, basis.angular_value
        angular_slope = basis.angular_slope
        radial_vector, angular_vector = basis.radial_vector, basis.angular_vector
        all_sums, all_hidden = memory.sums, memory.hidden
        all_descriptors, all_slopes = memory.descriptor, memory.slope
        by_energy, by_force, by_virial = slopes.energy, slopes.force, slopes.virial
        radial_all = flat[:at_angular].reshape((n_species, n_radial, t_radial))
        angular_all = flat[at_angular:at_hidden].reshape((n_species, n_angular, t_angular))
        hidden_all = flat[at_hidden:at_threshold].reshape((n_species, n_neurons, dimension))
        output_all = flat[at_output:at_shift].reshape((n_species, n_neurons))
        any_components, any_dimension = all_sums.shape[2], all_descriptors.shape[1]
        for item in which:
            gradient = gradients[item]
            gradient[:] = zero
            d_radial = gradient[:at_angular].reshape((n_species, n_radial, t_radial))
            d_angular = gradient[at_angular:at_hidden].reshape((n_species, n_angular, t_angular))
            d_hidden = gradient[at_hidden:at_threshold].reshape((n_species, n_neurons, dimension))
            d_threshold = gradient[at_threshold:at_output].reshape((n_species, n_neurons))
            d_output = gradient[at_output:at_shift].reshape((n_species, n_neurons))
            base = item_base[item]
            g_energy = by_energy[item_frame[item]]
            wxx, wyy, wzz, wxy, wyz, wzx = by_virial[item_frame[item]]
            force = by_force[item_start[item] :]
            change_radial = np.empty(t_radial, np.float32)
            change_angular = np.empty((t_angular, n_components), np.float32)
            ds = np.empty((n_angular, n_components), np.float32)
            p = np.empty((n_angular, n_components), np.float32)
            back = np.empty((n_angular, n_components), np.float32)
            dq = np.empty(dimension, np.float32)
            back_q = np.empty(dimension, np.float32)
            legendre = np.zeros((l_max + 1, l_max + 2), np.float32)
            y = np.empty(n_components, np.float32)
            dy = np.empty((3, n_components), np.float32)
            for i in range(item_first[item], item_last[item]):
                kind = species[i]
                local = i - base
                at_memory = item_start[item] + local
                s, h, q = all_sums[at_memory], all_hidden[at_memory], all_descriptors[at_memory]
                slope = all_slopes[at_memory]
                gx, gy, gz = force[local, 0], force[local, 1], force[local, 2]
                change_radial[:] = zero
                change_angular[:] = zero
                for e in range(radial_first[i], radial_last[i]):
                    j = radial_index[e]
                    at = species[base + j] * k_radial
                    ux, uy, uz = radial_vector[e, 0], radial_vector[e, 1], radial_vector[e, 2]
                    x, yy, zz = (
                        radial_vector[e, 3] * ux,
                        radial_vector[e, 3] * uy,
                        radial_vector[e, 3] * uz,
                    )
                    ex = gx - force[j, 0] - x * wxx - zz * wzx
                    ey = gy - force[j, 1] - yy * wyy - x * wxy
                    ez = gz - force[j, 2] - zz * wzz - yy * wyz
                    along = ex * ux + ey * uy + ez * uz
                    for k in range(k_radial):
                        change_radial[at + k] += along * radial_slope[e, k]
                for e in range(angular_first[i], angular_last[i]):
                    j = angular_index[e]
                    at = species[base + j] * k_angular
                    r = angular_vector[e, 3]
                    ux, uy, uz = angular_vector[e, 0], angular_vector[e, 1], angular_vector[e, 2]
                    x, yy, zz = r * ux, r * uy, r * uz
                    ex = gx - force[j, 0] - x * wxx - zz * wzx
                    ey = gy - force[j, 1] - yy * wyy - x * wxy
                    ez = gz - force[j, 2] - zz * wzz - yy * wyz
                    along = ex * ux + ey * uy + ez * uz
                    inverse = one / r
                    ex = (ex - along * ux) * inverse
                    ey = (ey - along * uy) * inverse
                    ez = (ez - along * uz) * inverse
                    solid_harmonics(ux, uy, uz, l_max, legendre, y, dy)
                    for c in range(n_components):
                        dy[0, c] = ex * dy[0, c] + ey * dy[1, c] + ez * dy[2, c]
                        y[c] *= along
                    for k in range(k_angular):
                        w, v = angular_slope[e, k], angular_value[e, k]
                        for c in range(any_components):
                            change_angular[at + k, c] += w * y[c] + v * dy[0, c]
                # Change of the descriptor when the neighbours are displaced.
                sum_harmonics(
                    angular_all[kind], change_angular, ds, n_angular, t_angular, n_components
                )
                for n in range(n_radial):
                    total = zero
                    for k in range(t_radial):
                        total += radial_all[kind, n, k] * change_radial[k]
                    dq[n] = total * scaler[n]
                _change_of_invariants(
                    s, ds, dq, scaler, n_radial, n_angular, l_max, has_four_body, has_five_body
                )
                # Network.
                for d in range(dimension):
                    back_q[d] = zero
                for m in range(n_neurons):
                    dz = zero
                    for d in range(any_dimension):
                        dz += hidden_all[kind, m, d] * dq[d]
                    activation = h[m]
                    sech = one - activation * activation
                    d_output[kind, m] += g_energy * activation + sech * dz
                    w = output_all[kind, m] * sech
                    back_z = w * (g_energy - two * activation * dz)
                    d_threshold[kind, m] -= back_z
                    for d in range(any_dimension):
                        d_hidden[kind, m, d] += back_z * q[d] + w * dq[d]
                        back_q[d] += back_z * hidden_all[kind, m, d]
                gradient[at_shift] -= g_energy
                for d in range(dimension):
                    back_q[d] *= scaler[d]
                # Expansion coefficients.
                for n in range(n_radial):
                    v, w = back_q[n], slope[n]
                    for k in range(t_radial):
                        d_radial[kind, n, k] += v * radial_sums[i, k] + w * change_radial[k]
                _gradient_of_sums(
                    s, slope, p, n_radial, n_angular, l_max, has_four_body, has_five_body
                )
                for n in range(n_angular):
                    for degree in range(1, l_max + 1):
                        at = n_radial + (degree - 1) * n_angular + n
                        v, w = two * back_q[at], two * slope[at]
                        for c in range(degree * degree - 1, (degree + 1) * (degree + 1) - 1):
                            back[n, c] = v * s[n, c] + w * ds[n, c]
                    if has_four_body:
                        add_cubic(s[n], back_q[four_at + n], back[n])
                        add_cubic_change(s[n], ds[n], slope[four_at + n], back[n])
                    if has_five_body:
                        square, mixed = zero, zero
                        for c in range(3):
                            square += s[n, c] * s[n, c]
                            mixed += s[n, c] * ds[n, c]
                        v, w = _FOUR_FIVE * back_q[five_at + n], _FOUR_FIVE * slope[five_at + n]
                        for c in range(3):
                            back[n, c] += v * square * s[n, c] + w * (
                                square * ds[n, c] + two * mixed * s[n, c]
                            )
                for n in range(n_angular):
                    for k in range(t_angular):
                        total = zero
                        for c in range(any_components):
                            total += (
                                back[n, c] * angular_sums[i, k, c] + p[n, c] * change_angular[k, c]
                            )
                        d_angular[kind, n, k] += total

    @njit(nogil=True, fastmath=True)
    def describe(
        which: NDArray[np.int64],
        atoms: NDArray[np.int64],
        flat: NDArray[np.float32],
        basis: Basis,
        descriptors: NDArray[np.float32],
    ) -> None:
        species, radial_sums, angular_sums = basis.species, basis.radial_sums, basis.angular_sums
        radial_all = flat[:at_angular].reshape((n_species, n_radial, t_radial))
        angular_all = flat[at_angular:at_hidden].reshape((n_species, n_angular, t_angular))
        for item in which:
            i = atoms[item]
            s = np.empty((n_angular, n_components), np.float32)
            kind = species[i]
            sum_harmonics(angular_all[kind], angular_sums[i], s, n_angular, t_angular, n_components)
            invariants(
                radial_all[kind], radial_sums[i], s, descriptors[item], n_radial, n_angular,
                t_radial, l_max, has_four_body, has_five_body,
            )  # fmt: skip

    return Kernels(evaluate, differentiate, describe)
