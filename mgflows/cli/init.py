"""``mgflows init``: one file of settings, and from it all that a cluster needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.errors import InputError
from mgflows.settings import CATEGORIES

if TYPE_CHECKING:
    from mgflows.settings import Settings

_KINDS = {
    "sampling": "sampling (one core, packed)",
    "dft": "density-functional labels (whole nodes, one batch job each)",
    "training": "training (a GPU)",
    "md": "molecular dynamics with the potential (one core, packed)",
}


class _ByCategory(click.ParamType):
    """``VALUE`` for all categories, or ``CATEGORY=VALUE``."""

    name = "[category=]value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, str]:
        category, equals, rest = str(value).partition("=")
        if not equals:
            return None, category
        if category not in CATEGORIES:
            self.fail(
                f"{category!r} is no category; take one of {', '.join(CATEGORIES)}", param, ctx
            )
        return category, rest


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mgflows-config"),
    show_default=True,
    help="Folder of the configuration; on a file system that the nodes share.",
)
@click.option(
    "--scheduler", type=click.Choice(["slurm", "pbs", "none"]), help="Batch system of the cluster."
)
@click.option(
    "--mongodb-uri",
    help="Where the MongoDB server is; with --scheduler none, nothing means a private one in the folder.",
)
@click.option(
    "--database-name", default="mgflows", show_default=True, help="Database that holds everything."
)
@click.option(
    "--queue",
    multiple=True,
    type=_ByCategory(),
    help="Partition or queue; may be repeated with categories.",
)
@click.option("--account", multiple=True, type=_ByCategory(), help="Account that pays.")
@click.option("--cores", multiple=True, type=_ByCategory(), help="Cores on each node.")
@click.option("--nodes", multiple=True, type=_ByCategory(), help="Nodes of one batch job.")
@click.option("--gpus", multiple=True, type=_ByCategory(), help="GPUs on each node.")
@click.option("--memory", multiple=True, type=_ByCategory(), help="Memory on each node.")
@click.option(
    "--walltime", multiple=True, type=_ByCategory(), help="Longest time of one batch job, h:mm:ss."
)
@click.option(
    "--setup",
    multiple=True,
    type=_ByCategory(),
    help="Shell line before the work, such as 'module load vasp'; may be repeated.",
)
@click.option("--vasp-command", help="How VASP is started, such as 'srun vasp_std'.")
@click.option("--no-input", is_flag=True, help="Ask nothing; take defaults for what is not given.")
def init(
    directory: Path,
    scheduler: str | None,
    mongodb_uri: str | None,
    database_name: str,
    no_input: bool,
    **options: Any,
) -> None:
    """Write mgflows.yaml and, rendered from it, what FireWorks, jobflow and atomate2 read.

    A folder that has an mgflows.yaml is rendered again from it, as after an edit.
    """
    from mgflows.machine.configuration import write_configuration
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
            raise InputError(
                f"{path} is there already and {', '.join('--' + name.replace('_', '-') for name in given)} would change it; edit the file and run "
                f"mgflows init --directory {directory}, or choose another --directory"
            )
        settings = Settings.read(path)
    else:
        ask = not no_input and sys.stdin.isatty()
        settings = _new_settings(directory, scheduler, mongodb_uri, database_name, options, ask=ask)
        settings.write(path)
    _start_private_server(settings)
    paths = [path, *write_configuration(settings, directory, sys.executable)]
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
            click.prompt(
                "Batch system", type=click.Choice(["slurm", "pbs", "none"]), default="slurm"
            )
            if ask
            else "none"
        )
    if mongodb_uri is None and scheduler != "none":
        if not ask:
            raise InputError(
                "a cluster's nodes cannot reach a private MongoDB server on a socket; give --mongodb-uri, such as "
                "'mongodb://user:password@host:27017/?authSource=mgflows' (docs/mongodb.md)"
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
    """A private server's URI is known once it has run."""
    if settings.is_private:
        from mgflows.machine.mongod import PrivateMongod

        PrivateMongod.from_settings(settings).start()


def _show(settings: Settings, directory: Path, paths: list[Path]) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
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
