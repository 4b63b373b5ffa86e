"""Settings of the codes that label: what decides a label, written down once for each code, and how the code is called."""

from __future__ import annotations
