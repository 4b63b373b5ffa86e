"""VASP with the settings of the paper: settings, inputs, and the reading of its outputs."""

from __future__ import annotations
