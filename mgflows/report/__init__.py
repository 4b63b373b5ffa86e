"""Figures and the HTML report of one campaign.

:class:`~mgflows.report.data.ReportData` reads the campaign from the database, and
:func:`~mgflows.report.page.write_report` writes it as one file.
"""

from __future__ import annotations

from mgflows.report.data import ReportData
from mgflows.report.page import is_report, write_report

__all__ = ["ReportData", "is_report", "write_report"]
