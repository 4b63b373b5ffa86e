"""The report on the screen and on paper."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mgflows.report.page import render_report
from tests.helpers.browser import browse, print_page

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.report import ReportData

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium")]

MEASURE = """
<script>
addEventListener("load", () => {
  const cut = [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth);
  const wide = document.documentElement.scrollWidth > innerWidth;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const text = document.querySelector(".plot text");
  document.body.dataset.cut = cut.map(e => e.getAttribute("aria-label")).join("|");
  document.body.dataset.wide = wide;
  document.body.dataset.followed = getComputedStyle(text).fill !== "rgb(11, 12, 14)";
  document.body.dataset.width = innerWidth;
});
</script>
"""


def test_on_the_screen_nothing_is_cut_and_figures_follow_the_theme(
    full: ReportData, tmp_path: Path
) -> None:
    text = render_report(full)
    # The page itself forbids scripts.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    (tmp_path / "report.html").write_text(text.replace("</body>", f"{MEASURE}</body>"))
    document, _ = browse(f"file://{tmp_path / 'report.html'}", tmp_path)
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', document[document.index("<body") :]))
    assert found["width"] == "1200"
    assert found["cut"] == ""
    assert found["wide"] == "false"
    assert found["followed"] == "true"


def test_on_paper_it_has_about_eight_pages_of_a4(full: ReportData, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render_report(full))
    pdf = print_page(f"file://{tmp_path / 'report.html'}", tmp_path / "report.pdf")
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf)
    assert 5 <= len(boxes) <= 10
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}
