"""Reports of campaigns for the live view: rendered when their documents have changed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.report.comparison import render_comparison
from mgflows.report.data import ReportData
from mgflows.report.page import render_report
from mgflows.schemas.campaign import CAMPAIGNS
from mgflows.schemas.comparison import ComparisonDocument

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from mgflows.database import GlassDatabase

__all__ = ["Reports"]

_SECONDS_BETWEEN_RENDERINGS = 30.0


@dataclass(frozen=True)
class _Rendered:
    state: Hashable
    at: float
    text: str


class Reports:
    """The last report of each campaign.

    A report takes seconds, so it is rendered again only if jobs have ended or failed since, and at
    most twice a minute. Matplotlib draws one figure at a time: other requests wait.

    Parameters
    ----------
    database
        The database.
    experiments
        A file of your own measured values and curves.
    """

    def __init__(self, database: GlassDatabase, experiments: Path | None = None) -> None:
        self._database = database
        self._experiments = experiments
        self._rendered: dict[str, _Rendered] = {}
        self._lock = threading.Lock()

    def html(self, campaign: str) -> str:
        """Return the report of a campaign.

        Raises
        ------
        InputError
            If there is no such campaign.
        """
        name = self._database.campaign(campaign).campaign
        with self._lock:
            state, now = self._state(name), time.monotonic()
            last = self._rendered.get(name)
            if last is None or (
                last.state != state and now - last.at >= _SECONDS_BETWEEN_RENDERINGS
            ):
                data = ReportData.from_database(self._database, name, self._experiments)
                text = render_report(data)
                last = self._rendered[name] = _Rendered(state, now, text)
            return last.text

    def comparison(self, validation: str) -> str:
        """Return the page of a stored comparison of potentials.

        Raises
        ------
        InputError
            If there is no such comparison.
        """
        document = self._database.comparison(validation)
        result = document.comparison().with_measured(self._experiments)
        with self._lock:
            return render_comparison(result, document.validation)

    def _state(self, campaign: str) -> Hashable:
        """A value that changes whenever the report would change."""
        mongo = self._database.mongo
        failed = {"spec.mgflows.campaign": campaign, "state": "FIZZLED"}
        document = mongo[CAMPAIGNS].find_one({"campaign": campaign}, ["history"]) or {}
        return (
            mongo["outputs"].count_documents({"metadata.mgflows.campaign": campaign}),
            mongo["fireworks"].count_documents(failed),
            len(document.get("history", [])),
            # Comparisons are documents of another name.
            mongo["outputs"].count_documents({"output.@class": ComparisonDocument.__name__}),
        )
