"""The sections of the report in the order of the paper: text, figures, tables, missing parts."""

from __future__ import annotations
