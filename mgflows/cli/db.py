"""``mgflows db``: the private MongoDB server of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.machine.mongod import PrivateMongod


@click.group()
def db() -> None:
    """Start, stop and check the private MongoDB server of this machine."""


@db.command()
@directory_option
@json_option
def start(directory: Path | None, as_json: bool) -> None:
    """Start the server if it is not running."""
    server = _server(directory)
    was_running = server.pid() is not None
    uri = server.start()
    if as_json:
        print_json({"uri": uri, "was_running": was_running})
        return
    click.echo(f"MongoDB {'was already running' if was_running else 'runs'}: {uri}")


@db.command()
@click.option("--force", is_flag=True, help="Stop it even if a campaign is running.")
@directory_option
@json_option
def stop(force: bool, directory: Path | None, as_json: bool) -> None:
    """Stop the server; its data are kept.

    It is refused while a campaign runs on this machine. With --force, `mgflows run` and
    `mgflows quickstart` end and resume when they are run again; workers wait for the server and
    then end.
    """
    server = _server(directory)
    if not force:
        _require_idle(server, directory)
    is_in_use = server.is_in_use()
    was_running = server.stop()
    if as_json:
        print_json({"was_running": was_running, "ends_a_campaign": was_running and is_in_use})
        return
    text = "MongoDB is stopped" if was_running else "MongoDB was not running"
    if was_running and is_in_use:
        text += "; the campaign that used it ends, and resumes with the same command"
    click.echo(text)


@db.command()
@directory_option
@json_option
@click.pass_context
def status(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """Show whether the server is running; the exit code is 1 if it is not."""
    found = _server(directory).status()
    if as_json:
        print_json(vars(found))
    else:
        click.echo(
            f"MongoDB runs, process {found.pid}: {found.uri}"
            if found.running
            else "MongoDB does not run"
        )
        click.echo(f"data  {found.directory}, {found.free_bytes / 1024**3:.1f} GiB free")
        click.echo(f"log   {found.log}")
    context.exit(0 if found.running else 1)


def _require_idle(server: PrivateMongod, directory: Path | None) -> None:
    """Raise ServiceError if a launcher or a job uses the server."""
    from mgflows.errors import MgflowsError, ServiceError
    from mgflows.recovery import plan_recovery
    from mgflows.settings import Settings
    from mgflows.text import plural

    if server.pid() is None:
        return
    hint = "end it first (Ctrl-C where it runs; it resumes later), or stop the server with --force"
    if server.is_in_use():
        raise ServiceError("`mgflows run` or `mgflows quickstart` uses the server", hint=hint)
    try:
        running = plan_recovery(Settings.load(directory)).running
    except MgflowsError:
        # A server that does not answer is stopped in any case.
        return
    if running:
        jobs = plural(len(running), "job")
        raise ServiceError(f"the server is used by {jobs} of a worker", hint=hint)


def _server(directory: Path | None) -> PrivateMongod:
    from mgflows.errors import InputError
    from mgflows.machine.mongod import PrivateMongod
    from mgflows.settings import Settings

    settings = Settings.load(directory)
    if not settings.is_private:
        raise InputError(
            f"the settings name the MongoDB server {settings.shown_uri}; there is no private one",
            hint="remove mongodb_uri from mgflows.yaml to use a private server",
        )
    return PrivateMongod.from_settings(settings)
