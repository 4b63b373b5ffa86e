"""``mgflows init``: the settings file, and the configuration files rendered from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import json_option, print_json
from mgflows.cli.paths import force_option
from mgflows.cli.tables import make_console
from mgflows.errors import InputError
from mgflows.settings import CATEGORIES
from mgflows.text import listed

if TYPE_CHECKING:
    from mgflows.settings import Settings

_KINDS = {
    "sampling": "sampling (one core, packed)",
    "dft": "density-functional labels (whole nodes, one batch job each)",
    "training": "training (one core, packed; a GPU for neppo on CUDA or GPUMD's nep)",
    "md": "molecular dynamics with the potential (one core, packed)",
}


class _ByCategory(click.ParamType):
    """``VALUE`` for all categories of jobs, or ``CATEGORY=VALUE`` for one."""

    name = "[category=]value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, str]:
        category, equals, rest = str(value).partition("=")
        if not equals:
            return None, category
        if category not in CATEGORIES:
            self.fail(
                f"there is no category {category!r}; choose one of {', '.join(CATEGORIES)}",
                param,
                ctx,
            )
        return category, rest


_SCHEDULERS = ("slurm", "pbs", "sge", "lsf", "none")


@click.command()
@click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mgflows-config"),
    show_default=True,
    help="Directory of the configuration, on a file system that the nodes share.",
)
@click.option("--scheduler", type=click.Choice(_SCHEDULERS), help="Batch system of the cluster.")
@click.option(
    "--mongodb-uri",
    help="URI of the MongoDB server  [default with --scheduler none: a private server in the "
    "directory].",
)
@click.option("--database-name", default="mgflows", show_default=True, help="Name of the database.")
@click.option(
    "--queue",
    multiple=True,
    type=_ByCategory(),
    help="Partition or queue; repeatable.",
)
@click.option("--account", multiple=True, type=_ByCategory(), help="Account to charge.")
@click.option("--cores", multiple=True, type=_ByCategory(), help="Cores per node.")
@click.option("--nodes", multiple=True, type=_ByCategory(), help="Nodes per batch job.")
@click.option("--gpus", multiple=True, type=_ByCategory(), help="GPUs per node.")
@click.option("--memory", multiple=True, type=_ByCategory(), help="Memory per node.")
@click.option(
    "--walltime", multiple=True, type=_ByCategory(), help="Walltime of a batch job, h:mm:ss."
)
@click.option(
    "--setup",
    multiple=True,
    type=_ByCategory(),
    help="Shell line that runs first, such as 'module load vasp'; repeatable.",
)
@click.option("--vasp-command", help="Command that starts VASP, such as 'srun vasp_std'.")
@click.option("--no-input", is_flag=True, help="Do not prompt; use defaults.")
@force_option
@json_option
def init(
    directory: Path,
    scheduler: str | None,
    mongodb_uri: str | None,
    database_name: str,
    no_input: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write mgflows.yaml and the files of FireWorks, jobflow and atomate2 rendered from it.

    If the directory has an mgflows.yaml, for example an edited one, the files are rendered again.
    """
    from mgflows.machine.configuration import refuse_foreign_files, write_configuration
    from mgflows.settings import FILE_NAME, Settings

    directory = directory.absolute()
    path = directory / FILE_NAME
    given = [
        name
        for name in ("scheduler", "mongodb_uri", *options)
        if click.get_current_context().params.get(name)
    ]
    if path.exists():
        if given:
            options_given = listed(["--" + name.replace("_", "-") for name in given])
            raise InputError(
                f"{path} exists already and {options_given} would change it",
                hint=f"edit the file and run mgflows init --directory {directory}, or choose "
                "another --directory",
            )
        settings = Settings.read(path)
    else:
        if not force:
            refuse_foreign_files(directory)
        ask = not no_input and not as_json and sys.stdin.isatty()
        settings = _new_settings(directory, scheduler, mongodb_uri, database_name, options, ask=ask)
        settings.write(path)
    _start_private_server(settings)
    paths = [path, *write_configuration(settings, directory, sys.executable)]
    if as_json:
        print_json(
            {
                "directory": str(directory),
                "files": [str(each) for each in paths],
                "mongodb_uri": settings.shown_uri,
                "scheduler": settings.scheduler,
            }
        )
        return
    _show(settings, directory, paths)


def _new_settings(
    directory: Path,
    scheduler: str | None,
    mongodb_uri: str | None,
    database_name: str,
    options: dict[str, Any],
    *,
    ask: bool,
) -> Settings:
    from mgflows.settings import Settings

    if scheduler is None:
        scheduler = (
            click.prompt("Batch system", type=click.Choice(_SCHEDULERS), default="slurm")
            if ask
            else "none"
        )
    if mongodb_uri is None and scheduler != "none":
        if not ask:
            raise InputError(
                "the nodes of a cluster cannot reach a private MongoDB server",
                hint="give --mongodb-uri, such as "
                "'mongodb://user:password@host:27017/?authSource=mgflows' (docs/how_to/mongodb.md)",
            )
        mongodb_uri = click.prompt("URI of the MongoDB server")
    resources = _resources(scheduler, options, ask=ask)
    vasp_command = options["vasp_command"]
    values = {
        "scheduler": scheduler,
        "mongodb_uri": mongodb_uri,
        "database_name": database_name,
        "resources": resources,
    }
    if vasp_command:
        values["vasp_command"] = vasp_command
    return Settings.checked({"directory": directory, **values})


def _resources(scheduler: str, options: dict[str, Any], *, ask: bool) -> dict[str, dict[str, Any]]:
    from mgflows.settings import Settings

    defaults = Settings.model_fields["resources"].get_default(call_default_factory=True)
    resources = {category: value.model_dump() for category, value in defaults.items()}
    for name in ("queue", "account", "cores", "nodes", "gpus", "memory", "walltime"):
        for category, value in options[name]:
            for each in [category] if category else CATEGORIES:
                resources[each][name] = value
    for category, line in options["setup"]:
        for each in [category] if category else CATEGORIES:
            resources[each]["setup"].append(line)
    if ask and scheduler != "none":
        for category in CATEGORIES:
            click.echo(f"\n{_KINDS[category]}")
            for name in ("queue", "account", "nodes", "cores", "gpus", "walltime"):
                if not any(given in (None, category) for given, _ in options[name]):
                    default = resources[category][name]
                    resources[category][name] = (
                        click.prompt(f"  {name}", default="" if default is None else str(default))
                        or None
                    )
    return resources


def _start_private_server(settings: Settings) -> None:
    """Start a private server, whose URI is then known."""
    if settings.is_private:
        from mgflows.machine.mongod import PrivateMongod

        PrivateMongod.from_settings(settings).start()


def _show(settings: Settings, directory: Path, paths: list[Path]) -> None:
    console = make_console()
    console.soft_wrap = True
    console.print(f"[bold]{directory}[/]: {', '.join(path.name for path in paths)}")
    console.print("Next", style="bold")
    console.print(f"  source {directory / 'env.sh'}")
    console.print("  mgflows doctor")
    if settings.scheduler == "none":
        console.print("  mgflows worker")
    for category, resources in settings.resources.items() if settings.scheduler != "none" else ():
        mode = "-r rapidfire" if resources.reserve else "rapidfire"
        files = (
            f"-w {directory}/my_fworker_{category}.yaml -q {directory}/my_qadapter_{category}.yaml"
        )
        console.print(f"  qlaunch -c {directory} {files} {mode} -m 10")
