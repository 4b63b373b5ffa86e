"""One function a figure: it draws onto a given matplotlib figure and knows nothing of files or pages."""

from __future__ import annotations
