"""Hook of mkdocs: one page of the API reference per package of mgflows, and one of all commands.

The pages are generated, so that a new module appears without being listed. A new package has to be
added to ``nav`` in mkdocs.yml; the strict build names it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import click
from mkdocs.structure.files import File

from mgflows.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

# The command line has its own help; the benchmarks and compiled kernels are no interface.
_LEFT_OUT = {"bench", "cli", "kernels"}
_COMMANDS = (
    "The help of every command. What they share, such as `-C`, `--json` and exit codes, is in "
    "[Command line](../command_line.md)."
)
_TOP_LEVEL = ("alloy", "units", "errors", "settings", "connections")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``reference/api/PACKAGE.md`` for every package, and one for the top-level modules."""
    root = Path(config.config_file_path).parent / "mgflows"
    summary = "Compositions, units, errors, settings and connections."
    pages = {"mgflows": _page("mgflows", summary, [f"mgflows.{name}" for name in _TOP_LEVEL])}
    for path in sorted(root.glob("*/__init__.py")):
        package = path.parent
        if package.name not in _LEFT_OUT:
            name = f"mgflows.{package.name}"
            pages[package.name] = _page(name, _docstring(path), _modules(package, name))
    pages["commands"] = "\n\n".join(["# Commands", _COMMANDS, *_helps(cli, None, "mgflows")])
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/api/{name}.md", content=text))
    return files


def _page(title: str, summary: str, modules: list[str]) -> str:
    return "\n\n".join([f"# {title}", summary, *(f"::: {module}" for module in modules)]) + "\n"


def _helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """The help of a command, or of all commands of a group."""
    context = click.Context(command, parent=parent, info_name=name, max_content_width=80)
    context.terminal_width = 80
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _helps(found, context, each)
    else:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"


def _modules(package: Path, name: str) -> list[str]:
    """Dotted names of the public modules below a package, those of its sub-packages last."""
    found = [f"{name}.{path.stem}" for path in sorted(package.glob("*.py")) if path.stem[0] != "_"]
    for path in sorted(package.glob("*/__init__.py")):
        if path.parent.name not in _LEFT_OUT:
            found += _modules(path.parent, f"{name}.{path.parent.name}")
    return found


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
