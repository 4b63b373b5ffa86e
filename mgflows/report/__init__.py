"""Figures and the HTML report of one campaign.

:class:`~mgflows.report.data.ReportData` collects what the database holds, :func:`~mgflows.report.page.write_report` turns it into one file.
"""

from __future__ import annotations

from mgflows.report.data import ReportData
from mgflows.report.page import write_report

__all__ = ["ReportData", "write_report"]
