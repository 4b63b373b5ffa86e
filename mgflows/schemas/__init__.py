"""Pydantic models of the documents in MongoDB, with the unit and meaning of every field.

Positions are in A, energies in eV, stresses in eV/A^3 with the ASE sign (positive under tension),
virials in eV per cell (positive under compression), pressures in GPa and times in s, unless the
name of the field states another unit. A quantity in Lennard-Jones units has ``reduced`` in its
name.
"""

from __future__ import annotations
