"""Rules of CONTRIBUTING.md that ruff and import-linter do not check."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import mgflows

PACKAGE = Path(mgflows.__file__).parent
MOST_PARAMETERS = 8
COMPILED = ("njit", "inline", "intrinsic", "lru_cache", "jit")
"""Decorators of kernels: they take arrays one by one, since numba compiles no dataclasses."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(PACKAGE.parent)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def decorators(function: Function) -> list[str]:
    return [ast.unparse(each).split("(")[0] for each in function.decorator_list]


def is_command(function: Function) -> bool:
    """Whether click calls it: its options are its parameters."""
    return any(name.startswith("click.") for name in decorators(function))


def is_compiled(function: Function) -> bool:
    return any(name.rpartition(".")[2] in COMPILED for name in decorators(function))


def parameters(function: Function) -> list[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def test_functions_take_at_most_eight_arguments() -> None:
    """More are a settings dataclass."""
    long = {
        f"{name}:{node.lineno} {node.name}": len(parameters(node))
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and len(parameters(node)) > MOST_PARAMETERS
        and not is_command(node)
        and not is_compiled(node)
    }
    assert long == {}


def test_modules_import_public_names_of_each_other() -> None:
    private = [
        f"{name}:{node.lineno} {node.module}.{alias.name}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mgflows")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert private == []


def test_lines_are_fitted_in_one_module() -> None:
    found = [name for name, tree in trees().items() if "polyfit" in ast.dump(tree)]
    assert found == ["mgflows/fits.py"]


def imports() -> dict[str, set[str]]:
    """Modules that each module imports anywhere, also in functions and for types."""
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
        for name, tree in trees().items()
    }
    found: dict[str, set[str]] = {}
    for module, tree in modules.items():
        named = {
            name if (name := f"{node.module}.{alias.name}") in modules else str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in modules
            for alias in node.names
        }
        found[module] = named - {module}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(imports()).prepare()
