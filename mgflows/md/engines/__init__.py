"""Programs that integrate the motion of atoms: ASE, LAMMPS and GPUMD behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.md.engines.ase import AseEngine
    from mgflows.md.engines.base import Engine, Run, RunPausedError
    from mgflows.md.engines.choice import fastest_engine
    from mgflows.md.engines.gpumd import GpumdEngine
    from mgflows.md.engines.lammps import LammpsEngine

__all__ = [
    "AseEngine",
    "Engine",
    "GpumdEngine",
    "LammpsEngine",
    "Run",
    "RunPausedError",
    "fastest_engine",
]

__getattr__ = lazy_names(
    __name__,
    {
        "AseEngine": "mgflows.md.engines.ase",
        "Engine": "mgflows.md.engines.base",
        "GpumdEngine": "mgflows.md.engines.gpumd",
        "LammpsEngine": "mgflows.md.engines.lammps",
        "Run": "mgflows.md.engines.base",
        "RunPausedError": "mgflows.md.engines.base",
        "fastest_engine": "mgflows.md.engines.choice",
    },
)
