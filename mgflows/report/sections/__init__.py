"""The sections of the report in the order of the paper: each turns data into sentences, figures and tables, and says what is missing."""

from __future__ import annotations
