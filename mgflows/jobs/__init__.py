"""Makers: each makes a jobflow job, which calls one function and returns one document."""

from __future__ import annotations
