"""``mgflows run`` and ``mgflows submit``: the campaign of a folder that ``mgflows new`` wrote."""

from __future__ import annotations

from pathlib import Path

import click

from mgflows.cli.options import directory_option, json_option, print_json
from mgflows.cli.running import describe_submission, print_summary, run_campaign
from mgflows.cli.tables import make_console
from mgflows.errors import ServiceError
from mgflows.text import plural

_folder = click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)


@click.command()
@_folder
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Jobs at the same time  [default: n_workers of the settings, or one per core up to two].",
)
@click.option("--retry", is_flag=True, help="Rerun the jobs that failed in an earlier run.")
@directory_option
@json_option
def run(
    folder: Path | None, workers: int | None, retry: bool, directory: Path | None, as_json: bool
) -> None:
    """Run the campaign of FOLDER on this machine; write its potential and report.

    FOLDER contains campaign.py; by default it is that of --directory, or the nearest folder with
    campaign.py, here or above. After Ctrl-C, a crash or a power cut, run the same command again; it
    resumes where it stopped.
    """
    from mgflows.machine import local_campaign
    from mgflows.machine.new_campaign import campaign_folder, load_campaign

    console = make_console(stderr=as_json)
    folder = campaign_folder(folder, directory)
    maker = load_campaign(folder)
    local_campaign.check_packages()
    local_campaign.check_directory(folder)
    started = local_campaign.start(maker, folder, workers)
    console.print(f"[bold]{maker.name}[/] in {folder}")
    console.print(describe_submission(started), soft_wrap=True)
    run_campaign(started, console, retry=retry)
    with console.status("writing the potential, the frames and the report"):
        summary = local_campaign.write_results(started)
    if as_json:
        print_json(summary)
    else:
        print_summary(console, folder, summary)
    if "student_instead_of" in summary:
        raise ServiceError(
            f"the campaign {maker.name} has no potential but the student of its teacher",
            hint="fix the cause of the failed jobs and run the same command with --retry",
        )


@click.command()
@_folder
@directory_option
@json_option
def submit(folder: Path | None, directory: Path | None, as_json: bool) -> None:
    """Submit the campaign of FOLDER to the database of its mgflows.yaml; run nothing.

    FOLDER contains campaign.py; by default it is that of --directory, or the nearest folder with
    campaign.py, here or above. Workers run the jobs: start `mgflows worker` here or `qlaunch
    rapidfire` on a cluster. A second call adds nothing.
    """
    from mgflows.launch import submit_campaign
    from mgflows.machine.mongod import PrivateMongod
    from mgflows.machine.new_campaign import campaign_folder, load_campaign
    from mgflows.settings import Settings

    folder = campaign_folder(folder, directory)
    maker = load_campaign(folder)
    settings = Settings.load(folder)
    if settings.is_private:
        PrivateMongod.from_settings(settings).start()
    submission = submit_campaign(maker, settings)[0]
    if as_json:
        print_json(
            {
                "campaign": maker.name,
                "mongodb_uri": settings.shown_uri,
                "is_new": submission.is_new,
                "n_added": submission.n_added,
                "n_planned": submission.n_planned,
            }
        )
        return
    console = make_console()
    if submission.is_new:
        console.print(
            f"submitted {maker.name} to {settings.shown_uri}: "
            f"{plural(submission.n_added + submission.n_planned, 'job')}, {submission.n_added} of "
            "them can run now",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print(
            f"{maker.name} was submitted before; {submission.n_added} jobs added",
            markup=False,
            soft_wrap=True,
        )
