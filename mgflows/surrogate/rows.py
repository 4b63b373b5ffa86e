"""The inner loop of the sampler, written for SIMD registers: the energies of one atom with all others.

Positions are 32-bit integers, with the box edge as 2^32. Differences of such numbers wrap around exactly as a periodic box does, so that the
minimum image costs nothing; a point of this lattice is 1e-9 of the edge wide. Compilers do not vectorise these loops well by themselves (measured
in ``docs/performance.md``), so they are spelled out in vectors of 64 bytes, which LLVM cuts to whatever registers the processor has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REGISTER_BYTES", "replace_row", "row_energy"]

REGISTER_BYTES = 64
"""Bytes of one vector: sixteen float32 or eight float64."""

_INDEX = ir.IntType(64)
_LATTICE = ir.IntType(32)
# Sums may be reordered, but infinities must survive: an overlap has infinite energy and is rejected.
_FAST = ("reassoc", "contract", "nsz")


class _Row:
    """The instructions for one vector of pairs after the other; the arguments are those of :func:`row_energy`."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.real = context.get_value_type(signature.args[-1].dtype)
        self.lanes = REGISTER_BYTES // (4 if isinstance(self.real, ir.FloatType) else 8)
        self.vector = ir.VectorType(self.real, self.lanes)
        # Arrays are addressed through their structure; numbers, and the tuple of hidden atoms, come as they are.
        named = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.positions, *self.point = named[:4]
        self.species, self.hidden, self.sigma_squared, self.four_epsilon, self.constants, *self.output = named[4:]
        self.length = builder.extract_value(self.positions.shape, 1)

    def splat(self, value: ir.Value) -> ir.Value:
        """Return a vector with the value in every lane."""
        b = self.builder
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = b.insert_element(undefined, value, ir.Constant(_LATTICE, 0))
        return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_LATTICE, self.lanes), [0] * self.lanes))

    def pointer(self, array: Any, offset: ir.Value, vector: ir.Type) -> ir.Value:
        """Return the address of a vector within an array."""
        return self.builder.bitcast(self.builder.gep(array.data, [offset]), vector.as_pointer())

    def load(self, array: Any, offset: ir.Value, vector: ir.Type) -> ir.Value:
        """Return a vector from an array; arrays need no alignment beyond that of their elements."""
        value = self.builder.load(self.pointer(array, offset, vector))
        value.align = vector.element.width // 8 if isinstance(vector.element, ir.IntType) else REGISTER_BYTES // self.lanes
        return value

    def store(self, value: ir.Value, array: Any, offset: ir.Value) -> None:
        """Write a vector to an array."""
        self.builder.store(value, self.pointer(array, offset, self.vector)).align = REGISTER_BYTES // self.lanes

    def emit(self, use: Callable[[ir.Value, ir.Value], None]) -> ir.Value:
        """Loop over all vectors of pairs, hand each one's offset and energies to ``use``, and return the total energy."""
        b, vector = self.builder, self.vector
        lattice = ir.VectorType(_LATTICE, self.lanes)
        row = b.mul(self.species, self.length)
        point = [self.splat(coordinate) for coordinate in self.point]
        hidden = [self.splat(b.trunc(atom, _LATTICE)) for atom in cgutils.unpack_tuple(b, self.hidden)]
        weight_y, weight_z, ratio_cut, shift = (self.splat(b.load(b.gep(self.constants.data, [ir.Constant(_INDEX, n)]))) for n in range(4))
        one = ir.Constant(vector, [1.0] * self.lanes)
        zero = ir.Constant(vector, [0.0] * self.lanes)
        first_atoms = ir.Constant(lattice, list(range(self.lanes)))
        stride = ir.Constant(lattice, [self.lanes] * self.lanes)

        entry = b.block
        loop = b.append_basic_block("pairs")
        after = b.append_basic_block("pairs.end")
        b.branch(loop)
        b.position_at_end(loop)
        offset = b.phi(_INDEX)
        atoms = b.phi(lattice)
        total = b.phi(vector)
        offset.add_incoming(ir.Constant(_INDEX, 0), entry)
        atoms.add_incoming(first_atoms, entry)
        total.add_incoming(zero, entry)

        dx, dy, dz = (
            b.sitofp(
                b.sub(self.load(self.positions, b.add(b.mul(self.length, ir.Constant(_INDEX, axis)), offset), lattice), coordinate), vector
            )
            for axis, coordinate in enumerate(point)
        )
        squared = b.fmul(dx, dx, flags=_FAST)
        squared = b.fadd(squared, b.fmul(b.fmul(dy, dy, flags=_FAST), weight_y, flags=_FAST), flags=_FAST)
        squared = b.fadd(squared, b.fmul(b.fmul(dz, dz, flags=_FAST), weight_z, flags=_FAST), flags=_FAST)
        table_offset = b.add(row, offset)
        s = b.fdiv(self.load(self.sigma_squared, table_offset, vector), squared, flags=_FAST)
        s = b.select(b.fcmp_ordered(">", s, ratio_cut), s, ratio_cut)
        s3 = b.fmul(b.fmul(s, s, flags=_FAST), s, flags=_FAST)
        energy = b.fsub(b.fmul(s3, b.fsub(s3, one, flags=_FAST), flags=_FAST), shift, flags=_FAST)
        energy = b.fmul(energy, self.load(self.four_epsilon, table_offset, vector), flags=_FAST)
        for atom in hidden:
            energy = b.select(b.icmp_signed("==", atoms, atom), zero, energy)
        use(offset, energy)

        new_total = b.fadd(total, energy, flags=_FAST)
        new_offset = b.add(offset, ir.Constant(_INDEX, self.lanes))
        offset.add_incoming(new_offset, b.block)
        atoms.add_incoming(b.add(atoms, stride), b.block)
        total.add_incoming(new_total, b.block)
        b.cbranch(b.icmp_signed("<", new_offset, self.length), loop, after)
        b.position_at_end(after)
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * REGISTER_BYTES // self.lanes}"
        kind = ir.FunctionType(self.real, [self.real, vector])
        reduce = b.module.globals.get(name) or ir.Function(b.module, kind, name)
        return b.call(reduce, [ir.Constant(self.real, -0.0), new_total], fastmath=_FAST)


@intrinsic
def row_energy(typing, positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, pair_energy):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Write the energies of an atom with all others to ``pair_energy``; return their sum.

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
    pair_energy
        (n_padded,) output.
    """
    signature = pair_energy.dtype(positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, pair_energy)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        row = _Row(context, builder, signature, arguments)
        (pair_energy,) = row.output
        return row.emit(lambda offset, energy: row.store(energy, pair_energy, offset))

    return signature, generate


@intrinsic
def replace_row(typing, positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, pair_energy, energy):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Give every atom the energy in ``pair_energy`` in place of the one it has with an atom at a point.

    Parameters
    ----------
    positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, pair_energy
        As in :func:`row_energy`; the pair energies are read.
    energy
        (n_padded,) energies of the atoms, which change by the difference.
    """
    signature = pair_energy.dtype(positions, x, y, z, species, hidden, sigma_squared, four_epsilon, constants, pair_energy, energy)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        row = _Row(context, builder, signature, arguments)
        pair_energy, energy = row.output

        def replace(offset: ir.Value, old: ir.Value) -> None:
            change = builder.fsub(row.load(pair_energy, offset, row.vector), old, flags=_FAST)
            row.store(builder.fadd(row.load(energy, offset, row.vector), change, flags=_FAST), energy, offset)

        return row.emit(replace)

    return signature, generate
