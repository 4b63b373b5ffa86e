"""The Python examples of the pages on label codes, run unchanged."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from ase.build import bulk

from mgflows import CampaignMaker
from mgflows.cli.main import cli
from mgflows.jobs.labels import AseLabelMaker

DOCS = Path(__file__).parents[2] / "docs"


def run(page, **names):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), names)
    return names


@pytest.mark.parametrize(
    ("page", "method"),
    [
        ("how_to/gpaw.md", "GpawMethod"),
        ("how_to/dft_codes.md", "EspressoMethod"),
        ("how_to/vasp.md", "VaspMethod"),
    ],
)
def test_the_campaign_of_a_page_is_labelled_by_its_code(page, method):
    campaign = run(page)["campaign"]
    assert isinstance(campaign, CampaignMaker)
    makers = (
        campaign.label_maker.label_maker,
        campaign.label_maker.relax_maker,
        campaign.label_maker.heating_maker,
        campaign.feedback_maker.label_maker,
    )
    assert {type(maker.method).__name__ for maker in makers} == {method}
    assert not campaign.label_maker.label_sets


def test_a_maker_alone_has_the_method_of_the_page():
    maker = run("how_to/dft_codes.md")["label_maker"]
    assert isinstance(maker, AseLabelMaker)
    assert type(maker.method).__name__ == "Cp2kMethod"


def test_the_stand_in_labels_atoms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atoms = bulk("Cu", a=3.615)
    run("concepts/stand_in.md", atoms=atoms)
    assert atoms.get_potential_energy() == pytest.approx(-3.540, abs=1e-3)
    assert Path("stand_in.eam.alloy").stat().st_size > 1000


@pytest.mark.parametrize("page", ["gpaw", "dft_codes", "vasp"])
def test_the_commands_of_a_page_exist(page):
    """Each is parsed as the command line parses it."""
    text = (DOCS / "how_to" / f"{page}.md").read_text()
    lines = re.findall(r"(?m)^(?:\$ )?mgflows .*$|`mgflows [^`]+`", text)
    assert lines
    for line in lines:
        name, *words = line.strip("`$ ").split()[1:]
        context = click.Context(cli)
        command = cli.get_command(context, name)
        assert command is not None, line
        command.make_context(name, words, parent=context)
