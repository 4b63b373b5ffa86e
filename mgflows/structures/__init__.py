"""Geometry of given atoms: strain, relaxation, crystals, similarity and order."""

from __future__ import annotations
