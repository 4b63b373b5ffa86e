"""Compiled kernels of the surrogate, one file per algorithm; `layouts` chooses between them."""

from __future__ import annotations
