from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.figure import Figure

from mgflows.errors import MissingDependencyError, ServiceError
from mgflows.report import style, write_report
from mgflows.report.page import render_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mgflows.report import ReportData

FEEDBACK = "mlip_feedback"
VOID = {"meta", "br", "img", "link", "hr", "input"}


def draw_only(draw: Callable[[Figure], None], name: str, **_: float) -> str:
    """Draw without the slow part: layout and SVG."""
    draw(Figure())
    return "<svg></svg>"


class Page(HTMLParser):
    """Checks nesting, and collects ids, references and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value or "")
            elif key in ("href", "src", "xlink:href"):
                self.references.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def written(full: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    start = time.process_time()
    path = write_report(full, tmp_path_factory.mktemp("report") / "new" / "report.html")
    assert time.process_time() - start < 15.0
    return path


def test_the_report_is_one_valid_file_without_outside_references(written: Path) -> None:
    assert [other.name for other in written.parent.iterdir()] == ["report.html"]
    assert written.stat().st_size < 4e6
    page = Page(written.read_text())
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        assert reference.startswith("data:") or reference.removeprefix("#") in page.ids
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "default-src 'none'" in written.read_text()
    assert "@import" not in written.read_text()


def test_the_report_has_every_figure_of_this_scale(written: Path) -> None:
    text = Page(written.read_text()).text
    for label in (
        "Fig. 1b",
        "Fig. 2a",
        "Fig. 2b",
        "Fig. S1",
        "Fig. 3a",
        "Fig. 3b",
        "Fig. 3c",
        "Fig. S2d",
        "Fig. 3d",
        "Fig. 4a",
        "Fig. 4b",
        "Fig. 6a",
        "Fig. 6b",
    ):
        assert label in text, label
    for title in (
        "Before and after feedback",
        "Stress–strain curves",
        "Dimers",
        "Quenches with the potential",
    ):
        assert title in text, title
    assert "(Fig. 5) are not part of the scale 'small'" in text


def test_numbers_come_from_the_documents(written: Path, full: ReportData) -> None:
    text = Page(written.read_text()).text
    assert "389" in text
    assert (
        "test errors (RMSE) are 4.6 meV/atom in the energy, 117 meV/Å in the forces and "
        "41.4 meV/atom in the virial" in text
    )
    assert "paper's split: 104" in text
    kept = [
        {s: e for s, e in full.potential(n).errors["test"].items() if s not in ("all", FEEDBACK)}
        for n in (0, 1)
    ]
    energies, forces = (
        [
            np.sqrt(np.average([getattr(e, name) ** 2 for e in errors.values()],
                               weights=[e.n_frames for e in errors.values()]))
            for errors in kept
        ]
        for name in ("energy_rmse", "force_rmse")
    )  # fmt: skip
    assert (
        f"energies from {energies[0]:.1f} to {energies[1]:.1f} meV/atom and forces from "
        f"{forces[0]:.0f} to {forces[1]:.0f} meV/Å" in text
    )
    assert "of a melt the force error changed from 74.0 to 58.5 meV/Å" in text
    assert "All lengths changed by +6.4%" in text
    assert "1 sample of 12 ended ordered" in text
    for identifier in ("c3a82b915e04d7f6", "a90c4417e6f2b35d", full.campaign.campaign):
        assert identifier in text


def test_the_acceptance_comes_before_the_errors(written: Path, full: ReportData) -> None:
    text = Page(written.read_text()).text
    verdict = text.index("The potential passed its acceptance. The melt holds.")
    assert verdict < text.index("The potential was trained on")
    assert "Warning: 7.0% are outside." in text
    assert "melt density passed 1.004 0.950 to 1.050" in text
    assert "9445fd342f115653d970" in text
    assert "Failed." not in text


def test_a_failed_potential_is_marked_at_the_top(
    full: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "render", draw_only)
    record = full.potentials[1].acceptance
    failed = record.model_copy(update={"passed": False, "reason": "the melt flies apart"})
    potentials = [
        potential.model_copy(update={"acceptance": failed}) for potential in full.potentials
    ]
    text = Page(render_report(replace(full, potentials=potentials))).text
    notice = "failed its acceptance and must not be used: The melt flies apart."
    assert text.index(notice) < text.index("Labelled frames")
    assert "Acceptance failed" in text
    untested = [potential.model_copy(update={"acceptance": None}) for potential in potentials]
    text = Page(render_report(replace(full, potentials=untested))).text
    assert "was not tested after its training" in text


def test_the_best_potential_is_an_accepted_one(full: ReportData) -> None:
    before, after, _ = full.potentials
    assert full.best_potential is after
    failed = after.acceptance.model_copy(update={"passed": False, "reason": "a hole"})
    spoilt = after.model_copy(update={"acceptance": failed})
    assert replace(full, potentials=[before, spoilt]).best_potential is before
    assert replace(full, potentials=[spoilt]).best_potential is spoilt
    # An accepted one of another split is better than a failed one; an untested comparison is not.
    other = before.model_copy(update={"split": "paper"})
    assert replace(full, potentials=[other, spoilt]).best_potential is other
    assert replace(full, potentials=[spoilt, other]).best_potential is other
    untested = other.model_copy(update={"acceptance": None})
    assert replace(full, potentials=[spoilt, untested]).best_potential is spoilt
    assert replace(full, potentials=[before, other]).best_potential is before


def test_a_stand_in_and_a_small_scale_are_stated(written: Path, full: ReportData) -> None:
    text = Page(written.read_text()).text
    assert "Stand-in EAM, not DFT." in text
    assert "e(stand-in)" in text
    assert "e(DFT)" not in text
    assert full.campaign.scaled_down in text
    assert "It is not a potential for the real alloy." in text


def test_dft_labels_are_stated(full: ReportData) -> None:
    dataset = full.datasets[1]
    fingerprint = dataset.fingerprint.model_copy(update={"is_dft": True, "description": "PBE"})
    data = replace(
        full,
        campaign=full.campaign.model_copy(
            update={"method": "VASP, PBE, 450 eV", "scaled_down": ""}
        ),
        datasets=[dataset.model_copy(update={"fingerprint": fingerprint})],
        validations=[],
    )
    text = Page(render_report(data)).text
    assert "not DFT" not in text
    assert "e(DFT)" in text
    assert "It is not a potential for the real alloy" not in text


def test_missing_labels_are_not_described(empty: ReportData) -> None:
    data = replace(
        empty,
        campaign=empty.campaign.model_copy(
            update={"method": "VASP, PBE, 450 eV", "fingerprint": None}
        ),
    )
    text = Page(render_report(data)).text
    assert "not DFT" not in text
    assert "real alloy" not in text


def test_the_validation_of_another_potential_is_stated(
    full: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "render", draw_only)
    other = full.validations[0].model_copy(update={"potential_id": "1f6d9e0b77c2a410"})
    assert (
        "the following results are of potential 1f6d9e0b77c2a410"
        in Page(render_report(replace(full, validations=[other]))).text
    )
    assert "the following results are of" not in Page(render_report(full)).text


def test_a_campaign_without_results(empty: ReportData) -> None:
    text = Page(render_report(empty)).text
    for missing in (
        "No sample has been relaxed",
        "The supercooling clock has not been fitted yet",
        "No frame has been labelled yet",
        "No potential has been trained yet",
        "No validation of a potential has been stored yet",
        "its cost is unknown",
    ):
        assert missing in text
    assert "<figure" not in render_report(empty)


def test_failed_feedback_is_stated(without_feedback: ReportData) -> None:
    text = Page(render_report(without_feedback)).text
    assert "There is no potential after the feedback step" in text
    assert "The dataset has no frames of the subsets MLIP feedback." in text
    assert "2 fireworks failed (FIZZLED in the database)" in text
    assert "quench: The cell collapsed." in text
    assert "2 failed, 26 waiting" in text
    assert "paper's split: not trained" in text


@pytest.mark.parametrize(
    "field",
    [
        "samples",
        "supercooling",
        "frames",
        "relaxations",
        "datasets",
        "potentials",
        "quenches",
        "validations",
        "costs",
    ],
)
def test_any_part_may_be_missing(
    full: ReportData, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "render", draw_only)
    Page(render_report(replace(full, **{field: None if field == "supercooling" else []})))


def test_names_are_escaped(empty: ReportData) -> None:
    data = replace(
        empty,
        campaign=empty.campaign.model_copy(
            update={"campaign": "<script>x</script>", "method": "a < b & c"}
        ),
    )
    page = Page(render_report(data))
    assert "script" not in page.tags
    assert "<script>x</script>" in page.text


def test_a_failed_write_keeps_the_old_report(
    empty: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(ServiceError, match="No space left"):
        write_report(empty, path)
    assert path.read_text() == "old"
    assert [other.name for other in tmp_path.iterdir()] == ["report.html"]


def test_without_jinja2_the_extra_is_named(
    empty: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[report\]"):
        write_report(empty, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
