"""Molecular dynamics under any ASE calculator: the integrator, protocols and their checkpoints."""

from __future__ import annotations
