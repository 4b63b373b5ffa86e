"""Files of the repository: links, workflows and the supported Python versions."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import mgflows
from mgflows import errors

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")
# Pages in docs/ are checked by the build of the site.
FRONT = [*ROOT.glob("*.md"), ROOT / "launcher_configs" / "README.md"]

ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.MgflowsError)
}
EXPLANATIONS = (
    "PMG_VASP_PSP_DIR is",
    "a NEP ",
    "a k-mesh needs",
    "a label needs",
    "a stress that",
    "a test on",
    "a validation is",
    "it has ",
    "its files are",
    "its output ends",
    "mgflows evaluates",
    "only NEP version 4",
    "the file is",
    "the potential ",
    "there is no",
    "this is not",
    "training.log ends",
    "two of its",
    "{} are ",
    "{} give ",
)
"""How a second clause of an error message begins; a remedy is the hint."""


@pytest.mark.parametrize("page", FRONT, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


def test_files_that_the_contribution_guide_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:mgflows|tests|docs|scripts)/[\w/.-]+)`", text)
    assert len(named) > 10
    written = [name for name in named if name.isupper() or "PROPERTY" in name]
    assert [name for name in set(named) - set(written) if not (ROOT / name).exists()] == []


def test_continuous_integration_covers_the_supported_versions_of_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert set(workflow["jobs"]) == {"lint", "tests", "docs", "wheel"}
    tests = workflow["jobs"]["tests"]
    assert tests["steps"][-1]["run"] == ".ci/run"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    assert tests["strategy"]["matrix"]["python"] == [
        classifier.removeprefix(prefix)
        for classifier in project["classifiers"]
        if classifier.startswith(prefix)
    ]


@pytest.mark.parametrize(
    "template",
    sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")),
    ids=lambda path: path.stem,
)
def test_issue_templates_are_complete(template: Path) -> None:
    form = yaml.safe_load(template.read_text())
    if template.stem == "config":
        assert all({"name", "url", "about"} == set(link) for link in form["contact_links"])
        return
    assert {"name", "description", "body"} <= set(form)
    assert all(entry["type"] in ("textarea", "checkboxes") for entry in form["body"])
    assert all(entry["attributes"]["label"] for entry in form["body"])


def test_prose_in_markdown_has_lines_of_at_most_100_columns() -> None:
    """Code, tables, links and images may be longer."""
    long = []
    for page in [*FRONT, *(ROOT / "docs").rglob("*.md")]:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        long += [
            f"{page.relative_to(ROOT)}: {line}"
            for line in prose.splitlines()
            if len(line) > 100 and not line.lstrip().startswith(("|", ">", "<", "!["))
        ]
    assert long == []


def test_documentation_pages_that_the_code_names_exist() -> None:
    named = {
        (page, str(path.relative_to(ROOT)))
        for folder in ("mgflows", "tests", "docs", "launcher_configs", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml", ".j2", ""} and path.is_file()
        for page in re.findall(r"\bdocs/[\w/]+\.(?:md|py)\b", path.read_text(errors="ignore"))
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name[0]).exists()] == []


def test_the_metadata_of_a_release_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert citation["version"] == mgflows.__version__
    assert zenodo["title"] == citation["title"]
    assert zenodo["license"] == citation["license"]
    assert zenodo["keywords"] == citation["keywords"]
    assert zenodo["creators"] == [{"name": author["name"]} for author in citation["authors"]]


def test_the_site_is_published_by_version() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8"))
    steps = {step.get("if"): step["run"] for step in workflow["jobs"]["publish"]["steps"][4:]}
    assert steps["github.ref_type == 'branch'"] == "mike deploy --push dev"
    assert (
        'mike deploy --push --update-aliases "${version%.*}" stable'
        in (steps["github.ref_type == 'tag'"])
    )
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["extra"]["version"] == {"provider": "mike", "default": "stable"}


def test_errors_carry_their_remedy_as_a_hint() -> None:
    remedies = []
    n_messages = 0
    for path in sorted((ROOT / "mgflows").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and call.args):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
            if (name.id if isinstance(name, ast.Name) else name) not in ERRORS:
                continue
            message = _literal_text(call.args[0])
            n_messages += bool(message)
            remedies += [
                f"{path.relative_to(ROOT)}:{call.lineno}: {clause}"
                for clause in message.split("; ")[1:]
                if not clause.startswith(EXPLANATIONS)
            ]
    assert n_messages > 500
    assert remedies == []


def _literal_text(node: ast.expr) -> str:
    """The text of a literal, with ``{}`` for what a formatted one inserts."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in parts)
