"""What a machine has to tell mgflows: where its database is, where a private one may live, which executables there are.

One YAML file, ``mgflows.yaml``, and the variables ``MGFLOWS_<NAME>``, which win over it. No other module reads the environment.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mgflows.errors import InputError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "mgflows.yaml"
_PREFIX = "MGFLOWS_"
# Variables that say where the file is, rather than what is in it.
_LOCATORS = {"MGFLOWS_CONFIG"}
_FOREIGN_VARIABLES = (
    *(
        "FW_CONFIG_FILE",
        "JOBFLOW_CONFIG_FILE",
        "ATOMATE2_CONFIG_FILE",
        "MONGOMOCK_SERVERSTORE_FILE",
    ),
    *("CP2K_DATA_DIR", "ESPRESSO_PSEUDO", "GPAW_SETUP_PATH"),
)


Category = Literal["sampling", "dft", "training", "md"]
CATEGORIES: tuple[Category, ...] = ("sampling", "dft", "training", "md")
"""Kinds of jobs, by the kind of worker that they need."""


class Resources(BaseModel):
    """What the jobs of one category ask of the batch system."""

    model_config = ConfigDict(extra="forbid")

    queue: str | None = Field(
        default=None,
        description="Partition (Slurm) or queue (PBS); the cluster's default without it.",
    )
    account: str | None = Field(default=None, description="Account that pays.")
    qos: str | None = Field(default=None, description="Quality of service (Slurm).")
    constraint: str | None = Field(default=None, description="Kind of node (Slurm).")
    nodes: int = Field(default=1, ge=1, description="Nodes of one job.")
    cores: int = Field(default=1, ge=1, description="Cores on each node.")
    gpus: int = Field(default=0, ge=0, description="GPUs on each node.")
    memory: str | None = Field(default=None, description="Memory on each node, such as 8G.")
    walltime: str = Field(
        default="24:00:00",
        pattern=r"^\d+:[0-5]\d:[0-5]\d$",
        description="Longest time of one job, h:mm:ss.",
    )
    reserve: bool = Field(
        default=False,
        description="One firework a batch job, submitted with `qlaunch -r`; otherwise a batch job works through many of them.",
    )
    setup: list[str] = Field(
        default_factory=list, description="Shell lines before the work, such as `module load vasp`."
    )

    @property
    def walltime_seconds(self) -> int:
        """The walltime in s."""
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds


def _resources() -> dict[Category, Resources]:
    return {
        "sampling": Resources(),
        "dft": Resources(cores=32, reserve=True),
        "training": Resources(cores=4, gpus=1),
        "md": Resources(),
    }


_in_use: list[Settings] = []


class Settings(BaseSettings):
    """Settings of mgflows on this machine.

    ``Settings.load()`` looks for ``mgflows.yaml`` and is what programs use; ``Settings(...)`` takes values as given, then variables,
    then defaults.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", validate_default=True)

    directory: Path = Field(
        default_factory=lambda: Path.home() / ".mgflows",
        description="Folder of the private MongoDB server and of the launches on this machine.",
    )
    mongodb_uri: SecretStr | None = Field(
        default=None,
        description="URI of a MongoDB server; without it mgflows starts a private one in `directory`.",
    )
    database_name: str = Field(
        default="mgflows",
        min_length=1,
        max_length=63,
        description="Database that holds everything of mgflows.",
    )
    mongod: Path | None = Field(
        default=None,
        description="The mongod executable; without it PATH and the wheel of the extra `mongod` are searched.",
    )
    mongod_cache_gb: float = Field(
        default=0.5,
        ge=0.25,
        description="Memory that a private MongoDB server may use as cache, GB.",
    )
    nep_command: str = Field(
        default="nep",
        min_length=1,
        description="GPUMD's `nep` executable, for those who train with it.",
    )
    nep_device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Where trained potentials are evaluated in quenches and validations: one core or the first GPU.",
    )
    n_workers: int = Field(
        default=2, ge=1, description="Jobs that run at the same time on this machine."
    )
    ping_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How often a running job says that it is alive, s; after five times this it counts as lost.",
    )
    outage_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long a worker waits for a database that does not answer, s.",
    )
    max_quick_failures: int = Field(
        default=5,
        ge=1,
        description="A worker stops after so many jobs in a row that failed within seconds: its machine may be at fault.",
    )
    max_interruptions: int = Field(
        default=20,
        ge=1,
        description="A job that was interrupted (walltime, preemption) so often counts as failed; it may never fit.",
    )
    minimum_free_gb: float = Field(
        default=1.0,
        ge=0,
        description="A worker takes no job when less is free where it writes, GB.",
    )
    scheduler: Literal["none", "slurm", "pbs"] = Field(
        default="none", description="Batch system of this cluster."
    )
    resources: dict[Category, Resources] = Field(
        default_factory=_resources,
        description="What the jobs of each category ask of the batch system.",
    )
    vasp_command: str = Field(
        default="vasp_std", min_length=1, description="How to start VASP, such as `srun vasp_std`."
    )

    @field_validator("resources", mode="before")
    @classmethod
    def _every_category(cls, value: Any) -> Any:
        return {**_resources(), **value} if isinstance(value, dict) else value

    @classmethod
    def load(cls, directory: Path | str | None = None) -> Settings:
        """Read the first ``mgflows.yaml`` that there is, then the variables.

        Searched in this order: `directory`; the file named by ``MGFLOWS_CONFIG``; ``MGFLOWS_DIRECTORY``; the current folder;
        ``~/.config/mgflows``. A relative path in the file counts from the file's folder.

        Parameters
        ----------
        directory
            Folder to look in first. It also becomes `settings.directory`, whether it has a file or not.

        Raises
        ------
        InputError
            If the file cannot be read, or a name or a value in it (or in a variable) cannot be used.
        """
        _refuse_unknown_variables(cls)
        path = cls.find_file(directory)
        values = _read_file(path, cls) if path else {}
        values = {
            name: value
            for name, value in values.items()
            if _PREFIX + name.upper() not in os.environ
        }
        if directory is not None:
            values["directory"] = Path(directory)
        return cls._validated(values, path)

    @classmethod
    def current(cls) -> Settings:
        """The settings of the worker that runs in this process, for its jobs; without a worker, those that `load` finds."""
        return _in_use[-1] if _in_use else cls.load()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Make these the `current` settings of this process for as long as a worker runs."""
        _in_use.append(self)
        try:
            yield
        finally:
            _in_use.pop()

    @staticmethod
    def find_file(directory: Path | str | None = None) -> Path | None:
        """Find the file that `load` reads; None if there is none."""
        candidates = [Path(directory) / FILE_NAME] if directory is not None else []
        if named := os.environ.get("MGFLOWS_CONFIG"):
            if not Path(named).expanduser().is_file():
                raise InputError(
                    f"the variable MGFLOWS_CONFIG names {named}, which is not a file; correct or unset it"
                )
            candidates.append(Path(named))
        if named := os.environ.get("MGFLOWS_DIRECTORY"):
            candidates.append(Path(named) / FILE_NAME)
        candidates += [Path.cwd() / FILE_NAME, Path.home() / ".config" / "mgflows" / FILE_NAME]
        return next(
            (path for path in (c.expanduser().absolute() for c in candidates) if path.is_file()),
            None,
        )

    @classmethod
    def read(cls, path: Path | str) -> Settings:
        """Read exactly this file, as `write` wrote it: variables change nothing.

        Raises
        ------
        InputError
            If the file cannot be read, or a name or a value in it cannot be used.
        """
        path = Path(path).absolute()
        return cls._validated(_read_file(path, cls), path)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Settings:
        """Settings of given values; variables and files change nothing that is given.

        Raises
        ------
        InputError
            If a value cannot be used.
        """
        return cls._validated(values, None)

    @classmethod
    def _validated(cls, values: dict[str, Any], path: Path | None) -> Settings:
        try:
            settings = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if path and first["loc"][0] in values:
                source = str(path)
            else:
                source = (
                    "what was given"
                    if first["loc"][0] in values
                    else f"the variable {_PREFIX}{name.upper()}"
                )
            raise InputError(
                f"the setting {name} in {source} cannot be used: {first['msg']}; its value is {first['input']!r}"
            ) from error
        settings.directory = settings.directory.expanduser().absolute()
        return settings

    def write(self, path: Path | str) -> Path:
        """Write these settings as YAML that only the owner may read (0600), all at once or not at all.

        The file names its own `directory` by a relative path where it lies inside the file's folder, so that the folder can move.

        Raises
        ------
        ServiceError
            If the file cannot be written.
        """
        path = Path(path).absolute()
        values: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            elif name == "resources":
                value = {category: resources.model_dump() for category, resources in value.items()}
            elif isinstance(value, Path):
                value = (
                    str(value.relative_to(path.parent))
                    if value.is_relative_to(path.parent)
                    else str(value)
                )
            values[name] = value
        text = "# mgflows on this machine; `mgflows doctor` checks it.\n"
        for name, field in type(self).model_fields.items():
            text += f"\n# {field.description}\n{yaml.safe_dump({name: values[name]})}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # mkstemp makes the file 0600, and the rename is atomic: nobody ever reads half of it or a password in it.
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "w") as stream:
                    stream.write(text)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise ServiceError(
                f"{path} cannot be written: {error.strerror}; choose a directory that is yours and has space"
            ) from error
        return path

    @property
    def is_private(self) -> bool:
        """Whether the database is a private MongoDB server in `directory`."""
        return self.mongodb_uri is None

    @property
    def uri(self) -> str:
        """URI of the database, with the password if it has one: for clients, never for documents or the screen.

        Raises
        ------
        ServiceError
            If no URI is set and no private server was ever started in `directory`.
        """
        if self.mongodb_uri is not None:
            return self.mongodb_uri.get_secret_value()
        try:
            return uri_file(self.directory).read_text().strip()
        except OSError:
            raise ServiceError(
                f"there is no database in {self.directory}; start one with: mgflows db start --directory {self.directory}, "
                "or set mongodb_uri in mgflows.yaml"
            ) from None

    @property
    def shown_uri(self) -> str:
        """`uri` with the password masked, for messages and documents."""
        head, at, tail = self.uri.rpartition("@")
        if not at:
            return tail
        scheme, _, user = head.partition("://")
        return f"{scheme}://{user.split(':', 1)[0]}:***@{tail}"


def uri_file(directory: Path) -> Path:
    """Where a private server in `directory` writes its URI."""
    return directory / "mongodb" / "uri"


def batch_job() -> dict[str, Any] | None:
    """The job of a batch system that this process runs in; None if it runs in none.

    Returns
    -------
    dict or None
        `scheduler` (``"slurm"`` or ``"pbs"``), `id`, `cluster` (the name of the cluster or server whose id that is, perhaps empty), `restarts`
        (how often the system has put the job back into the queue and started it again under the same id; Slurm only).
    """
    if number := os.environ.get("SLURM_JOB_ID"):
        restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        return {
            "scheduler": "slurm",
            "id": number,
            "cluster": os.environ.get("SLURM_CLUSTER_NAME", ""),
            "restarts": restarts,
        }
    if name := os.environ.get("PBS_JOBID"):
        return {"scheduler": "pbs", "id": name, "cluster": name.partition(".")[2], "restarts": 0}
    return None


def foreign_variables() -> dict[str, str]:
    """The variables of other packages that decide where these find their files, as far as they are set."""
    return {name: os.environ[name] for name in _FOREIGN_VARIABLES if os.environ.get(name)}


def _read_file(path: Path, model: type[Settings]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; make it a readable text file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not YAML{where}; write one `name: value` a line") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold `name: value` lines, not a {type(values).__name__}")
    for name in values:
        if name not in model.model_fields:
            raise InputError(
                f"{path} has the unknown setting {name!r}; {_suggestion(str(name), list(model.model_fields))}"
            )
    for name in ("directory", "mongod"):
        if values.get(name) is not None:
            values[name] = path.parent / Path(str(values[name])).expanduser()
    return values


def _refuse_unknown_variables(model: type[Settings]) -> None:
    valid = [_PREFIX + name.upper() for name in model.model_fields] + sorted(_LOCATORS)
    for name in os.environ:
        if name.startswith(_PREFIX) and name not in valid:
            raise InputError(
                f"the variable {name} is no setting of mgflows; {_suggestion(name, valid)}"
            )


def _suggestion(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
    return f"did you mean {close[0]}? (all: {', '.join(valid)})"
