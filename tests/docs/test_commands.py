"""Commands and options that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mgflows.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
IN_BLOCK = re.compile(r"^(?:\$ )?mgflows (?:-C )?[a-z-]+.*$", re.MULTILINE)
IN_TEXT = re.compile(r"`mgflows [^`]+`|^    mgflows .*$", re.MULTILINE)


def named(page: Path) -> list[str]:
    """The command lines of a page, without prompts, comments and further commands."""
    text = page.read_text()
    found = [line for block in BLOCK.findall(text) for line in IN_BLOCK.findall(block)]
    found += IN_TEXT.findall(BLOCK.sub("", text))
    return [re.split(r"\s#|\||&&|;", " ".join(line.strip("` $").split()))[0] for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_of_a_page_exist(page: Path) -> None:
    for line in named(page):
        command: click.Command | None = cli
        words = line.split()[1:]
        if words[:1] == ["-C"]:
            del words[:2]
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, line
        known = {"-h", "--help"} | {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known, line
