"""The package as a whole: imports, layers, lint and types, versions, and the README's commands."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mgflows
from mgflows import errors
from mgflows.errors import MissingDependencyError, install_command, require

ROOT = Path(__file__).parents[1]


def test_importing_mgflows_loads_no_heavy_package():
    code = "import sys, mgflows; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "torch",
        "jobflow",
        "fireworks",
        "pymongo",
        "pymatgen",
        "numba",
        "matplotlib",
        "pydantic",
        "scipy",
        "ase",
    }
    assert not heavy & set(re.findall(r"'(\w+)'", loaded))


def test_help_loads_no_heavy_package():
    code = (
        "import sys, mgflows.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "finally: print(sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "quickstart" in loaded
    assert not {"torch", "jobflow", "fireworks", "pymongo", "pymatgen", "numba", "rich"} & set(
        re.findall(r"'(\w+)'", loaded)
    )


def test_the_layers_hold():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def test_no_test_imports_from_another_test():
    """What several tests need is in tests/helpers."""
    foreign = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            foreign += [
                f"{path.relative_to(ROOT)}: {module}"
                for module in modules
                if re.match(r"(tests\.)?(\w+\.)*(test_\w+|conftest)$", module)
            ]
    assert foreign == []


def test_the_code_is_lint_and_type_clean():
    for command in (["ruff", "check", "."], ["mypy"]):
        result = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_continuous_integration_runs_the_test_command_of_the_readme(tmp_path):
    (tmp_path / ".ci").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    script = tmp_path / "scripts" / "install-system-packages"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    line = 'scripts/install-system-packages --test && echo "ran $MGFLOWS_TEST_ALL $0"'
    (tmp_path / "README.md").write_text(f"## Test it\n\n```sh\n{line}\n```\n\n## Use it\n")
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.splitlines() == [f"+ {line}", "ran 1 bash"]


@pytest.mark.parametrize(
    ("section", "start", "end"),
    [
        ("Try it", "scripts/install-system-packages && ", "&& mgflows quickstart --directory "),
        ("Test it", "scripts/install-system-packages --test && ", "&& pytest "),
    ],
)
def test_each_command_of_the_readme_sets_up_all_it_needs(section, start, end):
    found = re.findall(rf"## {section}\n+```sh\n(.+)\n```", (ROOT / "README.md").read_text())
    assert len(found) == 1
    assert found[0].startswith(f"{start}python3 -m venv .venv && . .venv/bin/activate && ")
    assert 'pip install -c constraints.txt -e ".[' in found[0]
    assert end in found[0]


def test_a_missing_extra_is_named():
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("report"))):
        require("no_such_package_at_all", "report", "drawing")


def test_the_command_that_installs_an_extra_works_from_a_clone_and_from_a_wheel(
    monkeypatch, tmp_path
):
    command = shlex.split(install_command("md"))
    assert command == ["pip", "install", "-c", f"{ROOT}/constraints.txt", "-e", f"{ROOT}[md]"]
    # Of an installed wheel pip records the origin.
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "mgflows" / "errors.py"))
    wheel = f"mgflows-{mgflows.__version__}-py3-none-any.whl"
    recorded = {"url": f"file:///my%20wheels/{wheel}", "archive_info": {}}
    for text, path in ((json.dumps(recorded), f"/my wheels/{wheel}"), (None, wheel)):
        fake = SimpleNamespace(version=mgflows.__version__, read_text=lambda _, text=text: text)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _, fake=fake: fake)
        expected = ["pip", "install", "-c", "constraints.txt", f"{path}[md]"]
        assert shlex.split(install_command("md")) == expected


def test_nothing_proposes_to_install_mgflows_from_pypi():
    """It is not there: commands name the clone or the wheel."""
    wrong = re.compile(r"pip install (-\S+ |constraints\.txt )*['\"]?mgflows(?!-\d)")
    for folder, pattern in (
        ("mgflows", "*.py"),
        ("docs", "*.md"),
        (".", "*.md"),
        ("tests", "*.py"),
    ):
        for path in (ROOT / folder).glob(pattern if folder == "." else f"**/{pattern}"):
            assert not wrong.search(path.read_text(encoding="utf-8")), path


def test_the_version_is_defined_once():
    version = re.compile(rf"\b{re.escape(mgflows.__version__)}\b")
    assert version.search((ROOT / "CHANGELOG.md").read_text())
    assert not re.search(r'^version\s*=\s*"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_every_entry_of_the_command_line_exists():
    import importlib

    from mgflows.cli.main import _COMMANDS

    for target, _ in _COMMANDS.values():
        module, _, attribute = target.partition(":")
        assert hasattr(importlib.import_module(module), attribute), target


def test_lazy_names_are_those_promised():
    assert mgflows.CampaignMaker.__name__ == "CampaignMaker"
    assert mgflows.GlassDatabase.__name__ == "GlassDatabase"
    with pytest.raises(AttributeError, match="no_such_name"):
        mgflows.no_such_name  # noqa: B018
