"""Glasses quenched with a trained potential: the structures of the feedback stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from jobflow import job

from mgflows.errors import InputError, PotentialFailureError
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.worker import nep_device
from mgflows.md.exchanges import ExchangeSettings  # noqa: TC001 (get_type_hints)
from mgflows.md.frame_limits import FrameLimits
from mgflows.schemas.labels import atoms_from_structure, structure_from_atoms
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.validation import ExchangeCount, QuenchDocument, QuenchTrace, RefusedFrame

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

    from mgflows.md.quench import PathFrame, QuenchResult

__all__ = ["QuenchMaker"]

_CANDIDATES = 2
"""Configurations taken per requested frame."""


@dataclass
class QuenchMaker(StoredMaker):
    """Melt and quench with a trained NEP (paper, section II, subset vii).

    Parameters
    ----------
    name
        Name of the jobs.
    temperature_high, temperature_low
        K (paper, section III: 2000 to 300 K).
    equilibration_time
        ps in the melt before cooling.
    timestep
        fs.
    n_frames
        Configurations to label: a third in the melt, the others while it cools, the last at the
        end. 1: only the final glass, as in the paper, which improves a potential less
        (docs/how_to/training.md).
    limits
        Configurations outside are refused before they are labelled.
    exchanges
        Monte Carlo exchanges of unlike atoms between the steps, for deeper glasses at the same
        cooling rate; None: dynamics alone, as in the paper.
    """

    name: str = "quench"
    temperature_high: float = 2000.0
    temperature_low: float = 300.0
    equilibration_time: float = 2.0
    timestep: float = 2.0
    n_frames: int = 16
    limits: FrameLimits = field(default_factory=FrameLimits)
    exchanges: ExchangeSettings | None = None

    retired: ClassVar[tuple[str, ...]] = ("scaled_down",)

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise InputError(f"n_frames is {self.n_frames} but must be at least 1: the final glass")

    @job(data="structures", output_schema=QuenchDocument)
    def make(
        self, structure: Structure, nep_txt: str, potential_id: str, cooling_rate: float, seed: int
    ) -> QuenchDocument:
        """Quench one structure.

        Parameters
        ----------
        structure
            Starting structure; the melt keeps no memory of it.
        nep_txt
            The potential.
        potential_id
            Its hash.
        cooling_rate
            K/ps; the paper's 1000, 100 and 10 K/ns are 1, 0.1 and 0.01 K/ps.
        seed
            Seed of velocities and noise.

        Raises
        ------
        PotentialFailureError
            If the melt evaporates or collapses, the quench does not end in a glass
            (:func:`mgflows.md.quench.check_glass`), or more than half of the configurations are
            outside the limits: such structures are not labelled.
        """
        from mgflows.md import protocols
        from mgflows.md.engines import AseEngine
        from mgflows.md.potentials import NepPotential
        from mgflows.md.quench import NPTSettings, check_glass, quench
        from mgflows.nep.calculator import nep_calculator

        device = nep_device()
        settings = maker_settings(
            self, potential_id=potential_id, cooling_rate=cooling_rate, nep_device=device
        )
        with record_provenance(
            seed=seed, settings=settings, packages=("nep-adapters", "calorine")
        ) as provenance:
            calculator = nep_calculator(nep_txt, device)
            engine = self.exchanges and AseEngine(
                NepPotential(nep_txt, device), exchanges=self.exchanges
            )
            result = quench(
                atoms_from_structure(structure),
                engine or calculator,
                protocols.quench(
                    temperature_high=self.temperature_high,
                    temperature_low=self.temperature_low,
                    equilibration_time=self.equilibration_time,
                    cooling_rate=cooling_rate,
                    n_path_frames=_CANDIDATES * self.n_frames,
                ),
                npt=NPTSettings(timestep=self.timestep),
                seed=seed,
                progress=JobProgress("steps"),
            )
            check_glass(result, calculator)
            frames, refused = self._choose(result, calculator)
        trace = result.trace
        return QuenchDocument(
            structure=structure_from_atoms(result.atoms),
            structures=[structure_from_atoms(frame.atoms) for frame in frames],
            times=[frame.time for frame in frames],
            temperatures=[frame.temperature for frame in frames],
            refused=refused,
            exchanges=self._counts(result),
            potential_id=potential_id,
            cooling_rate=cooling_rate,
            temperature_high=self.temperature_high,
            temperature_low=self.temperature_low,
            density=float(trace.density[-1]),
            trace=QuenchTrace(
                time=trace.time.tolist(),
                temperature=trace.temperature.tolist(),
                density=trace.density.tolist(),
                energy=trace.potential_energy.tolist(),
            ),
            provenance=provenance,
        )

    def _counts(self, result: QuenchResult) -> list[ExchangeCount]:
        if self.exchanges is None or result.exchanges is None:
            return []
        pairs = self.exchanges.pairs_of(result.atoms.get_chemical_symbols())
        return [
            ExchangeCount(elements=pair, trials=trials, accepted=accepted)
            for pair, (trials, accepted) in zip(pairs, result.exchanges.tolist(), strict=True)
        ]

    def _choose(
        self, result: QuenchResult, calculator: Calculator
    ) -> tuple[list[PathFrame], list[RefusedFrame]]:
        """Choose the requested number of configurations within the limits, evenly spaced."""
        allowed, refused = [], []
        for frame in result.path:
            atoms = frame.atoms.copy()
            atoms.calc = calculator
            if found := self.limits.violations(atoms):
                refused.append(
                    RefusedFrame(
                        time=frame.time, temperature=frame.temperature, reason="; ".join(found)
                    )
                )
            else:
                allowed.append(frame)
        if len(allowed) < self.n_frames:
            first = f", the first at {refused[0].temperature:.0f} K: {refused[0].reason}"
            raise PotentialFailureError(
                f"{len(refused)} of the {len(result.path)} configurations of the quench are "
                f"implausible{first if refused else ''}; {self.n_frames} are required",
                hint="train longer or label more, or lower n_frames",
            )
        # From the end, so that the glass is one of them.
        spacing = len(allowed) / self.n_frames
        chosen = [
            len(allowed) - 1 - int(spacing * number) for number in reversed(range(self.n_frames))
        ]
        return [allowed[index] for index in chosen], refused
