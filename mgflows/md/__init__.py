"""Molecular dynamics under any ASE calculator: the integrator and the protocols."""

from __future__ import annotations
