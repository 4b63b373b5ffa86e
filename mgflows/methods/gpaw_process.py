"""GPAW as a separate process: ``python -m mgflows.methods.gpaw_process``, on any number of ranks.

It reads JSON lines from standard input, the settings first and then one geometry per line, and
writes one line per geometry to standard output. It ends with its input. The process is controlled
by :class:`mgflows.methods.gpaw.GpawCalculator`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

MARK = "mgflows:"
"""Start of each line that is an answer."""

_MIXING = 0.005
"""Mixing of the density: a tenth of GPAW's default first step (MSR1 mixer, GPAW 26)."""


class Session:
    """One calculator for the geometries of one job.

    Parameters
    ----------
    parameters
        Arguments of ``gpaw.GPAW``.
    log_file
        GPAW's own log, which is appended to when the calculator is rebuilt.
    """

    def __init__(self, parameters: dict[str, Any], log_file: str) -> None:
        self._parameters = parameters
        self._log_file = log_file
        self._calculator: Any = None

    def answer(self, atoms: Atoms) -> dict[str, Any]:
        """Results in eV and A, or the error in one sentence and its category."""
        from gpaw import KohnShamConvergenceError
        from gpaw.new.symmetry import SymmetryBrokenError

        corrections = []
        try:
            try:
                results = self._results(atoms, self._parameters)
            except SymmetryBrokenError:
                # The atoms have moved out of a symmetry that the first geometry had.
                self._parameters["symmetry"] = {"point_group": False}
                self._calculator = None
                results = self._results(atoms, self._parameters)
        except KohnShamConvergenceError:
            steps = self._parameters["maxiter"]
            corrections.append(
                f"not self-consistent after {steps} steps: second attempt with mixing {_MIXING:g} "
                f"and up to {2 * steps} steps"
            )
            self._calculator = None
            try:
                results = self._results(
                    atoms,
                    self._parameters
                    | {
                        "mixer": {"name": "msr1", "beta": _MIXING, "nmaxold": 10},
                        "maxiter": 2 * steps,
                    },
                )
            except KohnShamConvergenceError:
                return {
                    "error": f"the electronic self-consistency did not converge in {steps} steps, "
                    f"nor with smaller mixing in {2 * steps}",
                    "category": "not-converged",
                }
            finally:
                self._calculator = None
        except MemoryError as error:
            return {
                "error": f"GPAW is out of memory: {error or 'an allocation failed'}; "
                "give the job more memory or more nodes",
                "category": "out-of-memory",
            }
        return results | {"corrections": corrections}

    def _results(self, atoms: Atoms, parameters: dict[str, Any]) -> dict[str, Any]:
        from ase.units import Hartree
        from gpaw import GPAW

        if self._calculator is None:
            with open(self._log_file, "a", encoding="utf-8") as log:
                log.write("\n")
            self._calculator = GPAW(**parameters, txt=self._log_file)
        calculator = self._calculator
        free_energy = float(calculator.get_potential_energy(atoms, force_consistent=True))
        dft = calculator.dft
        return {
            "free_energy": free_energy,
            "energy": float(calculator.get_potential_energy(atoms)),
            "forces": calculator.get_forces(atoms).tolist(),
            "stress": calculator.get_stress(atoms).tolist(),
            "scf_steps": int(dft.scf_loop.niter),
            "k_mesh": [int(size) for size in dft.ibzwfs.ibz.bz.size_c],
            "cutoff": float(next(iter(dft.ibzwfs)).psit_nX.desc.ecut * Hartree),
        }


def main() -> None:
    """Answer requests until the input ends."""
    from ase import Atoms
    from gpaw.mpi import broadcast, world

    def receive() -> dict[str, Any] | None:
        message = sys.stdin.readline() if world.rank == 0 else None
        message = broadcast(message, 0, comm=world)
        return json.loads(message) if message else None

    def send(message: dict[str, Any]) -> None:
        if world.rank == 0:
            sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
            sys.stdout.flush()

    settings = receive()
    if settings is None:
        return
    session = Session(settings["parameters"], settings["log_file"])
    send({"ranks": world.size})
    while (geometry := receive()) is not None:
        send(
            session.answer(
                Atoms(
                    settings["symbols"],
                    positions=geometry["positions"],
                    cell=geometry["cell"],
                    pbc=True,
                )
            )
        )


if __name__ == "__main__":
    main()
