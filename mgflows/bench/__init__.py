"""Benchmarks against independent programs; `mgflows bench` prints them."""

from __future__ import annotations
