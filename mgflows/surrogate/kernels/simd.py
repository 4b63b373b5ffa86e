"""The inner loop of the sampler, written for SIMD registers: the energies of one atom with others.

Positions are 32-bit integers, with the box edge as 2^32. Differences of such numbers wrap around
exactly as a periodic box does, so the minimum image costs nothing; the lattice spacing is 2e-10 of
the edge. Compilers do not vectorise these loops well (measured in
``docs/reference/performance.md``), so they are written explicitly for vectors of 64 bytes, which
LLVM splits into the registers of the processor.

The atoms that a row runs over are given as *blocks*, places in the arrays where one vector of atoms
begins: all of them in a small box, those of the nearby cells in a large one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.containers import BaseTuple
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FAST",
    "INDEX",
    "REGISTER_BYTES",
    "Vectors",
    "loop",
    "replace_row",
    "row_energy",
    "shape_of_well",
    "squared_distance",
    "unpack",
]

REGISTER_BYTES = 64
"""Bytes of one vector: sixteen float32 or eight float64."""

INDEX = ir.IntType(64)
_LATTICE = ir.IntType(32)
# Sums may be reordered, but infinities must survive: an overlap has infinite energy and is
# rejected.
FAST = ("reassoc", "contract", "nsz")


class Vectors:
    """Vector instructions over the lanes of a register for a floating-point type."""

    def __init__(self, builder: ir.IRBuilder, real: ir.Type) -> None:
        self.builder = builder
        self.real = real
        self.lanes = REGISTER_BYTES // (4 if isinstance(real, ir.FloatType) else 8)
        self.reals = ir.VectorType(real, self.lanes)
        self.integers = ir.VectorType(_LATTICE, self.lanes)

    def constant(self, kind: ir.VectorType, value: float) -> ir.Constant:
        """Return a vector of a number."""
        return ir.Constant(kind, [value] * self.lanes)

    def splat(self, value: ir.Value) -> ir.Value:
        """Return a vector with the value in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_LATTICE, 0))
        return self.builder.shuffle_vector(first, undefined, self.constant(self.integers, 0))

    def splat_element(self, array: Any, offset: ir.Value | int) -> ir.Value:
        """Return a vector with one element of an array in every lane."""
        index = ir.Constant(INDEX, offset) if isinstance(offset, int) else offset
        return self.splat(self.builder.load(self.builder.gep(array.data, [index])))

    def load(self, array: Any, offset: ir.Value, kind: ir.VectorType) -> ir.Value:
        """Return a vector from an array; arrays need no alignment beyond that of their elements."""
        value = self.builder.load(self._pointer(array, offset, kind))
        value.align = 4 if kind is self.integers else REGISTER_BYTES // self.lanes
        return value

    def store(self, value: ir.Value, array: Any, offset: ir.Value) -> None:
        """Write a vector to an array."""
        self.builder.store(value, self._pointer(array, offset, self.reals)).align = (
            REGISTER_BYTES // self.lanes
        )

    def sum(self, vector: ir.Value) -> ir.Value:
        """Return the sum over the lanes."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * REGISTER_BYTES // self.lanes}"
        module = self.builder.module
        reduce = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.real, [self.real, self.reals]), name
        )
        return self.builder.call(reduce, [ir.Constant(self.real, -0.0), vector], fastmath=FAST)

    def _pointer(self, array: Any, offset: ir.Value, kind: ir.VectorType) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(array.data, [offset]), kind.as_pointer())


def unpack(context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> Any:
    """Turn an argument into Python objects: arrays with a data pointer, and lists for tuples."""
    if isinstance(kind, types.Array):
        return context.make_array(kind)(context, builder, value)
    if isinstance(kind, BaseTuple):
        members = cgutils.unpack_tuple(builder, value)
        return [
            unpack(context, builder, part, member)
            for part, member in zip(kind.types, members, strict=True)
        ]
    return value


def loop(
    builder: ir.IRBuilder,
    n: ir.Value,
    initial: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Emit ``for k in range(n)`` for n of at least one; return the last values.

    The body receives ``k`` and the values carried from one iteration to the next, and returns the
    next values.
    """
    entry, turn = builder.block, builder.append_basic_block("row")
    builder.branch(turn)
    builder.position_at_end(turn)
    k = builder.phi(INDEX)
    k.add_incoming(ir.Constant(INDEX, 0), entry)
    carried = [builder.phi(value.type) for value in initial]
    for phi, value in zip(carried, initial, strict=True):
        phi.add_incoming(value, entry)
    results = body(k, carried)
    following = builder.add(k, ir.Constant(INDEX, 1))
    k.add_incoming(following, builder.block)
    for phi, value in zip(carried, results, strict=True):
        phi.add_incoming(value, builder.block)
    end = builder.append_basic_block("row.end")
    builder.cbranch(builder.icmp_signed("<", following, n), turn, end)
    builder.position_at_end(end)
    return results


def squared_distance(
    v: Vectors, a: list[ir.Value], b: list[ir.Value], weights: list[ir.Value]
) -> ir.Value:
    """Return the squared distances of lattice points, in lattice units along x.

    The weights are the squared ratios of the edges along y and z to that along x.
    """
    build = v.builder
    dx, dy, dz = (build.sitofp(build.sub(q, p), v.reals) for q, p in zip(a, b, strict=True))
    squared = build.fmul(dx, dx, flags=FAST)
    for d, weight in zip((dy, dz), weights, strict=True):
        scaled = build.fmul(build.fmul(d, d, flags=FAST), weight, flags=FAST)
        squared = build.fadd(squared, scaled, flags=FAST)
    return squared


def shape_of_well(
    v: Vectors, sigma_squared: ir.Value, squared: ir.Value, ratio_cut: ir.Value
) -> ir.Value:
    """Return ``s^6 - s^3`` with ``s = sigma^2 / r^2``, constant beyond the cutoff."""
    b = v.builder
    s = b.fdiv(sigma_squared, squared, flags=FAST)
    s = b.select(b.fcmp_ordered(">", s, ratio_cut), s, ratio_cut)
    s3 = b.fmul(b.fmul(s, s, flags=FAST), s, flags=FAST)
    return b.fmul(s3, b.fsub(s3, v.constant(v.reals, 1.0), flags=FAST), flags=FAST)


def _emit_row(
    v: Vectors, arguments: list[Any], use: Callable[[Vectors, ir.Value, ir.Value, ir.Value], None]
) -> ir.Value:
    """Emit the energies of an atom with all atoms of the blocks; return their sum.

    ``use`` receives the place of the block in the arrays, its place in the row, and its pair
    energies. The arguments are those of :func:`row_energy`.
    """
    b = v.builder
    positions, point, species, hidden, table, blocks, n_blocks = arguments
    sigma_squared, four_epsilon, constants = table
    length = b.extract_value(positions.shape, 1)
    points = [v.splat(coordinate) for coordinate in point]
    hidden_atoms = [v.splat(b.trunc(atom, _LATTICE)) for atom in hidden]
    *weights, ratio_cut, shift = (v.splat_element(constants, n) for n in range(4))
    species_row = b.mul(species, length)
    lane = ir.Constant(v.integers, list(range(v.lanes)))

    def pairs(k: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        block = b.load(b.gep(blocks.data, [k]))
        axes = [b.add(b.mul(length, ir.Constant(INDEX, axis)), block) for axis in range(3)]
        partners = [v.load(positions, axis, v.integers) for axis in axes]
        squared = squared_distance(v, partners, points, weights)
        in_table = b.add(species_row, block)
        energy = shape_of_well(v, v.load(sigma_squared, in_table, v.reals), squared, ratio_cut)
        energy = b.fmul(
            b.fsub(energy, shift, flags=FAST), v.load(four_epsilon, in_table, v.reals), flags=FAST
        )
        atoms = b.add(v.splat(b.trunc(block, _LATTICE)), lane)
        for atom in hidden_atoms:
            energy = b.select(b.icmp_signed("==", atoms, atom), v.constant(v.reals, 0.0), energy)
        use(v, block, b.mul(k, ir.Constant(INDEX, v.lanes)), energy)
        return [b.fadd(carried[0], energy, flags=FAST)]

    return v.sum(loop(b, n_blocks, [v.constant(v.reals, 0.0)], pairs)[0])


@intrinsic
def row_energy(  # type: ignore[no-untyped-def]
    typing,  # noqa: ARG001
    positions, point, species, hidden, table, blocks, n_blocks, pair_energy,
):  # fmt: skip
    """Write the energies of an atom with others to ``pair_energy``; return their sum.

    Parameters
    ----------
    positions
        (3, n_padded) lattice positions.
    point, species
        Lattice point (x, y, z) and species of the atom.
    hidden
        Tuple of the atoms that are left out: the atom itself, and one that moves with it.
    table
        ``sigma_squared``, ``four_epsilon`` and ``constants`` of the table.
    blocks, n_blocks
        Where the vectors of atoms begin, and how many of them there are, at least one.
    pair_energy
        (at least n_blocks times lanes,) output, one vector per block in their order.
    """
    row = (positions, point, species, hidden, table, blocks, n_blocks)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        *row, pair_energy = (
            unpack(context, builder, kind, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        v = Vectors(builder, context.get_value_type(signature.return_type))
        return _emit_row(
            v, row, lambda v, _block, place, energy: v.store(energy, pair_energy, place)
        )

    return pair_energy.dtype(*row, pair_energy), generate


@intrinsic
def replace_row(  # type: ignore[no-untyped-def]
    typing,  # noqa: ARG001
    positions, point, species, hidden, table, blocks, n_blocks, pair_energy, energy,
):  # fmt: skip
    """Replace the energy that every atom of the blocks has with an atom at a point.

    Parameters
    ----------
    positions, point, species, hidden, table, blocks, n_blocks
        As in :func:`row_energy`; they describe the old pair energies.
    pair_energy
        The new pair energies, which are read.
    energy
        (n_padded,) energies of the atoms, which change by the difference.
    """
    row = (positions, point, species, hidden, table, blocks, n_blocks)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        *row, pair_energy, energy = (
            unpack(context, builder, kind, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )

        def replace(v: Vectors, block: ir.Value, place: ir.Value, old: ir.Value) -> None:
            change = builder.fsub(v.load(pair_energy, place, v.reals), old, flags=FAST)
            v.store(builder.fadd(v.load(energy, block, v.reals), change, flags=FAST), energy, block)

        return _emit_row(
            Vectors(builder, context.get_value_type(signature.return_type)), row, replace
        )

    return pair_energy.dtype(*row, pair_energy, energy), generate
