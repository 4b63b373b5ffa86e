"""``mgflows quickstart``: the whole method on one machine, with a stand-in for DFT."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from mgflows.cli.options import json_option, print_json
from mgflows.cli.running import describe_submission, print_summary, run_campaign
from mgflows.cli.tables import make_console

SCALES = ("tiny", "small")
"""Names of :data:`mgflows.flows.scales.SCALES`, repeated so that --help stays fast."""


def _default_directory() -> Path:
    from mgflows.settings import directory_of_environment

    return directory_of_environment() or Path("quickstart")


@click.command()
@click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_directory,
    show_default="MGFLOWS_DIRECTORY or quickstart",
    help="Directory of the database, launches, potential and report.",
)
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="small",
    show_default=True,
    help="small takes about five minutes, tiny two to three (for tests).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Jobs at the same time  [default: n_workers of the settings, or one per core up to two].",
)
@click.option(
    "--alloy",
    "formula",
    default=None,
    help="Another alloy of the elements of the stand-in, such as Zr50Cu40Ni10; for demonstration "
    "only, because only pairs of Cu, Zr and Al are fitted  [default: Cu46Zr46Al8].",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "efficient"]),
    default="paper",
    show_default=True,
    help="Cooling protocol of the surrogate, as in `mgflows sample`.",
)
@click.option(
    "--sampler",
    type=click.Choice(["md", "swap"]),
    default="md",
    show_default=True,
    help="How the trained potential is cooled in the feedback stage: by molecular dynamics, or "
    "with Monte Carlo exchanges of unlike atoms between its steps, for deeper glasses.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of every random choice.",
)
@click.option("--retry", is_flag=True, help="Rerun the jobs that failed in an earlier run.")
@json_option
def quickstart(
    directory: Path,
    scale: str,
    workers: int | None,
    formula: str | None,
    protocol: Literal["paper", "efficient"],
    sampler: Literal["md", "swap"],
    seed: int,
    retry: bool,
    as_json: bool,
) -> None:
    """Run the whole method on this machine; write a potential and a report.

    Labels come from a stand-in EAM, not from DFT. After Ctrl-C, a crash or a power cut, run the
    same command again; it resumes where it stopped. --json prints summary.json at the end and
    everything else to standard error.
    """
    from mgflows.machine import local_campaign

    console = make_console(stderr=as_json)
    local_campaign.check_packages()
    from mgflows.flows.scales import stand_in_campaign, with_samplers

    if formula is None:
        maker = stand_in_campaign(scale, seed=seed)
    else:
        from mgflows.machine.new_campaign import demonstration

        maker = demonstration(formula, scale, seed)
    maker = with_samplers(maker, protocol, sampler)
    directory = directory.absolute()
    local_campaign.check_directory(directory)
    summary = local_campaign.read_summary(directory)
    is_finished = summary and (summary["campaign"], summary.get("seed")) == (maker.name, seed)
    if summary and is_finished and not retry:
        console.print(f"Campaign [bold]{maker.name}[/] in {directory} is finished; nothing to do.")
    else:
        console.print(
            f"[bold]mgflows quickstart[/]: {maker.alloy.name}, scale {scale}, in {directory}"
        )
        console.print("[yellow]Labels come from a stand-in EAM, not from DFT.[/]")
        run = local_campaign.start(maker, directory, workers)
        console.print(describe_submission(run))
        run_campaign(run, console, retry=retry)
        with console.status("writing the potential, the frames and the report"):
            summary = local_campaign.write_results(run, seed)
    if as_json:
        print_json(summary)
    else:
        print_summary(console, directory, summary)
