"""Options and helpers that several subcommands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase

__all__ = ["directory_option", "json_option", "only_campaign", "open_database", "print_json"]

directory_option = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory with mgflows.yaml, such as that of a quickstart; by default this one, or as the MGFLOWS_* variables say.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def open_database(directory: Path | None) -> GlassDatabase:
    """The database of a directory; one clear error if it does not answer."""
    from mgflows.database import GlassDatabase

    return GlassDatabase(directory=directory)


def only_campaign(database: GlassDatabase, name: str | None) -> str:
    """The campaign named, or the only one there is.

    Raises
    ------
    InputError
        If there is none, or if there are several and none is named.
    """
    if name:
        return database.campaign(name).campaign
    names = [campaign.campaign for campaign in database.campaigns()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            f"there is no campaign in {database.settings.shown_uri}; begin with: mgflows quickstart"
        )
    raise InputError(f"there are {len(names)} campaigns ({', '.join(names)}); name one")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, default=str))
