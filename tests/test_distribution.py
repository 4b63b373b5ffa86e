"""Wheel and source distribution: built, checked, and used from a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
import yaml

import mgflows

ROOT = Path(__file__).parents[1]

READ_DATA = """
from pathlib import Path

import mgflows
from mgflows.eam.zhou2004 import zhou_elements
from mgflows.structures.crystals import crystal_prototypes

assert len(zhou_elements()) == 16
assert len(crystal_prototypes(["Cu", "Zr", "Al"])) == 48
print(Path(mgflows.__file__).parent)
"""


def run(*command: str | Path, cwd: Path) -> str:
    # A PYTHONPATH of the tests would have the repository imported instead of the wheel.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def environment(distributions, tmp_path_factory) -> Path:
    """An environment with the wheel; its dependencies are those of the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = distributions.glob("*.whl")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    packages = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    )
    # Searched after the environment's own packages. The .pth files there, among them that of an
    # editable mgflows, are not read.
    dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (Path(packages.strip()) / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return folder


@pytest.mark.slow
def test_both_pass_the_checks_of_the_package_index(distributions) -> None:
    files = sorted(distributions.iterdir())
    assert [file.name for file in files] == [
        f"mgflows-{mgflows.__version__}-py3-none-any.whl",
        f"mgflows-{mgflows.__version__}.tar.gz",
    ]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=distributions)


@pytest.mark.slow
def test_the_source_distribution_has_what_builds_and_tests_it(distributions) -> None:
    (file,) = distributions.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "CITATION.cff",
        "README.md",
        "constraints.txt",
        "docs/index.md",
        "launcher_configs/slurm/mgflows.yaml",
        "mkdocs.yml",
        "scripts/install-system-packages",
        "tests/test_distribution.py",
    } <= names


@pytest.mark.slow
def test_the_installed_wheel_works_and_has_its_data(environment) -> None:
    version = run(environment / "bin" / "mgflows", "--version", cwd=environment)
    assert version.strip() == f"mgflows, version {mgflows.__version__}"
    python = environment / "bin" / "python"
    package = Path(run(python, "-c", READ_DATA, cwd=environment).strip())
    assert package.is_relative_to(environment)
    data = sorted(
        path.relative_to(ROOT / "mgflows").as_posix()
        for path in (ROOT / "mgflows").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    )
    assert {"bench/swap_monte_carlo.c", "report/report.html.j2", "py.typed"} <= set(data)
    assert [name for name in data if not (package / name).is_file()] == []


@pytest.mark.slow
def test_the_installed_wheel_has_the_launcher_configurations(environment) -> None:
    shared = environment / "share" / "mgflows" / "launcher_configs"
    ours = ROOT / "launcher_configs"
    names = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file())
    assert sorted(path.relative_to(shared) for path in shared.rglob("*") if path.is_file()) == names
    for name in names:
        assert (shared / name).read_bytes() == (ours / name).read_bytes()


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == mgflows.__version__
    assert citation["license"] == "BSD-3-Clause"
    assert (
        f"## [{citation['version']}] - {citation['date-released']}"
        in (ROOT / "CHANGELOG.md").read_text()
    )
    (paper,) = citation["references"]
    assert paper["title"].startswith("Efficient training of machine learning potentials")
    assert len(paper["authors"]) == 7
