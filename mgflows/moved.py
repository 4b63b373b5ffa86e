"""Old import paths of version 0.1.

Documents, fireworks and campaigns in the database name the class that made them by module and
class. The tables here keep them readable, and keep imports of version 0.1 working, with a
DeprecationWarning.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

__all__ = ["MODULES", "NAMES", "install", "renamed"]

MODULES = {
    "mgflows.flows.dft": "mgflows.flows.labels",
    "mgflows.jobs.aimd": "mgflows.jobs.heating",
    "mgflows.jobs.cp2k": "mgflows.jobs.retired",
    "mgflows.jobs.espresso": "mgflows.jobs.retired",
    "mgflows.jobs.gpaw": "mgflows.jobs.retired",
    "mgflows.jobs.vasp_outputs": "mgflows.methods.vasp.outputs",
    "mgflows.launch.configuration": "mgflows.machine.configuration",
    "mgflows.launch.conflicts": "mgflows.machine.stray_configuration",
    "mgflows.launch.doctor": "mgflows.machine.doctor",
    "mgflows.launch.failures": "mgflows.database.failures",
    "mgflows.launch.findings": "mgflows.launch.checks",
    "mgflows.launch.forecast": "mgflows.database.forecast",
    "mgflows.launch.local": "mgflows.machine.local",
    "mgflows.launch.mongod": "mgflows.machine.mongod",
    "mgflows.launch.patience": "mgflows.launch.retries",
    "mgflows.launch.progress": "mgflows.database.progress",
    "mgflows.launch.queues": "mgflows.recovery.queues",
    "mgflows.launch.recovery": "mgflows.recovery.repairs",
    "mgflows.nep.tethered": "mgflows.subprocesses",
    "mgflows.sets": None,
    "mgflows.sets.ase": "mgflows.methods.ase",
    "mgflows.sets.convergence": "mgflows.methods.convergence",
    "mgflows.sets.cp2k": "mgflows.methods.cp2k",
    "mgflows.sets.espresso": "mgflows.methods.espresso",
    "mgflows.sets.gpaw": "mgflows.methods.gpaw",
    "mgflows.sets.method": "mgflows.methods.base",
    "mgflows.sets.programs": "mgflows.methods.programs",
    "mgflows.sets.vasp": "mgflows.methods.vasp.method",
    "mgflows.sets.vasp_inputs": "mgflows.methods.vasp.inputs",
    "mgflows.structures.fitness": "mgflows.surrogate.correlation",
    "mgflows.surrogate.cell_kernels": "mgflows.surrogate.kernels.cells",
    "mgflows.surrogate.forces": "mgflows.surrogate.kernels.forces",
    "mgflows.surrogate.image_kernels": "mgflows.surrogate.kernels.images",
    "mgflows.surrogate.relaxation": "mgflows.surrogate.alpha_relaxation",
    "mgflows.surrogate.replica_kernels": "mgflows.surrogate.kernels.replicas",
    "mgflows.surrogate.replica_rows": "mgflows.surrogate.kernels.replicas",
    "mgflows.surrogate.rows": "mgflows.surrogate.kernels.simd",
    "mgflows.surrogate.systems": "mgflows.surrogate.kernels.layouts",
    "mgflows.validation.checkpoint": "mgflows.checkpoints",
    "mgflows.validation.langevin": "mgflows.md.langevin",
    "mgflows.validation.minimise": "mgflows.structures.relaxation",
    "mgflows.validation.quench": "mgflows.md.quench",
}
"""Old module to the module that replaces it; None for a package without content."""

NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "mgflows.database.failures": {"Category": ("mgflows.errors", "ErrorCategory")},
    "mgflows.database.progress": {
        "read_progress": ("mgflows.database.progress", "campaign_progress")
    },
    "mgflows.jobs.sampling": {
        "SupercoolingMaker": ("mgflows.jobs.clock", "SupercoolingMaker"),
        "SurrogateMDMaker": ("mgflows.jobs.clock", "SurrogateMDMaker"),
    },
    "mgflows.launch": {
        "LocalLauncher": ("mgflows.machine.local", "LocalLauncher"),
        "PrivateMongod": ("mgflows.machine.mongod", "PrivateMongod"),
        "Progress": ("mgflows.database.progress", "Progress"),
        "Recovery": ("mgflows.recovery.steps", "Recovery"),
        "read_progress": ("mgflows.database.progress", "campaign_progress"),
        "recover": ("mgflows.recovery.repairs", "recover"),
    },
    "mgflows.schemas.labels": {
        "LabelSetDocument": ("mgflows.schemas.labels", "LabelDocument"),
    },
}
"""Existing module to its old names, each with the module and the name that replace it."""


class _MovedModule(Loader):
    """Put the new module under the old name."""

    def __init__(self, new: str | None) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> None:  # noqa: ARG002
        return None

    def exec_module(self, module: ModuleType) -> None:
        if self._new is not None:
            # The import system returns what is in sys.modules: each class then exists only once.
            sys.modules[module.__name__] = importlib.import_module(self._new)


class _MovedFinder(MetaPathFinder):
    """Consulted last: only for modules that no longer exist."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        new = MODULES[fullname]
        # An empty search path makes the import system use this finder for the members as well.
        spec = ModuleSpec(fullname, _MovedModule(new), is_package=new is None)
        if new is not None:
            _warn(fullname, new)
        return spec


def install() -> None:
    """Make the old module names importable; a second call changes nothing."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())


def renamed(module: str) -> Callable[[str], Any]:
    """Return a module ``__getattr__`` (PEP 562) for the names of version 0.1 in :data:`NAMES`.

    Parameters
    ----------
    module
        ``__name__`` of the module.
    """
    names = NAMES.get(module, {})

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, new_name = names[name]
        _warn(f"{module}.{name}", f"{new_module}.{new_name}")
        return getattr(importlib.import_module(new_module), new_name)

    return load


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
