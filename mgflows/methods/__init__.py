"""Label methods: how each code is run and what determines its labels."""

from __future__ import annotations
