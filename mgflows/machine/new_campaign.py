"""A folder for a campaign of any alloy: ``campaign.py``, ``mgflows.yaml``, and its estimated cost.

`mgflows new` writes the folder and shows the surrogate, the density and the stages before anything
is submitted; `mgflows run` and `mgflows submit` read ``campaign.py`` again.
"""

from __future__ import annotations

import json
import runpy
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.alloy import Alloy
from mgflows.errors import InputError, MgflowsError
from mgflows.files import write_text
from mgflows.settings import directory_of_environment
from mgflows.text import listed

if TYPE_CHECKING:
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.surrogate import LennardJones

__all__ = [
    "CAMPAIGN_FILE",
    "LABELS",
    "CampaignRequest",
    "Rounds",
    "Teacher",
    "alloy_for",
    "campaign_folder",
    "check_density",
    "demonstration",
    "load_campaign",
    "method_source",
    "write_campaign",
]

CAMPAIGN_FILE = "campaign.py"
LABELS = ("stand-in", "gpaw", "espresso", "cp2k", "vasp")
"""Names of label methods; others are files and import paths."""

_METHODS = {
    "gpaw": ("mgflows.methods.gpaw", "GpawMethod", "n_ranks=8"),
    "espresso": ("mgflows.methods.espresso", "EspressoMethod", "n_ranks=8"),
    "cp2k": ("mgflows.methods.cp2k", "Cp2kMethod", "n_ranks=8"),
    "vasp": ("mgflows.methods.vasp.method", "VaspMethod", "n_cores=32"),
}
_VARIABLE = "campaign"
_LARGEST_DENSITY_FACTOR = 1.5


@dataclass(frozen=True)
class Rounds:
    """Rounds of active learning (:class:`~mgflows.jobs.rounds.RoundSettings`).

    Attributes
    ----------
    selection
        ``committee``, ``farthest`` or ``random``.
    force, energy
        Target errors in meV/A and meV/atom; None for no target.
    label_budget, maximum_rounds
        Largest numbers of labels and rounds; None for no limit of the labels, and for the default.
    """

    selection: str = "committee"
    force: float | None = None
    energy: float | None = None
    label_budget: int | None = None
    maximum_rounds: int | None = None


@dataclass(frozen=True)
class Teacher:
    """A cheap model that labels first (:class:`~mgflows.flows.teacher.TeacherFlowMaker`).

    Attributes
    ----------
    labels
        As for the labels of a :class:`CampaignRequest`.
    n_labels
        Structures that the method of the campaign labels again.
    """

    labels: str
    n_labels: int = 60


@dataclass(frozen=True)
class CampaignRequest:
    """Input of a new campaign.

    Attributes
    ----------
    formula
        The composition, such as ``Zr46Cu30Ni14Al10``.
    number_density
        Atoms per A^3 of the samples.
    n_atoms
        Atoms in a sample.
    labels
        One of :data:`LABELS`, the path of a ``nep.txt``, or the import path of an ASE calculator.
    scale
        ``tiny``, ``small`` or ``paper``.
    seed
        Seed of every random choice.
    rounds
        Rounds of active learning instead of the feedback stage.
    teacher
        What labels first.
    label_arguments
        Keyword arguments of an ASE calculator.
    """

    formula: str
    number_density: float
    n_atoms: int
    labels: str
    scale: str
    seed: int = 0
    rounds: Rounds | None = None
    teacher: Teacher | None = None
    label_arguments: dict[str, Any] = field(default_factory=dict)


def check_density(alloy: Alloy, lj: LennardJones) -> None:
    """Refuse a density that no sample of the alloy can have, such as one in other units.

    Parameters
    ----------
    alloy
        The alloy.
    lj
        The surrogate, which has the default (:meth:`LennardJones.number_density`).

    Raises
    ------
    InputError
        If the density differs from the default by more than a factor of 1.5.
    """
    factor = alloy.number_density / lj.number_density(alloy.composition)
    if not 1.0 / _LARGEST_DENSITY_FACTOR <= factor <= _LARGEST_DENSITY_FACTOR:
        raise InputError(
            f"the density of the samples, {alloy.mass_density:.3g} g/cm3, is {factor:.2g} times "
            f"the default for this composition, {alloy.mass_density / factor:.3g} g/cm3, and more "
            f"than a factor of {_LARGEST_DENSITY_FACTOR:g} is refused",
            hint="give it in g/cm^3, or leave it out for the default; --any-density accepts it",
        )


def alloy_for(
    formula: str, lj: LennardJones, n_atoms: int, mass_density: float | None = None
) -> Alloy:
    """Return the alloy at a density, or at the surrogate's default for its composition.

    Parameters
    ----------
    formula
        The composition.
    lj
        The surrogate, which has the default (:meth:`LennardJones.number_density`).
    n_atoms
        Atoms in a sample.
    mass_density
        Density of the samples in g/cm^3.

    Raises
    ------
    InputError
        For a pure element: nothing can be exchanged, and its samples crystallise.
    """
    composition = Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).composition
    if len(composition) == 1:
        raise InputError(
            f"{formula} is a pure element: it forms no glass, and swap Monte Carlo has no unlike "
            "atoms to exchange, so that slowly cooled samples crystallise and are left out",
            hint="give an alloy of at least two elements, such as Cu50Zr50; potentials of pure "
            "elements can be trained on imported frames (mgflows import)",
        )
    if mass_density is not None:
        return Alloy.from_formula(formula, n_atoms=n_atoms, mass_density=mass_density)
    return Alloy.from_formula(
        formula, n_atoms=n_atoms, number_density=lj.number_density(composition)
    )


def demonstration(formula: str, scale: str, seed: int = 0) -> CampaignMaker:
    """Return a stand-in campaign for an alloy of any elements of Zhou et al.

    Parameters
    ----------
    formula
        The composition.
    scale
        ``tiny`` or ``small``.
    seed
        Seed of every random choice.

    Raises
    ------
    InputError
        For an element that the stand-in lacks.
    """
    from mgflows.flows.scales import SCALES, scaled_campaign
    from mgflows.methods.ase import AseMethod
    from mgflows.surrogate import LennardJones

    n_atoms = SCALES[scale].n_atoms
    species = Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).species
    alloy = alloy_for(formula, LennardJones.for_species(species), n_atoms)
    method = AseMethod.stand_in(species, johnson_mixing=not _is_fitted(alloy))
    return scaled_campaign(scale, method, alloy=alloy, seed=seed)


def method_source(
    labels: str, alloy: Alloy, arguments: dict[str, Any] | None = None
) -> tuple[str, str]:
    """Return the import and the expression of a label method, as written into ``campaign.py``.

    Parameters
    ----------
    labels
        As in :class:`CampaignRequest`.
    alloy
        The alloy, whose elements determine the mixing rule of the stand-in.
    arguments
        Keyword arguments of an ASE calculator.

    Raises
    ------
    InputError
        For a name that is neither a method, a ``nep.txt`` nor an import path, or for keyword
        arguments of something else than a calculator.
    """
    words = labels.split(".")
    is_import = (
        len(words) > 1
        and "/" not in labels
        and all(word.isidentifier() for word in words)
        and not Path(labels).expanduser().is_file()
    )
    if arguments and not is_import:
        raise InputError(
            f"the labels {labels!r} take no keyword arguments",
            hint="give them for the import path of an ASE calculator, or edit campaign.py",
        )
    ase = "from mgflows.methods.ase import AseMethod"
    if labels == "stand-in":
        _require_stand_in(alloy)
        species = json.dumps(list(alloy.species)).replace("[", "(").replace("]", ")")
        if len(alloy.species) == 1:
            species = species.replace(")", ",)")
        mixing = "" if _is_fitted(alloy) else ", johnson_mixing=True"
        return ase, f"AseMethod.stand_in({species}{mixing})"
    if labels in _METHODS:
        module, name, given = _METHODS[labels]
        return f"from {module} import {name}", f"{name}({given})"
    path = Path(labels).expanduser()
    if path.is_file():
        from mgflows.nep.calculator import potential_text, read_potential

        read_potential(potential_text(path), alloy.species)
        return ase, (
            'AseMethod(\n    calculator="mgflows.nep.nep_calculator",\n'
            f'    kwargs={{"potential": {json.dumps(str(path.resolve()))}}},\n'
            f"    description={json.dumps(f'NEP {path.name}, not DFT')},\n)"
        )
    if is_import:
        given = f", kwargs={arguments!r}" if arguments else ""
        return ase, f'AseMethod(calculator="{labels}"{given})'
    raise InputError(
        f"the labels {labels!r} are neither a method nor a file nor an import path",
        hint=f"give one of {', '.join(LABELS)}, a nep.txt, or the import path of an ASE calculator",
    )


def _require_stand_in(alloy: Alloy) -> None:
    """Raise InputError for an element that the stand-in lacks; the hint lists other methods."""
    from mgflows.eam.zhou2004 import zhou_elements

    missing = [symbol for symbol in alloy.species if symbol not in zhou_elements()]
    if missing:
        raise InputError(
            f"the stand-in has no parameters for {listed(missing)}",
            hint=f"label with --label-with {', '.join(LABELS[1:])}, a nep.txt that has all "
            "elements, or the import path of an ASE calculator",
        )


def _is_fitted(alloy: Alloy) -> bool:
    """Whether the stand-in was fitted for all pairs of the alloy."""
    from mgflows.eam.stand_in import SPECIES

    return set(alloy.species) <= set(SPECIES)


def write_campaign(directory: Path, request: CampaignRequest) -> Path:
    """Write ``campaign.py``.

    Parameters
    ----------
    directory
        The folder; made if it is missing.
    request
        Input of the campaign.

    Returns
    -------
    The file.
    """
    alloy = Alloy.from_formula(
        request.formula, n_atoms=request.n_atoms, number_density=request.number_density
    )
    imported, expression = method_source(request.labels, alloy, request.label_arguments)
    imports = {
        "from mgflows import Alloy",
        "from mgflows.flows.scales import scaled_campaign",
        imported,
    }
    changes = ""
    for further, text in (_teacher_source(request.teacher, alloy), _rounds_source(request.rounds)):
        imports |= further
        changes += text
    text = f'''"""The campaign of {request.formula}, written by `mgflows new`.

Edit it, then run it here with `mgflows run` or submit it to a cluster's database with
`mgflows submit`. The settings of a submitted campaign do not change any more: for others, change
the name.
"""

{chr(10).join(sorted(imports))}

# The samples of the surrogate have {alloy.mass_density:.2f} g/cm^3. The default is a fifth above
# that of the elements, and about as far above that of the glass, as in the paper; relaxations
# remove the excess.
alloy = Alloy.from_formula(
    "{request.formula}",
    n_atoms={request.n_atoms},
    number_density={request.number_density:.6g},
)

# What labels the structures. Everything in it is part of the fingerprint of the labels.
method = {expression}

# Sizes and lengths of every stage: "tiny", "small" or "paper" (docs/reference/scales.md).
campaign = scaled_campaign("{request.scale}", method, alloy=alloy, seed={request.seed})
{changes}
# Every setting of every stage can be changed here, such as the coolings (sweeps, samples):
# campaign.sampling_maker.samples = ((10_000, 20), (100_000, 20), (1_000_000, 10))
# or the rates of the feedback quenches in K/ps:
# campaign.feedback_maker.cooling_rates = (10.0, 1.0)
'''
    path = directory / CAMPAIGN_FILE
    write_text(path, text)
    return path


def _teacher_source(teacher: Teacher | None, alloy: Alloy) -> tuple[set[str], str]:
    """Imports and statements that add a teacher to the campaign."""
    if teacher is None:
        return set(), ""
    imported, expression = method_source(teacher.labels, alloy)
    return (
        {
            imported,
            "from mgflows.flows.teacher import TeacherFlowMaker",
            "from mgflows.jobs.teacher import TeacherChoiceMaker",
        },
        f"""
# What labels everything first; the method above labels only the structures for which potentials
# that were trained on these labels are uncertain or differ from them most.
teacher = {expression}
campaign.teacher = TeacherFlowMaker(
    method=teacher, choice_maker=TeacherChoiceMaker(n_labels={teacher.n_labels})
)
""",
    )


def _rounds_source(rounds: Rounds | None) -> tuple[set[str], str]:
    """Imports and statements that replace the feedback by rounds."""
    if rounds is None:
        return set(), ""
    imports, lines = set(), [f'campaign.selection = "{rounds.selection}"']
    errors = {"force": rounds.force, "energy": rounds.energy}
    given = [f"{name}={value!r}" for name, value in errors.items() if value is not None]
    if given:
        imports.add("from mgflows.nep import ErrorTarget")
        lines.append(f"campaign.target = ErrorTarget({', '.join(given)})  # meV/A, meV/atom")
    for name in ("label_budget", "maximum_rounds"):
        value = getattr(rounds, name)
        if value is not None:
            lines.append(f"campaign.{name} = {value}")
    return (
        imports,
        """
# Rounds of active learning replace the single feedback stage; they end when the target errors are
# met, the budget of labels is spent, or no candidate is uncertain enough.
"""
        + "\n".join(lines)
        + "\n",
    )


def campaign_folder(named: Path | None, directory: Path | None) -> Path:
    """Return the absolute path of the folder of a campaign.

    Parameters
    ----------
    named
        The folder, if it was named.
    directory
        The folder given by an option; otherwise the variable ``MGFLOWS_DIRECTORY``. Without any of
        these it is the nearest folder with ``campaign.py``: the current one or one above it.

    Raises
    ------
    InputError
        If `named` and `directory` are different folders.
    """
    if named is not None and directory is not None and named.absolute() != directory.absolute():
        raise InputError(
            f"the campaign is in {named} according to FOLDER but in {directory} according to "
            "--directory",
            hint="give one of them",
        )
    found = named or directory or directory_of_environment()
    if found is not None:
        return found.absolute()
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if (folder / CAMPAIGN_FILE).is_file()), here
    )


def load_campaign(directory: Path) -> CampaignMaker:
    """Run ``campaign.py`` of a folder and return its campaign.

    Parameters
    ----------
    directory
        The folder.

    Raises
    ------
    InputError
        If there is no such file, it fails, or it defines no campaign; names its line.
    """
    from mgflows.flows.campaign import CampaignMaker

    path = directory / CAMPAIGN_FILE
    if not path.is_file():
        raise InputError(
            f"{directory} has no {CAMPAIGN_FILE}", hint="write one with: mgflows new FORMULA"
        )
    try:
        names = runpy.run_path(str(path))
    except MgflowsError as error:
        raise InputError(f"{path}{_line(error, path)}: {error.message}", hint=error.hint) from error
    except Exception as error:
        raise InputError(
            f"{path}{_line(error, path)}: {type(error).__name__}: {error}", hint="edit the file"
        ) from error
    campaign = names.get(_VARIABLE)
    if not isinstance(campaign, CampaignMaker):
        found = "nothing" if campaign is None else f"a {type(campaign).__name__}"
        raise InputError(
            f"{path} defines {found} as {_VARIABLE}, but it must be a CampaignMaker",
            hint=f"end it with: {_VARIABLE} = CampaignMaker(...)",
        )
    return campaign


def _line(error: Exception, path: Path) -> str:
    """Line of the file in which an error arose, as ``, line 12``."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f", line {lines[-1]}" if lines else ""
