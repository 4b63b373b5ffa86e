"""Programs that integrate the motion of atoms: ASE, LAMMPS and GPUMD behind one interface."""

from __future__ import annotations

from mgflows.lazy import lazy_names

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
