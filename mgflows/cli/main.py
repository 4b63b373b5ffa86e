"""The ``mgflows`` command, a group that imports a subcommand when it is called.

Exit codes of all commands: 0 success; 1 the command ran and found a problem (`train`, `validate`,
`check`, `doctor`, `heal`, `recover-offline`, `db status`), or a bug, with its traceback; 2 an
error, reported in one sentence; 130 interrupted with Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. Those
of `mgflows worker` are in :class:`mgflows.launch.worker.ExitCode`.
"""

from __future__ import annotations

import codecs
import errno
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mgflows
from mgflows.errors import MaskingFormatter, MgflowsError, mask_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from click.shell_completion import CompletionItem

_COMMANDS = {
    "quickstart": (
        "mgflows.cli.quickstart:quickstart",
        "Run the whole method on this machine at a small scale.",
    ),
    "new": ("mgflows.cli.new:new", "Write the folder of a campaign for any alloy."),
    "run": ("mgflows.cli.run:run", "Run the campaign of a folder on this machine."),
    "submit": ("mgflows.cli.run:submit", "Submit the campaign of a folder to its database."),
    "init": ("mgflows.cli.init:init", "Write the configuration of a cluster."),
    "worker": ("mgflows.cli.worker:worker", "Run jobs on this machine."),
    "status": ("mgflows.cli.status:status", "Show the progress of a campaign."),
    "cost": ("mgflows.cli.cost:cost", "Show the cost of a campaign and a forecast."),
    "fitness": ("mgflows.cli.fitness:fitness", "Show how well the surrogate predicts the labels."),
    "advance": ("mgflows.cli.advance:advance", "Submit planned jobs whose inputs are available."),
    "crystals": ("mgflows.cli.crystals:crystals", "List or fetch the crystals of an alloy."),
    "import": ("mgflows.cli.imports:import_", "Import labels of other programs."),
    "frames": (
        "mgflows.cli.frames:frames",
        "List labelled frames by their properties.",
    ),
    "dataset": ("mgflows.cli.frames:dataset", "Freeze, merge, subtract or split datasets."),
    "datasets": ("mgflows.cli.results:datasets", "List the datasets."),
    "potentials": ("mgflows.cli.results:potentials", "List the potentials."),
    "extend": ("mgflows.cli.changes:extend", "Add samples or quenches to a campaign."),
    "retrain": ("mgflows.cli.changes:retrain", "Train another potential for a campaign."),
    "revalidate": ("mgflows.cli.changes:revalidate", "Validate a potential of a campaign again."),
    "label": ("mgflows.cli.changes:label", "Label structures with a campaign's method."),
    "rename": ("mgflows.cli.changes:rename", "Rename a campaign."),
    "delete": ("mgflows.cli.changes:delete", "Delete a campaign."),
    "export": ("mgflows.cli.results:export", "Write a dataset or a potential to files."),
    "report": ("mgflows.cli.report:report", "Write the HTML report of a campaign."),
    "serve": ("mgflows.cli.serve:serve", "Show the campaigns in a browser, read-only."),
    "figures": ("mgflows.cli.figures:figures", "Write each figure of a campaign to a file."),
    "reproduce": (
        "mgflows.cli.reproduce:reproduce",
        "Show to what extent a paper's figures are reproduced.",
    ),
    "train": ("mgflows.cli.train:train", "Train a NEP without a database."),
    "committee": (
        "mgflows.cli.committee:committee",
        "Estimate errors with a committee of NEPs and select frames to label.",
    ),
    "learning-curve": (
        "mgflows.cli.learning_curve:learning_curve",
        "Estimate the number of labels for a target error.",
    ),
    "check": ("mgflows.cli.check:check", "Test a NEP before it is used for dynamics."),
    "validate": ("mgflows.cli.validate:validate", "Validate potentials, here or as jobs."),
    "sample": ("mgflows.cli.sample:sample", "Sample glasses without a database."),
    "bench": ("mgflows.cli.bench:bench", "Measure the speed of mgflows and other codes."),
    "converge": (
        "mgflows.cli.converge:converge",
        "Find the cutoff and the k-mesh for converged labels.",
    ),
    "db": ("mgflows.cli.db:db", "Start, stop and check a private MongoDB server."),
    "doctor": ("mgflows.cli.doctor:doctor", "Check this machine and suggest fixes."),
    "recover-offline": (
        "mgflows.cli.recover_offline:recover_offline",
        "Store the results of jobs that ran without a connection.",
    ),
    "heal": ("mgflows.cli.heal:heal", "Recover lost, hanging and failed jobs."),
    "completion": (
        "mgflows.cli.completion:completion",
        "Print the completion script for a shell.",
    ),
}


_MOMENT = 0.05
"""s after which a lost interruption is repeated."""


class _NotReadError(Exception):
    """The reader of the output, such as `head`, has ended."""


class _LazyGroup(click.Group):
    """A group whose help needs only the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click would end with 1, a problem found, if nobody reads the output."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _NotReadError from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the closest name for an unknown command; pass on the directory of the group."""
        import difflib

        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            close = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "list them with: mgflows --help"
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        _, command, rest = super().resolve_command(ctx, args)
        if command is not None and ctx.params.get("directory") is not None:
            rest = _with_directory(command, name, rest, ctx.params["directory"])
        return name, command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without importing the commands."""
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


def _with_directory(
    command: click.Command, name: str, arguments: list[str], directory: Path
) -> list[str]:
    """Insert the directory of the group into the arguments of a command, where they override it.

    Raises
    ------
    click.UsageError
        If the command uses no directory.
    """
    position = 0
    while isinstance(command, click.Group):
        found = command.commands.get("".join(arguments[position : position + 1]))
        if found is None:
            # A help option, or an error that the group will report.
            return arguments
        command, name, position = found, f"{name} {arguments[position]}", position + 1
    if not any(parameter.name == "directory" for parameter in command.params):
        raise click.UsageError(f"mgflows {name} uses no directory; leave out -C {directory}")
    return [*arguments[:position], "--directory", str(directory), *arguments[position:]]


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mgflows.__version__, prog_name="mgflows")
@click.option("-v", "--verbose", count=True, help="Log progress; twice for all details.")
@click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the campaign, for all commands that use one  [default: MGFLOWS_DIRECTORY, "
    "then the nearest folder with mgflows.yaml, here or above].",
)
def cli(verbose: int, directory: Path | None) -> None:  # noqa: ARG001 - passed on by the group
    """Build and validate machine-learned potentials for metallic glasses.

    Start with `mgflows quickstart --directory quickstart`.

    Exit codes: 0 success, 1 a check found a problem, 2 error, 130 interrupted (143 by
    SIGTERM, 129 by SIGHUP).
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler()
    # On the handler, because FireWorks sets the levels of its own loggers.
    handler.setLevel(level)
    handler.setFormatter(MaskingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that the user can fix ends with one sentence and code 2."""
    _open_missing_streams()
    _replace_what_cannot_be_encoded()
    received: list[signal.Signals] = []
    try:
        with _interruption_by_signals(received):
            code: Any = cli.main(args=arguments, prog_name="mgflows", standalone_mode=False)
    except click.exceptions.Abort as stopped:
        code = _end_interrupted(received, str(stopped))
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        _print_error(_plain_sentence(error.format_message()))
        code = error.exit_code
    except click.ClickException as error:
        _print_error(_plain_sentence(error.format_message()))
        code = error.exit_code
    except (BrokenPipeError, _NotReadError):
        # What is still in the buffer goes nowhere: Python would report it at the end.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:  # noqa: BLE001 - printed without passwords
        message = _explanation(error)
        if received:
            # What an interruption broke, such as the import of a package that caught it.
            code = _end_interrupted(received)
        elif message is None:
            # A bug: the traceback that Python would print, but without passwords.
            click.echo(mask_credentials(traceback.format_exc()), err=True, nl=False)
            code = 1
        else:
            _print_error(message)
            code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _end_interrupted(received: list[signal.Signals], message: str = "") -> int:
    """Print that the command was interrupted, and return its exit code."""
    number = received[0] if received else signal.SIGINT
    by = "" if number == signal.SIGINT else f" by {number.name}"
    _print_error(message or f"interrupted{by}")
    return 128 + number


@contextmanager
def _interruption_by_signals(received: list[signal.Signals]) -> Iterator[None]:
    """Let the first SIGTERM or SIGHUP interrupt a command as Ctrl-C does, and record signals.

    The handling of Ctrl-C (keep finished work, end processes, print a sentence) then also applies
    at the end of a session or of a batch job. A second signal ends the command at once.
    Signals that are ignored, such as SIGHUP under ``nohup``, stay ignored.

    Python loses an interruption that arrives in a destructor or in a callback of the import system;
    it is then repeated a moment later.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        signal.signal(number, defaults[number])
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    def interrupt_again(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    def repeat_lost(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            earlier_hook(unraisable)
            return
        signal.signal(signal.SIGALRM, interrupt_again)
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)

    earlier_hook = sys.unraisablehook
    defaults: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    handled = [
        number
        for number, default in defaults.items()
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is default
    ]
    for number in handled:
        signal.signal(number, interrupt)
    if threading.current_thread() is threading.main_thread():
        sys.unraisablehook = repeat_lost
    try:
        yield
    finally:
        sys.unraisablehook = earlier_hook
        for number in handled:
            signal.signal(number, defaults[number])


def _explanation(error: Exception) -> str | None:
    """One sentence for an error that is not a bug; None for a bug."""
    if isinstance(error, MgflowsError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        remedy = "check the disk and the network"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "free some space and run the command again, or choose another directory"
        elif error.filename is not None:
            remedy = "check the path, its permissions and the disk"
        where = f"{error.filename}: " if error.filename is not None else ""
        return mask_credentials(f"{where}{error.strerror}; {remedy}")
    # Commands without a database do not import pymongo.
    pymongo = sys.modules.get("pymongo.errors")
    if pymongo is not None and isinstance(error, pymongo.PyMongoError):
        reason = str(error).partition("\n")[0].partition(", full error")[0]
        return mask_credentials(f"the database failed: {reason}; check it with: mgflows doctor")
    return None


def _print_error(message: str) -> None:
    from rich.text import Text

    from mgflows.cli.tables import make_console

    make_console(stderr=True).print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def _plain_sentence(message: str) -> str:
    """Remove the capital and the full stop of a sentence of click."""
    message = message.rstrip(".")
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


_REPLACEMENTS = {"✓": "ok", "✗": "x", "…": "...", "→": "->", "Å": "A", "–": "-", "±": "+-"}


def _open_missing_streams() -> None:
    """Discard what is written to a stream that the caller has closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It stays open to the end of the process.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _replace_what_cannot_be_encoded() -> None:
    """Print replacements for characters that the terminal's encoding, such as Latin-1, lacks."""
    codecs.register_error("mgflows", _replacement)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="mgflows")


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = "".join(_similar(character) for character in error.object[error.start : error.end])
    return text, error.end


def _similar(character: str) -> str:
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    ascii_letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return ascii_letters or "?"
