"""The inner loop of the sampler, written for SIMD registers: the energies of one atom with others.

Positions are 32-bit integers, with the box edge as 2^32. Differences of such numbers wrap around exactly as a periodic box does, so that the
minimum image costs nothing; a point of this lattice is 2e-10 of the edge wide. Compilers do not vectorise these loops well by themselves
(measured in ``docs/performance.md``), so they are spelled out in vectors of 64 bytes, which LLVM cuts to the registers of the processor.

The atoms that a row runs over are given as *blocks*, places in the arrays where one vector of atoms begins: all of them in a small box,
those of the cells nearby in a large one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils, types
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
    "structures",
]

REGISTER_BYTES = 64
"""Bytes of one vector: sixteen float32 or eight float64."""

INDEX = ir.IntType(64)
_LATTICE = ir.IntType(32)
# Sums may be reordered, but infinities must survive: an overlap has infinite energy and is rejected.
FAST = ("reassoc", "contract", "nsz")


class Vectors:
    """Vector instructions over the lanes that a floating-point type leaves in a register."""

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


def structures(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> list[Any]:
    """Give arrays as structures with a data pointer; numbers and tuples stay as they are."""
    return [
        context.make_array(kind)(context, builder, value)
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


def loop(
    builder: ir.IRBuilder,
    n: ir.Value,
    initial: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Emit ``for k in range(n)``, n at least one, with values that the body carries from one turn to the next; return the last."""
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


def _emit_row(
    v: Vectors, arguments: list[Any], use: Callable[[Vectors, ir.Value, ir.Value, ir.Value], None]
) -> ir.Value:
    """Emit the energies of an atom with all atoms of the blocks; return their sum.

    ``use`` is given the place of the block in the arrays, its place in the row, and its pair energies. The arguments are those of
    :func:`row_energy`.
    """
    b = v.builder
    (
        positions,
        x,
        y,
        z,
        species,
        hidden,
        sigma_squared,
        four_epsilon,
        constants,
        blocks,
        n_blocks,
    ) = arguments
    length = b.extract_value(positions.shape, 1)
    point = [v.splat(coordinate) for coordinate in (x, y, z)]
    hidden_atoms = [v.splat(b.trunc(atom, _LATTICE)) for atom in cgutils.unpack_tuple(b, hidden)]
    weight_y, weight_z, ratio_cut, shift = (
        v.splat(b.load(b.gep(constants.data, [ir.Constant(INDEX, n)]))) for n in range(4)
    )
    species_row = b.mul(species, length)
    lane = ir.Constant(v.integers, list(range(v.lanes)))

    def pairs(k: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        block = b.load(b.gep(blocks.data, [k]))
        axes = [b.add(b.mul(length, ir.Constant(INDEX, axis)), block) for axis in range(3)]
        dx, dy, dz = (
            b.sitofp(b.sub(v.load(positions, axis, v.integers), p), v.reals)
            for axis, p in zip(axes, point, strict=True)
        )
        squared = b.fmul(dx, dx, flags=FAST)
        squared = b.fadd(
            squared, b.fmul(b.fmul(dy, dy, flags=FAST), weight_y, flags=FAST), flags=FAST
        )
        squared = b.fadd(
            squared, b.fmul(b.fmul(dz, dz, flags=FAST), weight_z, flags=FAST), flags=FAST
        )
        in_table = b.add(species_row, block)
        s = b.fdiv(v.load(sigma_squared, in_table, v.reals), squared, flags=FAST)
        s = b.select(b.fcmp_ordered(">", s, ratio_cut), s, ratio_cut)
        s3 = b.fmul(b.fmul(s, s, flags=FAST), s, flags=FAST)
        energy = b.fmul(s3, b.fsub(s3, v.constant(v.reals, 1.0), flags=FAST), flags=FAST)
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
    positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, blocks, n_blocks, pair_energy,
):  # fmt: skip
    """Write the energies of an atom with others to ``pair_energy``; return their sum.

    Parameters
    ----------
    positions
        (3, n_padded) lattice positions.
    x, y, z, species
        Lattice point and species of the atom.
    hidden
        Tuple of the atoms that are passed over: the atom itself, and whoever moves with it.
    sigma_squared, four_epsilon, constants
        Table.
    blocks, n_blocks
        Where the vectors of atoms begin, and how many of them there are, at least one.
    pair_energy
        (at least n_blocks times lanes,) output, one vector a block in their order.
    """
    arguments = (
        positions,
        x,
        y,
        z,
        species,
        hidden,
        sigma_squared,
        four_epsilon,
        constants,
        blocks,
        n_blocks,
    )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        *row, pair_energy = structures(context, builder, signature, arguments)
        v = Vectors(builder, context.get_value_type(signature.return_type))
        return _emit_row(
            v, row, lambda v, _block, place, energy: v.store(energy, pair_energy, place)
        )

    return pair_energy.dtype(*arguments, pair_energy), generate


@intrinsic
def replace_row(  # type: ignore[no-untyped-def]
    typing,  # noqa: ARG001
    positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, blocks, n_blocks, pair_energy, energy,
):  # fmt: skip
    """Give every atom of the blocks its energy in ``pair_energy`` in place of the one it has with an atom at a point.

    Parameters
    ----------
    positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, blocks, n_blocks, pair_energy
        As in :func:`row_energy`; the pair energies are read.
    energy
        (n_padded,) energies of the atoms, which change by the difference.
    """
    arguments = (
        positions,
        x,
        y,
        z,
        species,
        hidden,
        sigma_squared,
        four_epsilon,
        constants,
        blocks,
        n_blocks,
    )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        *row, pair_energy, energy = structures(context, builder, signature, arguments)

        def replace(v: Vectors, block: ir.Value, place: ir.Value, old: ir.Value) -> None:
            change = builder.fsub(v.load(pair_energy, place, v.reals), old, flags=FAST)
            v.store(builder.fadd(v.load(energy, block, v.reals), change, flags=FAST), energy, block)

        return _emit_row(
            Vectors(builder, context.get_value_type(signature.return_type)), row, replace
        )

    return pair_energy.dtype(*arguments, pair_energy, energy), generate
