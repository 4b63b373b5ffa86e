"""Every message that the page *Troubleshooting* quotes is a message of the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how_to" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """All texts of the package, with … for what is inserted into them."""
    found = []
    for path in (ROOT / "mgflows").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sd]", "…", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                ]
                found.append("".join(parts))
    return found


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_source(quoted: str, messages: list[str]) -> None:
    assert any(quoted in message for message in messages), quoted


def test_the_page_has_the_messages_of_every_stage() -> None:
    assert len(QUOTED) > 40
    assert len(set(QUOTED)) == len(QUOTED)
