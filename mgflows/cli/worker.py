"""``mgflows worker``: run jobs of campaigns on this machine."""

from __future__ import annotations

import click


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": [],
    }
)
@click.pass_context
def worker(context: click.Context) -> int:
    """Run jobs until none is left.

    The options are those of ``python -m mgflows.launch.worker``, which batch jobs start.
    """
    from mgflows.launch.worker import main

    return int(main(context.args))
