"""Benchmarks of mgflows and other codes; `mgflows bench` runs them."""

from __future__ import annotations
