"""Options and helpers that several commands share."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.errors import InputError
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from click.shell_completion import CompletionItem

    from mgflows.database import GlassDatabase

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "POTENTIAL_NAMES",
    "FiniteFloat",
    "Interrupted",
    "NameOrOther",
    "any_density_option",
    "campaign_argument",
    "complete_campaigns",
    "complete_datasets",
    "complete_potentials",
    "complete_results",
    "directory_option",
    "experiments_option",
    "json_option",
    "known_campaign",
    "number_list",
    "only_campaign",
    "only_submission",
    "open_database",
    "potential_id",
    "print_json",
]

POTENTIAL_NAMES = ("best", "last")

directory_option = click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory with mgflows.yaml, such as that of a quickstart  [default: the one that "
    "MGFLOWS_CONFIG or MGFLOWS_DIRECTORY names, then the nearest folder with mgflows.yaml, here or "
    "above].",
)
any_density_option = click.option(
    "--any-density",
    is_flag=True,
    help="Accept a density that differs from the default by more than a factor of 1.5.",
)
experiments_option = click.option(
    "--experiments",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file of your own measured values and curves, shown beside the built-in values.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _complete(
    context: click.Context, incomplete: str, names: Callable[[GlassDatabase], list[str]]
) -> list[str]:
    """Names in the database with this prefix; none if it does not answer."""
    from mgflows.errors import MgflowsError

    try:
        found = names(open_database(context.params.get("directory")))
    except MgflowsError:
        return []
    return sorted({name for name in found if name.startswith(incomplete)})


def complete_campaigns(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[str]:
    """Complete the name of a campaign."""
    return _complete(
        context, incomplete, lambda database: [each.campaign for each in database.campaigns()]
    )


def complete_datasets(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[str]:
    """Complete the id of a dataset."""
    return _complete(
        context, incomplete, lambda database: [each.dataset_id for each in database.datasets()]
    )


def complete_potentials(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[str]:
    """Complete the id of a potential, or ``best`` and ``last``."""
    return _complete(
        context,
        incomplete,
        lambda database: [
            *POTENTIAL_NAMES,
            *(each.potential_id for each in database.potentials()),
        ],
    )


def complete_results(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the id of a dataset or a potential, or the name of a campaign."""
    return [
        name
        for kind in (complete_campaigns, complete_datasets, complete_potentials)
        for name in kind(context, parameter, incomplete)
    ]


def campaign_argument(*, required: bool = False) -> Callable[[F], F]:
    """The argument CAMPAIGN, whose names a shell completes."""
    return click.argument("campaign", required=required, shell_complete=complete_campaigns)


class FiniteFloat(click.FloatRange):
    """A number within limits; ``nan`` and ``inf``, which click accepts, are refused."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number

    def _describe_range(self) -> str:
        """The limits for the help; click itself prints ``x<=None`` where there are none."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class NameOrOther(click.ParamType):
    """One of several names, or something else that the command checks, such as a file.

    Parameters
    ----------
    names
        The names, which a shell completes.
    other
        Any other accepted value, in capitals for the help, such as ``FILE``.
    """

    name = "name"

    def __init__(self, names: Sequence[str], other: str) -> None:
        self.names = tuple(names)
        self.other = other

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """What the help shows for the value."""
        return f"[{'|'.join((*self.names, self.other))}]"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Complete the names, and files."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


def number_list(context: click.Context, parameter: click.Parameter, value: str) -> list[float]:  # noqa: ARG001
    """Callback of an option that takes numbers separated by commas."""
    try:
        numbers = [float(word) for word in value.split(",") if word.strip()]
        if not all(map(math.isfinite, numbers)):
            raise ValueError
        return numbers
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a list of numbers such as {parameter.default}"
        ) from error


class Interrupted(click.exceptions.Abort):
    """Ctrl-C in a command that reports what was kept.

    Parameters
    ----------
    message
        What was kept and how to continue.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


def open_database(directory: Path | None) -> GlassDatabase:
    """Open the database that the settings of a directory name."""
    from mgflows.database import GlassDatabase

    return GlassDatabase(directory=directory)


def known_campaign(database: GlassDatabase, name: str | None) -> str | None:
    """Return the name of a campaign if something in the database belongs to it.

    Raises
    ------
    InputError
        If nothing does; the hint lists the campaigns.
    """
    from mgflows.database.progress import require_campaign

    if name is not None:
        require_campaign(database.mongo, name)
    return name


def only_submission(database: GlassDatabase, name: str | None) -> str:
    """Return the campaign or submitted validation of a name; without a name, the only campaign.

    Raises
    ------
    InputError
        If there is nothing of this name, or several campaigns and no name.
    """
    return known_campaign(database, name) or only_campaign(database, name)


def only_campaign(database: GlassDatabase, name: str | None) -> str:
    """Return the campaign of a name or, without a name, the only one.

    Raises
    ------
    InputError
        If there is no such campaign, or several and no name.
    """
    if name is not None:
        known_campaign(database, name)
        return name
    names = [campaign.campaign for campaign in database.campaigns()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            f"there are no campaigns in {database.settings.shown_uri}",
            hint="start one with: mgflows quickstart",
        )
    raise InputError(f"there are {len(names)} campaigns: {listed(names)}", hint="name one of them")


def potential_id(database: GlassDatabase, campaign: str | None, name: str) -> str:
    """Return the id of the ``best`` or the ``last`` potential of a campaign; other names as given.

    Parameters
    ----------
    database
        The database.
    campaign
        The campaign; without a name, the only one.
    name
        ``best``, the one to use; ``last``, the one trained last; or an id.

    Raises
    ------
    InputError
        If the campaign is not clear, or has no potential.
    """
    if name not in POTENTIAL_NAMES:
        return name
    campaign = only_campaign(database, campaign)
    best = database.best_potential(campaign)
    return best.potential_id if name == "best" else database.potentials(campaign)[-1].potential_id


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON on standard output; numbers that are not finite become null."""
    click.echo(json.dumps(_plain(value), indent=indent, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        # Scalars and arrays of numpy.
        return _plain(value.tolist())
    return value
