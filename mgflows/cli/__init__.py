"""The ``mgflows`` command line: a thin layer, one module per command group."""

from __future__ import annotations
