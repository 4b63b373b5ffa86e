"""The documents mgflows stores in MongoDB: pydantic models, every field with its unit and meaning.

Positions are in A, energies in eV, stresses in eV/A^3 with the ASE sign (positive when stretched), virials in eV per cell (positive when
compressed), pressures in GPa, times in s unless a name says otherwise. A quantity in Lennard-Jones units has ``reduced`` in its name.
"""

from __future__ import annotations
