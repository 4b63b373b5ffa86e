"""VASP with the settings of the paper: method, inputs, execution and outputs."""

from __future__ import annotations
