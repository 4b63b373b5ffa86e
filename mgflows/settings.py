"""Settings of mgflows on one machine: its database, directories, executables and batch system.

They come from one YAML file, ``mgflows.yaml``, and the variables ``MGFLOWS_<NAME>``, which take
precedence. No other module reads the environment.
"""

from __future__ import annotations

import difflib
import os
import urllib.parse
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from mgflows.errors import InputError, ServiceError, mask_credentials
from mgflows.files import parse_yaml, read_text, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "mgflows.yaml"
_PREFIX = "MGFLOWS_"
# Variables that name the file.
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
"""Worker categories: kinds of jobs, by the kind of worker that they need."""


class Resources(BaseModel):
    """Resources that the jobs of one category request from the batch system."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    queue: str | None = Field(
        default=None,
        description="Partition (Slurm) or queue (PBS); the cluster's default without it.",
    )
    account: str | None = Field(default=None, description="Account to charge.")
    qos: str | None = Field(default=None, description="Quality of service (Slurm).")
    constraint: str | None = Field(default=None, description="Kind of node (Slurm).")
    nodes: int = Field(default=1, ge=1, description="Nodes of one job.")
    cores: int = Field(default=1, ge=1, description="Cores on each node.")
    gpus: int = Field(default=0, ge=0, description="GPUs on each node.")
    memory: str | None = Field(
        default=None,
        pattern=r"^\d+\s?[KMGTkmgt]?[Bb]?$",
        description="Memory on each node, such as 8G; in MB without a unit.",
    )
    walltime: str = Field(
        default="24:00:00",
        pattern=r"^\d+:[0-5]\d:[0-5]\d$",
        description="Longest time of one job, h:mm:ss.",
    )
    reserve: bool = Field(
        default=False,
        description="One firework per batch job, submitted with `qlaunch -r`; otherwise a batch "
        "job runs many of them.",
    )
    offline: bool = Field(
        default=False,
        description="Whether the nodes have no path to the database: jobs run in FireWorks' "
        "offline mode, and `mgflows recover-offline` stores their results. Needs `reserve`.",
    )
    setup: list[str] = Field(
        default_factory=list, description="Shell lines before the work, such as `module load vasp`."
    )

    @model_validator(mode="after")
    def _offline_needs_reservations(self) -> Resources:
        if self.offline and not self.reserve:
            raise ValueError("offline: true needs reserve: true (one firework per batch job)")
        return self

    @property
    def walltime_seconds(self) -> int:
        """The walltime in s."""
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds


def _resources() -> dict[Category, Resources]:
    return {
        "sampling": Resources(),
        "dft": Resources(cores=32, reserve=True),
        "training": Resources(),
        "md": Resources(),
    }


_in_use: list[Settings] = []


class Settings(BaseSettings):
    """Settings of mgflows on this machine.

    Programs use ``Settings.load()``, which finds ``mgflows.yaml``; ``Settings(...)`` takes the
    given values, then variables, then defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    directory: Path = Field(
        default_factory=lambda: Path.home() / ".mgflows",
        description="Folder of the private MongoDB server and of the launches on this machine.",
    )
    mongodb_uri: SecretStr | None = Field(
        default=None,
        description="URI of a MongoDB server; without it mgflows starts a private one in "
        "`directory`.",
    )
    database_name: str = Field(
        default="mgflows",
        min_length=1,
        max_length=63,
        description="Name of the database.",
    )
    mongod: Path | None = Field(
        default=None,
        description="The mongod executable; without it PATH and the wheel of the extra `mongod` "
        "are searched.",
    )
    mongod_cache_gb: float = Field(
        default=0.5,
        ge=0.25,
        description="Cache of a private MongoDB server, GB.",
    )
    nep_command: str = Field(
        default="nep",
        min_length=1,
        description="GPUMD's `nep` executable, if it is used for training.",
    )
    nep_device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Device that evaluates trained potentials in quenches and validations: one "
        "core or the first GPU.",
    )
    n_workers: int = Field(
        default=2, ge=1, description="Number of jobs that run at the same time on this machine."
    )
    ping_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Heartbeat interval of running jobs, s; a job is considered lost after five "
        "missed heartbeats.",
    )
    stall_seconds: float = Field(
        default=6 * 3600.0,
        gt=0,
        description="Time in s without a change of any file in its launch directory after which "
        "a running job is reported as hanging.",
    )
    outage_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Time in s that a worker waits for an unavailable database.",
    )
    max_quick_failures: int = Field(
        default=5,
        ge=1,
        description="Number of consecutive jobs that fail within seconds after which a worker "
        "stops: its machine may be at fault.",
    )
    max_interruptions: int = Field(
        default=20,
        ge=1,
        description="Number of interruptions (walltime, preemption) after which a job counts as "
        "failed.",
    )
    max_worker_deaths: int = Field(
        default=3,
        ge=1,
        description="Number of consecutive deaths of its workers after which a job counts as "
        "failed.",
    )
    max_unusable_workers: int = Field(
        default=10,
        ge=1,
        description="Number of consecutive workers that could not run jobs after which qlaunch "
        "stops.",
    )
    minimum_free_gb: float = Field(
        default=1.0,
        ge=0,
        description="Free disk space in GB below which a worker takes no job.",
    )
    scheduler: Literal["none", "slurm", "pbs", "sge", "lsf"] = Field(
        default="none", description="Batch system of this cluster."
    )
    resources: dict[Category, Resources] = Field(
        default_factory=_resources,
        description="Requests to the batch system for the jobs of each category.",
    )
    vasp_command: str = Field(
        default="vasp_std",
        min_length=1,
        description="Command that starts VASP, such as `srun vasp_std`.",
    )
    materials_project_key: SecretStr | None = Field(
        default=None,
        description="Key of the Materials Project; without it the variable MP_API_KEY is used.",
    )

    _foreign_file: Path | None = PrivateAttr(default=None)
    """The file that was read, if it belongs to another directory than the requested one."""

    @field_validator("resources", mode="before")
    @classmethod
    def _every_category(cls, value: Any) -> Any:
        return {**_resources(), **value} if isinstance(value, dict) else value

    @classmethod
    def load(cls, directory: Path | str | None = None) -> Settings:
        """Read the first existing ``mgflows.yaml``, then the variables.

        Searched in this order: `directory`; the file named by ``MGFLOWS_CONFIG``;
        ``MGFLOWS_DIRECTORY``; the current folder and those above it, where a file counts only if it
        belongs to this user; ``~/.config/mgflows``. Relative paths in the file are relative to the
        file's folder.

        Parameters
        ----------
        directory
            Folder to search first; it also becomes `settings.directory`. If it has no file, the
            file of another folder sets everything but the database: a named directory uses the
            private server in it, never the database of another configuration.

        Raises
        ------
        InputError
            If the file cannot be read, or a name or a value in it (or in a variable) cannot be
            used.
        """
        _refuse_unknown_variables(cls)
        path = cls.find_file(directory)
        values = _read_file(path, cls) if path else {}
        values = {
            name: value
            for name, value in values.items()
            if _PREFIX + name.upper() not in os.environ
        }
        foreign = None
        if directory is not None:
            own = (Path(directory) / FILE_NAME).expanduser().absolute()
            if path is not None and path != own:
                foreign = path if values.get("mongodb_uri") else None
                for name in ("mongodb_uri", "database_name"):
                    values.pop(name, None)
            values["directory"] = Path(directory)
        settings = cls._validated(values, path)
        settings._foreign_file = foreign
        return settings

    @classmethod
    def current(cls) -> Settings:
        """The settings of the worker of this process; without a worker those that `load` finds."""
        return _in_use[-1] if _in_use else cls.load()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Make these the `current` settings of this process while a worker runs."""
        _in_use.append(self)
        try:
            yield
        finally:
            _in_use.pop()

    @staticmethod
    def find_file(directory: Path | str | None = None) -> Path | None:
        """Find the file that `load` reads; None without one."""
        candidates = []
        if directory is not None:
            candidates.append(_accessible(Path(directory) / FILE_NAME))
        if named := os.environ.get("MGFLOWS_CONFIG"):
            if not _accessible(Path(named)).is_file():
                raise InputError(
                    f"the variable MGFLOWS_CONFIG names {named}, which is not a file",
                    hint="correct or unset it",
                )
            candidates.append(Path(named))
        if named := os.environ.get("MGFLOWS_DIRECTORY"):
            candidates.append(_accessible(Path(named) / FILE_NAME))
        here = Path.cwd()
        candidates.append(here / FILE_NAME)
        candidates += [path for above in here.parents if _is_own(path := above / FILE_NAME)]
        candidates.append(Path.home() / ".config" / "mgflows" / FILE_NAME)
        return next(
            (path for path in (c.expanduser().absolute() for c in candidates) if _is_file(path)),
            None,
        )

    @classmethod
    def read(cls, path: Path | str) -> Settings:
        """Read exactly this file, as written by `write`; variables are ignored.

        Raises
        ------
        InputError
            If the file cannot be read, or a name or a value in it cannot be used.
        """
        path = Path(path).absolute()
        return cls._validated(_read_file(path, cls), path)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Settings:
        """Settings of given values, which take precedence over variables.

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
                    "the given values"
                    if first["loc"][0] in values
                    else f"the variable {_PREFIX}{name.upper()}"
                )
            value = "***" if name == "mongodb_uri" else repr(first["input"])
            raise InputError(
                f"the setting {name} in {source} is {value}, which cannot be used: {first['msg']}"
            ) from error
        settings.directory = settings.directory.expanduser().absolute()
        return settings

    def write(self, path: Path | str) -> Path:
        """Write these settings as YAML that only the owner may read (0600), atomically.

        The file names its own `directory` by a relative path if it is inside the file's folder, so
        that the folder can be moved.

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
            write_text(path, text, permissions=0o600)
        except OSError as error:
            raise ServiceError(
                f"{path} cannot be written: {error.strerror}",
                hint="choose a directory that is yours and has space",
            ) from error
        return path

    @property
    def is_private(self) -> bool:
        """Whether the database is a private MongoDB server in `directory`."""
        return self.mongodb_uri is None

    @property
    def uri(self) -> str:
        """URI of the database, with the password if it has one: for clients only.

        Raises
        ------
        ServiceError
            If no URI is set and no private server was ever started in `directory`.
        """
        if self.mongodb_uri is not None:
            return self.mongodb_uri.get_secret_value()
        if not _accessible(self.directory / "mongodb" / "data").is_dir():
            other = (
                f"; {self._foreign_file} names another server: leave out --directory to use it"
                if self._foreign_file
                else ", or set mongodb_uri in mgflows.yaml"
            )
            raise ServiceError(
                f"there is no database in {self.directory}",
                hint=f"start one with: mgflows db start --directory {self.directory}{other}",
            )
        return private_uri(self.directory)

    @property
    def shown_uri(self) -> str:
        """`uri` with the password masked, for messages and documents."""
        head, at, tail = self.uri.rpartition("@")
        if not at:
            return mask_credentials(tail)
        scheme, slashes, user = head.rpartition("://")
        return mask_credentials(f"{scheme}{slashes}{user.split(':', 1)[0]}:***@{tail}")


def private_socket(directory: Path) -> Path:
    """The Unix socket of the private server in a directory.

    A path that is too long for a socket is replaced by one in a short directory, which the file
    ``mongodb/socket_directory`` names. It counts only if its file ``owner`` names this data
    directory: a copied folder must not use the server of the original.
    """
    home = directory / "mongodb"
    try:
        short = Path((home / "socket_directory").read_text(encoding="utf-8").strip())
        if (short / "owner").read_text(encoding="utf-8").strip() == directory_identity(
            home / "data"
        ):
            return short / "mongod.sock"
    except OSError:
        pass
    return home / "run" / "mongod.sock"


def private_uri(directory: Path) -> str:
    """URI of the private server in a directory, for clients on this machine; without a password."""
    return "mongodb://" + urllib.parse.quote_plus(str(private_socket(directory)))


def directory_identity(path: Path) -> str:
    """Device and inode of a directory; a moved directory keeps them, a copy has others."""
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}"


def batch_job() -> dict[str, Any] | None:
    """The batch job in which this process runs; None outside of batch jobs.

    Returns
    -------
    dict or None
        `scheduler` (``"slurm"`` or ``"pbs"``), `id`, `cluster` (name of the cluster or server that
        gave this id, perhaps empty), `restarts` (how often the job was requeued and started again
        under the same id; Slurm only).
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


def materials_project_key(settings: Settings) -> str | None:
    """The key of the Materials Project: the setting, else the variable of its own client."""
    if settings.materials_project_key is not None:
        return settings.materials_project_key.get_secret_value()
    return os.environ.get("MP_API_KEY")


def foreign_variables() -> dict[str, str]:
    """The variables that name the configuration files of other packages, if they are set."""
    return {name: os.environ[name] for name in _FOREIGN_VARIABLES if os.environ.get(name)}


def columns_of_environment() -> int | None:
    """The width of the terminal set by the variable COLUMNS; None if it is not set."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() else None


def _accessible(path: Path) -> Path:
    """Return a path without ``~``, in folders that this user may enter.

    Raises
    ------
    InputError
        If one of the folders belongs to another user who does not share it.
    """
    path = path.expanduser()
    try:
        path.stat()
    except PermissionError as error:
        raise InputError(
            f"{path} cannot be reached: {error.strerror}",
            hint="use a directory of your own with --directory, or ask the owner of this one for "
            "permission; a private database cannot be shared: give it a server with accounts "
            "(mongodb_uri)",
        ) from error
    except OSError:
        pass
    return path


def _is_file(path: Path) -> bool:
    """Whether a file exists; False in a folder of another user that cannot be entered."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _is_own(path: Path) -> bool:
    """Whether a file belongs to this user: settings name programs that jobs start."""
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:
        return False


def directory_of_environment() -> Path | None:
    """The directory that the variable MGFLOWS_DIRECTORY names."""
    named = os.environ.get("MGFLOWS_DIRECTORY")
    return Path(named) if named else None


def _read_file(path: Path, model: type[Settings]) -> dict[str, Any]:
    try:
        values = parse_yaml(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="make it a readable text file"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        if isinstance(error, yaml.constructor.ConstructorError):
            raise InputError(
                f"{path} cannot be used{where}: {error.problem}", hint="correct the line"
            ) from error
        raise InputError(
            f"{path} is not YAML{where}", hint="write one `name: value` per line"
        ) from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold `name: value` lines, not a {type(values).__name__}")
    for name in values:
        if name not in model.model_fields:
            raise InputError(
                f"{path} has the unknown setting {name!r}",
                hint=_suggestion(str(name), list(model.model_fields)),
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
                f"the variable {name} is not a setting of mgflows", hint=_suggestion(name, valid)
            )


def _suggestion(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
    return f"did you mean {close[0]}? (all: {', '.join(valid)})"
