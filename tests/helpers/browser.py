"""Pages in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BROWSER = shutil.which("chromium") or "google-chrome"


def browse(address: str, folder: Path, height: int = 1200) -> tuple[str, Path]:
    """Load a page in Chromium: the document after its scripts, and a picture."""
    picture = folder / "page.png"
    common = [
        _BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size=1200,{height}",
        f"--screenshot={picture}",
        "--dump-dom",
        address,
    ]
    done = subprocess.run(common, capture_output=True, text=True, timeout=300, check=True)
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    return done.stdout, picture


def print_page(address: str, path: Path) -> bytes:
    """Print a page with Chromium's default settings; return the PDF."""
    command = [
        _BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={path.parent / 'profile'}",
        "--no-pdf-header-footer",
        f"--print-to-pdf={path}",
        address,
    ]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    return path.read_bytes()
