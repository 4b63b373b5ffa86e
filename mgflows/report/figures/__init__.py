"""One function per figure, which draws onto a given matplotlib figure."""

from __future__ import annotations
