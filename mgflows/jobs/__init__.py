"""Makers: one Maker makes one jobflow job, which calls one function of the numerics and returns one document."""

from __future__ import annotations
