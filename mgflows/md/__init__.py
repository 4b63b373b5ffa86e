"""Molecular dynamics under a potential: integrators, protocols, and the engines that run them."""

from __future__ import annotations
