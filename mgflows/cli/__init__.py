"""The ``mgflows`` command line: thin, one file a group of commands."""

from __future__ import annotations
