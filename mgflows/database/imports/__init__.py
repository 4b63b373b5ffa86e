"""Labels of other programs: read, checked, described, and stored as labels of a campaign."""

from __future__ import annotations

from mgflows.database.imports.foreign import Reading, Units
from mgflows.database.imports.importer import Importer

__all__ = ["Importer", "Reading", "Units"]
