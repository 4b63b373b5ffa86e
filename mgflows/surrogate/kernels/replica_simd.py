"""The inner loop for independent replicas: each lane of a SIMD register is a run of its own.

All replicas move the same atom at the same time, by displacements of their own, and each accepts or rejects by itself. The atom has the same
species everywhere, so that pair parameters are numbers; there is nothing to pad, to hide or to sum over lanes, and no branch depends on
the outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from mgflows.surrogate.kernels.simd import FAST, INDEX, Vectors, loop, structures

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add_replica_row"]


@intrinsic
def add_replica_row(  # type: ignore[no-untyped-def]
    typing,  # noqa: ARG001
    positions, old, new, species, start, stop, sigma_squared, four_epsilon, constants, change,
):  # fmt: skip
    """Add, in each replica, the change of the energy with the atoms ``start`` to ``stop`` (exclusive) as one atom moves.

    Parameters
    ----------
    positions
        (3, n, lanes) lattice positions.
    old, new
        (3, lanes) where the atom was and where it would be.
    species
        Its species.
    sigma_squared, four_epsilon
        (n_species, n) table.
    constants
        As in :class:`mgflows.surrogate.kernels.all_pairs.Table`.
    change
        (lanes,) change of the energy, added to.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        b = builder
        positions, old, new, species, start, stop, *table, change = structures(
            context, b, signature, arguments
        )
        v = Vectors(b, context.get_value_type(signature.args[-1].dtype))
        zero = ir.Constant(INDEX, 0)
        n_atoms = b.sub(stop, start)
        before = v.load(change, zero, v.reals)
        some, end = b.append_basic_block("replicas"), b.append_basic_block("replicas.end")
        b.cbranch(b.icmp_signed(">", n_atoms, zero), some, end)
        b.position_at_end(some)
        pair = _pair_change(v, positions, old, new, species, start, table)
        v.store(
            loop(
                b, n_atoms, [before], lambda k, carried: [b.fadd(carried[0], pair(k), flags=FAST)]
            )[0],
            change,
            zero,
        )
        b.branch(end)
        b.position_at_end(end)
        return context.get_dummy_value()

    return types.void(
        positions, old, new, species, start, stop, sigma_squared, four_epsilon, constants, change
    ), generate


def _pair_change(
    v: Vectors,
    positions: Any,
    old: Any,
    new: Any,
    species: ir.Value,
    start: ir.Value,
    table: list[Any],
) -> Callable[[ir.Value], ir.Value]:
    """Return what emits the change of the energy with the ``k``-th atom from ``start``."""
    b = v.builder
    sigma_squared, four_epsilon, constants = table
    length, lanes = b.extract_value(positions.shape, 1), ir.Constant(INDEX, v.lanes)
    weight_y, weight_z, ratio_cut = (
        v.splat(b.load(b.gep(constants.data, [ir.Constant(INDEX, n)]))) for n in range(3)
    )
    points = [
        [v.load(place, ir.Constant(INDEX, axis * v.lanes), v.integers) for axis in range(3)]
        for place in (old, new)
    ]

    def emit(k: ir.Value) -> ir.Value:
        j = b.add(start, k)
        in_table = b.add(b.mul(species, length), j)
        pair_sigma, pair_epsilon = (
            v.splat(b.load(b.gep(array.data, [in_table])))
            for array in (sigma_squared, four_epsilon)
        )
        partner = [
            v.load(
                positions,
                b.mul(lanes, b.add(b.mul(length, ir.Constant(INDEX, axis)), j)),
                v.integers,
            )
            for axis in range(3)
        ]

        def energy(point: list[ir.Value]) -> ir.Value:
            dx, dy, dz = (
                b.sitofp(b.sub(q, p), v.reals) for q, p in zip(partner, point, strict=True)
            )
            squared = b.fmul(dx, dx, flags=FAST)
            squared = b.fadd(
                squared, b.fmul(b.fmul(dy, dy, flags=FAST), weight_y, flags=FAST), flags=FAST
            )
            squared = b.fadd(
                squared, b.fmul(b.fmul(dz, dz, flags=FAST), weight_z, flags=FAST), flags=FAST
            )
            s = b.fdiv(pair_sigma, squared, flags=FAST)
            s = b.select(b.fcmp_ordered(">", s, ratio_cut), s, ratio_cut)
            s3 = b.fmul(b.fmul(s, s, flags=FAST), s, flags=FAST)
            return b.fmul(s3, b.fsub(s3, v.constant(v.reals, 1.0), flags=FAST), flags=FAST)

        # The shift is the same before and after.
        return b.fmul(
            b.fsub(energy(points[1]), energy(points[0]), flags=FAST), pair_epsilon, flags=FAST
        )

    return emit
