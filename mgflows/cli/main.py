"""The ``mgflows`` command: a group whose subcommands are imported only when they are called."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import click

import mgflows
from mgflows.errors import MgflowsError

_COMMANDS = {
    "quickstart": (
        "mgflows.cli.quickstart:quickstart",
        "Run the whole method on this machine, small.",
    ),
    "init": ("mgflows.cli.init:init", "Write the configuration of a cluster."),
    "worker": ("mgflows.cli.worker:worker", "Run jobs on this machine."),
    "status": ("mgflows.cli.query:status", "Show how far a campaign is."),
    "cost": ("mgflows.cli.query:cost", "Show what a campaign has cost."),
    "fitness": ("mgflows.cli.fitness:fitness", "Show whether the surrogate is worth its labels."),
    "advance": ("mgflows.cli.advance:advance", "Submit the jobs whose inputs are there."),
    "crystals": ("mgflows.cli.crystals:crystals", "List or fetch the crystals of an alloy."),
    "datasets": ("mgflows.cli.query:datasets", "List the datasets."),
    "potentials": ("mgflows.cli.query:potentials", "List the potentials."),
    "export": ("mgflows.cli.query:export", "Write a dataset or a potential to files."),
    "report": ("mgflows.cli.report:report", "Write the HTML report of a campaign."),
    "validate": ("mgflows.cli.validate:validate", "Validate a NEP without a database."),
    "sample": ("mgflows.cli.sample:sample", "Sample glasses without a database."),
    "bench": ("mgflows.cli.bench:bench", "Measure the speed of mgflows and its peers."),
    "converge": (
        "mgflows.cli.converge:converge",
        "Find the cutoff and the k-mesh that labels need.",
    ),
    "db": ("mgflows.cli.db:db", "Start, stop and look at a private MongoDB."),
    "doctor": ("mgflows.cli.doctor:doctor", "Check this machine and say how to mend it."),
    "heal": ("mgflows.cli.heal:heal", "Bring back what died, hangs or failed."),
}


class _LazyGroup(click.Group):
    """Imports a subcommand when it is called; its help line stands in the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mgflows.__version__, prog_name="mgflows")
@click.option("-v", "--verbose", count=True, help="Say more; twice for everything.")
def cli(verbose: int) -> None:
    """Build and validate machine-learned potentials for metallic glasses.

    Begin with `mgflows quickstart --directory quickstart`.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler()
    # On the handler, because FireWorks sets the levels of its own loggers.
    handler.setLevel(level)
    logging.basicConfig(
        level=level, handlers=[handler], format="%(levelname)s %(name)s: %(message)s"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Errors that a user can mend end with one sentence and exit code 2."""
    try:
        code: Any = cli.main(args=arguments, prog_name="mgflows", standalone_mode=False)
    except MgflowsError as error:
        _complain(str(error))
        code = 2
    except click.exceptions.Abort:
        _complain("interrupted; the same command goes on from here")
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone: no reason to complain.
        sys.stderr.close()
        code = 141
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
