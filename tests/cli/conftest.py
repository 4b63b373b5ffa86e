"""The command line, run in this process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mgflows.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in an empty directory.

    Returns exit code, standard output, and standard error in one line. ``run.here`` runs it in the
    current directory.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def here(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, re.sub(r"\s+", " ", captured.err)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        return here(*arguments)

    run.here = here  # type: ignore[attr-defined]
    return run
