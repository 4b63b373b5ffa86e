"""An invented campaign with numbers typical of a small one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Structure

from mgflows.database import FrameRecord
from mgflows.nep.parameters import NepParameters
from mgflows.report import ReportData
from mgflows.report.records import RelaxationRecord, StageCost
from mgflows.schemas.acceptance import AcceptanceRecord, CheckRecord, WorstFrameRecord
from mgflows.schemas.campaign import STAGES, CampaignDocument
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance
from mgflows.schemas.sampling import (
    Acceptance,
    EffectiveTimeRecord,
    SampleDocument,
    SupercoolingDocument,
)
from mgflows.schemas.training import (
    SUBSETS,
    DatasetDocument,
    ErrorStatistics,
    PotentialDocument,
    TrainerRecord,
)
from mgflows.schemas.validation import QuenchDocument, ValidationDocument
from mgflows.structures.order import OrderParameters
from mgflows.surrogate import LennardJones
from mgflows.validation.acceptance import AcceptanceSettings
from mgflows.validation.dimers import DimerCurve
from mgflows.validation.elasticity import ElasticResult, isotropic_moduli
from mgflows.validation.experiments import experiments_for, load_experiments
from mgflows.validation.heat_capacity import HeatCapacityCurve
from mgflows.validation.rdf import RadialDistribution
from mgflows.validation.shear import ShearCurve, ShearResult
from mgflows.validation.suite import GlassProperties, MeltState, ValidationResult
from mgflows.validation.viscosity import ViscosityResult

if TYPE_CHECKING:
    from numpy.random import Generator

METHOD = "stand-in EAM (Zhou-Johnson-Wadley 2004 elements, refitted cross pairs), not DFT"
SCALED_DOWN = (
    "12 samples cooled in at most 10⁵ sweeps instead of 10⁹, 2000 training steps instead of "
    "10⁵ generations"
)
SWEEPS = {1_000: 4, 10_000: 4, 100_000: 4}
FRAMES = {
    "lj_surrogate": 12,
    "dft_minimized": 3,
    "expanded_compressed": 18,
    "distorted": 72,
    "aimd": 240,
    "crystal": 40,
    "mlip_feedback": 4,
}
CENTRES = {
    "lj_surrogate": (-4.72, 36.0),
    "dft_minimized": (-5.03, 0.0),
    "expanded_compressed": (-4.94, 4.0),
    "distorted": (-5.03, 0.0),
    "aimd": (-4.88, 3.0),
    "crystal": (-4.9, 1.0),
    "mlip_feedback": (-5.0, 1.5),
}
PROVENANCE = Provenance(
    created_at="2026-11-23T10:00:00+00:00",
    mgflows_version="0.1.0",
    packages={"ase": "3.29.0", "numpy": "2.4.6", "neppo": "1.0"},
    python="3.11.2",
    host="node7",
    pid=1,
    directory="run",
    wall_seconds=31.0,
    cpu_seconds=30.0,
    seed=7,
)
FINGERPRINT = MethodFingerprint(
    code="ase:mgflows.eam.stand_in_calculator",
    version="0.1.0",
    settings={},
    is_dft=False,
    description=METHOD,
)
ORDER = OrderParameters(
    q6_solid_fraction=0.0,
    structure_factor_max=0.05,
    structure_factor_wavenumber=2.7,
    cna_555_fraction=0.3,
    frank_kasper_fraction=0.02,
    icosahedral_fraction=0.01,
    mean_coordination=13.2,
    neighbour_cutoff=3.9,
    crystalline=False,
    frank_kasper_ordered=False,
)


@pytest.fixture(scope="session")
def campaign() -> CampaignDocument:
    return CampaignDocument(
        campaign="quickstart-cuzral",
        alloy={
            "composition": {"Cu": 0.46, "Zr": 0.46, "Al": 0.08},
            "n_atoms": 150,
            "number_density": 0.06943,
            "name": "Cu46Zr46Al8",
        },
        method=METHOD,
        fingerprint=FINGERPRINT,
        settings={},
        settings_digest="7d1f0c55aa31e9b2",
        scale="small",
        scaled_down=SCALED_DOWN,
        planned=dict.fromkeys(STAGES, 10),
        created_at="2026-11-23T10:00:00+00:00",
        mgflows_version="0.1.0",
    )


@pytest.fixture(scope="session")
def full(campaign: CampaignDocument) -> ReportData:
    """A completed campaign."""
    generator = np.random.default_rng(11)
    samples = _samples(generator)
    frames = _frames(generator, [family for family, _ in samples])
    datasets = [
        _dataset("4be19a7c02d35f88", feedback=False),
        _dataset("a90c4417e6f2b35d", feedback=True),
    ]
    potentials = [
        _potential(generator, "1f6d9e0b77c2a410", datasets[0], 0, "family", 6.1, 148.0),
        _potential(generator, "c3a82b915e04d7f6", datasets[1], 1, "family", 4.6, 117.0),
        _potential(generator, "07be3fa2d1689c54", datasets[1], 1, "paper", 3.9, 104.0),
    ]
    return ReportData(
        campaign=campaign,
        samples=samples,
        supercooling=_supercooling(generator, samples),
        frames=frames,
        relaxations=_relaxations(generator, samples, frames),
        datasets=datasets,
        potentials=potentials,
        quenches=_quenches(generator, potentials[0].potential_id),
        validations=[_validation(potentials[1])],
        experiments=experiments_for(load_experiments(), campaign.alloy.composition),
        costs=[
            StageCost(stage, n, 1.3 * s, s)
            for stage, n, s in zip(
                STAGES, (17, 96, 2, 11, 3), (24.0, 35.0, 260.0, 130.0, 95.0), strict=True
            )
        ],
        fireworks={"COMPLETED": 129},
        wall_seconds=418.0,
    )


@pytest.fixture
def empty(campaign: CampaignDocument) -> ReportData:
    """A campaign without a finished job."""
    return ReportData(campaign=campaign)


@pytest.fixture
def without_feedback(full: ReportData) -> ReportData:
    """A campaign whose feedback step failed."""
    return replace(
        full,
        datasets=full.datasets[:1],
        potentials=full.potentials[:1],
        quenches=[],
        validations=[],
        fireworks={"COMPLETED": 101, "FIZZLED": 2, "WAITING": 26},
        failures=[("quench", "the cell collapsed")],
    )


def _structure() -> Structure:
    return Structure(Lattice.cubic(3.25), ["Cu", "Zr"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def _samples(generator: Generator) -> list[tuple[str, SampleDocument]]:
    found = []
    for rank, (n_sweeps, count) in enumerate(SWEEPS.items()):
        for number in range(count):
            e_is = float(-3.39 - 0.65 * rank + 0.12 * generator.standard_normal())
            sample = SampleDocument(
                structure=_structure(),
                inherent_structure=_structure(),
                energy_lj=0.739 * (e_is + 0.03),
                e_is=0.739 * e_is,
                e_is_reduced=e_is,
                pressure_lj=190.0,
                n_sweeps=n_sweeps,
                reduced_cooling_rate=10.0 / n_sweeps,
                reduced_temperature_high=10.01,
                reduced_temperature_low=0.01,
                swap_fraction=0.2,
                acceptance={
                    "swap": Acceptance(
                        reduced_temperature=[10.0, 0.01], accepted_fraction=[0.4, 0.0]
                    )
                },
                order=ORDER,
                ordered=rank == 2 and number == 3,
                surrogate=LennardJones.cuzral(),
                provenance=PROVENANCE,
            )
            found.append((f"mc-{n_sweeps}-{number}", sample))
    return found


def _frames(generator: Generator, families: list[str]) -> list[FrameRecord]:
    records = []
    for subset, count in FRAMES.items():
        energy, pressure = CENTRES[subset]
        for number in range(count):
            spread = generator.standard_normal(2)
            records.append(
                FrameRecord(
                    frame_id=f"{subset}-{number}",
                    campaign="quickstart-cuzral",
                    subset=subset,
                    family=families[number % len(families)],
                    name=str(number),
                    n_atoms=150,
                    energy_per_atom=energy
                    - (0.06 * (number // 4) if subset == "lj_surrogate" else 0.0)
                    + 0.025 * spread[0],
                    pressure=pressure + 2.5 * spread[1],
                    maximum_force=3.0,
                    log10_time=None,
                    fingerprint_digest=FINGERPRINT.digest,
                    uuid="u",
                    number=number,
                )
            )
    return records


def _relaxations(
    generator: Generator, samples: list[tuple[str, SampleDocument]], frames: list[FrameRecord]
) -> list[RelaxationRecord]:
    labels = {
        frame.family: frame.energy_per_atom for frame in frames if frame.subset == "lj_surrogate"
    }
    return [
        RelaxationRecord(
            family=family,
            n_sweeps=sample.n_sweeps,
            energy_lj=sample.energy_lj,
            energy_before=labels[family],
            energy_after=labels[family] - 0.31,
            displacements=(
                0.13 * np.linalg.norm(generator.standard_normal((150, 3)), axis=1)
            ).tolist(),
            delta_cb=float(0.905 + 0.01 * generator.standard_normal()),
            delta_cb_affine=float(0.975 + 0.004 * generator.standard_normal()),
            relative_volume=1.205,
        )
        for family, sample in samples[::2]
    ]


def _supercooling(
    generator: Generator, samples: list[tuple[str, SampleDocument]]
) -> SupercoolingDocument:
    draws = np.column_stack(
        [
            -3.2 + 0.02 * generator.standard_normal(200),
            -0.166 + 0.011 * generator.standard_normal(200),
        ]
    )
    clock = {
        "@module": "mgflows.surrogate.supercooling",
        "@class": "SupercoolingClock",
        "intercept": -3.2,
        "slope": -0.166,
        "window": [30.0, 3000.0],
        "n_samples": 15,
        "bootstrap": draws.tolist(),
        "energy_unit": 0.739,
        "time_unit": 331.0,
        "mass": 91.224,
        "onset_energy": -3.28,
        "onset_energy_error": 0.01,
    }
    groups = []
    for n_sweeps in SWEEPS:
        energies = [
            sample.e_is_reduced
            for _, sample in samples
            if sample.n_sweeps == n_sweeps and not sample.ordered
        ]
        time = (np.mean(energies) + 3.2) / -0.166
        groups.append(
            EffectiveTimeRecord(
                n_sweeps=n_sweeps,
                n_samples=len(energies),
                e_is_reduced=float(np.mean(energies)),
                e_is_reduced_error=float(np.std(energies, ddof=1) / np.sqrt(len(energies))),
                log10_time=float(time),
                log10_time_low=float(time - 0.2 - 0.06 * time),
                log10_time_high=float(time + 0.2 + 0.08 * time),
                log10_seconds=float(time - 12.5),
                extrapolated=bool(time > 3.0),
            )
        )
    dynamics = {
        f"{time:g}": (-3.2 - 0.166 * np.log10(time) + 0.05 * generator.standard_normal(4)).tolist()
        for time in (30.0, 100.0, 300.0, 1000.0, 3000.0)
    }
    return SupercoolingDocument(
        clock=clock,
        dynamics=dynamics,
        groups=groups,
        families={},
        seconds_per_reduced_time=3.31e-13,
        provenance=PROVENANCE,
    )


def _dataset(dataset_id: str, *, feedback: bool) -> DatasetDocument:
    frames = {subset: n for subset, n in FRAMES.items() if feedback or subset != "mlip_feedback"}
    return DatasetDocument(
        dataset_id=dataset_id,
        campaign="quickstart-cuzral",
        species=["Cu", "Zr", "Al"],
        n_frames=sum(frames.values()),
        counts={
            s: {"frames": n, "families": 6, "family_test": n // 5, "paper_test": n // 5}
            for s, n in frames.items()
        },
        frames=[],
        held_out_families=["mc-1000-0"],
        test_fraction=0.2,
        split_seed=0,
        fingerprint=FINGERPRINT,
        fingerprint_digest=FINGERPRINT.digest,
        missing=[],
        excluded_families=["mc-100000-3"],
        duplicates=0,
        provenance=PROVENANCE,
    )


def _potential(
    generator: Generator,
    potential_id: str,
    dataset: DatasetDocument,
    generation: int,
    split: str,
    energy: float,
    force: float,
) -> PotentialDocument:
    def statistics(n: int, scale: float) -> ErrorStatistics:
        values = {"energy": energy * scale, "force": force * scale, "virial": 9.0 * energy * scale}
        return ErrorStatistics(
            n_frames=n,
            **{f"{k}_rmse": v for k, v in values.items()},
            **{f"{k}_mae": 0.7 * v for k, v in values.items()},
            energy_r2=0.99,
        )

    tables = {}
    for side, fraction, factor in (("train", 0.8, 0.9), ("test", 0.2, 1.0)):
        sizes = {
            subset: max(round(fraction * count["frames"]), 1)
            for subset, count in dataset.counts.items()
        }
        tables[side] = {
            subset: statistics(n, factor * (0.7 + 0.15 * SUBSETS.index(subset)))
            for subset, n in sizes.items()
        }
        tables[side]["all"] = statistics(sum(sizes.values()), factor)
    steps = np.arange(50, 2001, 50)
    return PotentialDocument(
        potential_id=potential_id,
        campaign=dataset.campaign,
        dataset_id=dataset.dataset_id,
        generation=generation,
        split=split,
        species=dataset.species,
        nep_txt="nep4 3 Cu Zr Al\n",
        nep_in="type 3 Cu Zr Al\nversion 4\nzbl 1.8\ncutoff 6.5 4\nn_max 4 4\nbasis_size 8 8\n"
        "l_max 4 2 0\nneuron 30\n",
        parameters=NepParameters(species=("Cu", "Zr", "Al")),
        trainer=TrainerRecord(trainer="NeppoTrainer", version="1.0"),
        n_train=tables["train"]["all"].n_frames,
        n_test=tables["test"]["all"].n_frames,
        errors=tables,
        acceptance=None if split == "paper" else _acceptance(force),
        loss={
            "step": steps.tolist(),
            "total": (0.4 + 8.0 * np.exp(-steps / 200.0)).tolist(),
            "energy_train": (0.005 + 0.2 * np.exp(-steps / 250.0)).tolist(),
            "force_train": (0.11 + 0.8 * np.exp(-steps / 220.0)).tolist(),
            "virial_train": (0.04 + 0.9 * np.exp(-steps / 200.0)).tolist(),
            "energy_test": (0.006 + 0.21 * np.exp(-steps / 240.0)).tolist(),
            "force_test": [None] * (len(steps) - 1) + [0.12],
            "virial_test": [None] * len(steps),
        },
        parity={
            side: _parity(
                generator, {s: e.n_frames for s, e in table.items() if s != "all"}, energy, force
            )
            for side, table in tables.items()
        },
        method=METHOD,
        scaled_down="2000 steps of AdamW instead of 10⁵ generations of SNES",
        provenance=PROVENANCE,
    )


def _acceptance(force: float) -> AcceptanceRecord:
    """A passed acceptance with a warning."""
    checks = [
        CheckRecord(
            name="melt density", outcome="passed", sentence="the melt holds", value=1.004,
            smallest=0.95, largest=1.05,
        ),
        CheckRecord(
            name="melt force error", outcome="passed", sentence="the force error is small",
            value=0.5 * force, largest=200.0, unit="meV/A",
        ),
        CheckRecord(name="dimer Cu-Zr", outcome="passed", sentence="Cu-Zr is repulsive"),
        CheckRecord(
            name="descriptors in range", outcome="warning", sentence="7.0% are outside",
            value=0.07, largest=0.05,
        ),
    ]  # fmt: skip
    worst = WorstFrameRecord(
        frame_id="9445fd342f115653d970",
        subset="distorted",
        family="mc-1e4-003",
        energy_error=-1.4,
        force_rmse=201.0,
    )
    return AcceptanceRecord(
        passed=True,
        reason="",
        checks=checks,
        worst_frames=[worst],
        settings=AcceptanceSettings(),
        reference="stand-in EAM",
        cpu_seconds=19.0,
    )


def _parity(
    generator: Generator, sizes: dict[str, int], energy: float, force: float
) -> dict[str, Any]:
    subsets = [subset for subset, n in sizes.items() for _ in range(n)]
    energies = np.array([CENTRES[s][0] for s in subsets]) + 0.04 * generator.standard_normal(
        len(subsets)
    )
    virials = np.array([CENTRES[s][1] / 13.0 for s in subsets])[:, None] * [
        1,
        1,
        1,
        0,
        0,
        0,
    ] + 0.1 * generator.standard_normal((len(subsets), 6))
    forces = generator.standard_normal(4_000) * generator.choice([0.3, 1.4], size=4_000)
    return {
        "subset": subsets,
        "energy": {
            "reference": energies.tolist(),
            "predicted": (
                energies + 1e-3 * energy * generator.standard_normal(len(subsets))
            ).tolist(),
        },
        "virial": {
            "reference": virials.tolist(),
            "predicted": (
                virials + 9e-3 * energy * generator.standard_normal(virials.shape)
            ).tolist(),
        },
        "force": {
            "reference": forces.tolist(),
            "predicted": (forces + 1e-3 * force * generator.standard_normal(len(forces))).tolist(),
            "subset": generator.choice(subsets, len(forces)).tolist(),
        },
    }


def _quenches(generator: Generator, potential_id: str) -> list[QuenchDocument]:
    found = []
    for rate in (500.0, 100.0, 50.0):
        temperature = np.concatenate([np.full(20, 2000.0), np.linspace(2000.0, 300.0, 120)])
        density = (
            7.15
            - 3.9e-4 * temperature
            - 0.02 * np.log10(rate)
            + 0.015 * generator.standard_normal(140)
        )
        energy = -5.06 + 1.7e-4 * temperature + 0.003 * generator.standard_normal(140)
        found.append(
            QuenchDocument(
                structure=_structure(),
                potential_id=potential_id,
                cooling_rate=rate,
                temperature_high=2000.0,
                temperature_low=300.0,
                density=float(density[-1]),
                trace={
                    "time": np.linspace(0.0, 1700.0 / rate * 1e3, 140).tolist(),
                    "temperature": (
                        temperature * (1 + 0.04 * generator.standard_normal(140))
                    ).tolist(),
                    "density": density.tolist(),
                    "energy": energy.tolist(),
                },
                provenance=PROVENANCE,
            )
        )
    return found


@pytest.fixture
def validation_result() -> ValidationResult:
    """A validation with every quantity that a suite can measure."""
    melt = MeltState(1600.0, 6.4, 0.05, 0.1, 0.002)
    steps = np.arange(3.0)
    model = replace(
        _properties(19.4),
        density_error=0.02,
        melt=melt,
        heat_capacity=HeatCapacityCurve(300.0 + steps, 25.0 + steps, 0.1 * steps),
        viscosity=ViscosityResult(3.1, 0.2, steps, steps, steps, (1.0, 2.0), True),
        viscosity_melt=melt,
        viscosity_pressure=0.1,
    )
    return replace(_result(), model=model)


def _result() -> ValidationResult:
    energies = {"reference": [-5.06, -5.04, -5.01], "model": [-5.057, -5.041, -5.012]}
    return ValidationResult(
        suite="quick",
        protocol="Suite 'quick', scaled down against the paper.",
        seed=0,
        n_glasses=3,
        n_atoms=150,
        model=_properties(19.4),
        reference=_properties(18.3),
        dimers=_dimers(),
        rdf_distance=None,
        energy_correlation=None,
        energies=energies,
        failures={},
        cpu_seconds={},
    )


def _validation(potential: PotentialDocument) -> ValidationDocument:
    result = _result()
    return ValidationDocument(
        potential_id=potential.potential_id,
        dataset_id=potential.dataset_id,
        campaign=potential.campaign,
        suite=result.suite,
        protocol=result.protocol,
        reference=METHOD,
        summary=result.summary(),
        curves=result.curves(),
        provenance=PROVENANCE,
    )


def _properties(shear_modulus: float) -> GlassProperties:
    distance = np.linspace(0.05, 9.95, 100)
    shift = 0.01 * (shear_modulus - 18.3)
    first = {"Cu-Cu": 2.5, "Cu-Zr": 2.75, "Cu-Al": 2.6, "Zr-Zr": 3.15, "Zr-Al": 2.95, "Al-Al": 2.8}
    total = _rdf(distance, 2.78 + shift, 3.3)
    distribution = RadialDistribution(
        distance=distance,
        total=total,
        partial={pair: _rdf(distance, peak + shift, 3.0) for pair, peak in first.items()},
        xray=total,
        xray_weights={},
        number_density=0.058,
        n_frames=40,
    )
    elastic = [_elastic(112.0 + g, g) for g in (shear_modulus - 0.5, shear_modulus + 0.5)]
    return GlassProperties(
        density=6.98,
        radial_distribution=distribution,
        elastic=dict(enumerate(elastic)),
        shear=dict(enumerate(map(_shear, (shear_modulus, 21.0)))),
    )


def _elastic(bulk_modulus: float, shear_modulus: float) -> ElasticResult:
    stiffness = np.diag([2.0 * shear_modulus] * 3 + [shear_modulus] * 3)
    stiffness[:3, :3] += bulk_modulus - 2.0 * shear_modulus / 3.0
    return ElasticResult(
        stiffness,
        isotropic_moduli(stiffness),
        asymmetry=0.0,
        nonlinearity=0.0,
        atoms=Atoms(),
        residual_stress=0.0,
        strains=np.full(6, 2e-3),
    )


def _shear(shear_modulus: float) -> ShearResult:
    strain = np.linspace(0.0, 0.006, 13)
    # Softer at first, so that the slope is right inside the window only.
    curves = tuple(
        ShearCurve(
            direction, strain, np.where(strain < 0.0039, 0.9, 1.0) * g * strain, 0.0 * strain, g
        )
        for direction, g in (("xy", shear_modulus - 1.0), ("xz", shear_modulus + 1.0))
    )
    return ShearResult(curves, shear_modulus, 1.0, (0.004, 0.006))


def _rdf(distance: np.ndarray, peak: float, height: float) -> np.ndarray:
    shells = ((0.0, height - 1.0, 0.22), (0.95, -0.6, 0.4), (2.0, 0.35, 0.55), (2.9, -0.15, 0.5))
    g = 1.0 + sum(
        amplitude * np.exp(-(((distance - peak - shift) / width) ** 2))
        for shift, amplitude, width in shells
    )
    return np.clip(g, 0.0, None) / (1.0 + np.exp(-(distance - peak + 0.25) / 0.05))


def _dimers() -> dict[str, DimerCurve]:
    distance = np.linspace(0.8, 6.0, 105)
    curves = {}
    for pair, size in {
        "Cu-Cu": 2.2,
        "Cu-Zr": 2.5,
        "Cu-Al": 2.4,
        "Zr-Zr": 2.9,
        "Zr-Al": 2.7,
        "Al-Al": 2.6,
    }.items():
        energy = 6.0 * np.exp(-2.4 * (distance - size)) - 1.2 * np.exp(
            -(((distance - size - 0.35) / 0.8) ** 2)
        )
        has_hole = pair == "Al-Al"
        energy -= 40.0 * np.exp(-(((distance - 1.7) / 0.12) ** 2)) * has_hole
        curves[pair] = DimerCurve(
            pair, distance, energy, not has_hole, 1.7 if has_hole else None, 12.0 * has_hole
        )
    return curves
