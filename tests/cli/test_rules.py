"""Rules that every command follows, each tested on all commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import click
import pytest
from pydantic import SecretStr

from mgflows.cli.main import cli
from mgflows.connections import open_database
from mgflows.settings import Settings
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mgflows.machine.mongod import PrivateMongod


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of all commands that are not groups."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, (*path, name))


def command_of(path: tuple[str, ...]) -> click.Command:
    command: click.Command | None = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    return command


COMMANDS = sorted(leaves(cli))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)

WITHOUT_JSON = {("worker",), ("completion",), ("serve",)}
"""They print a log, a script, and the address of a server."""
FREE_TEXT = {
    *("names", "host", "token"),
    *("campaign", "name", "submission", "subset", "subsets", "family", "hold_out", "fingerprint"),
    *("formula", "figure", "elements", "width", "licence", "command", "neps"),
    *("tables", "databases"),
    *("method", "subset_key", "family_key", "keys"),
    *("identifier", "identifiers", "others", "dataset", "keep", "potential", "start_from"),
    *("source", "against", "samples", "fractions", "cutoffs", "k_spacings", "composition"),
    *("time", "energy", "largest_force", "pressure", "density", "atoms", "sweeps", "rate"),
    *("mongodb_uri", "database_name", "vasp_command", "label_arguments"),
}
"""Parameters that have no finite set of values."""
RESUMING = {("committee", "train"), ("learning-curve",)}
"""They continue what is in their output and refuse other settings."""
UNKNOWN = {
    ("rename",): ("NOPE", "new"),
    ("label",): ("glass.xyz", "--campaign", "NOPE"),
    ("dataset", "freeze"): ("NOPE",),
    ("delete",): ("NOPE", "--yes"),
    ("reproduce",): ("wadowski2025", "--campaign", "NOPE"),
    ("worker",): ("--campaign", "NOPE"),
}
"""Arguments of commands that take more than a campaign."""
GLASS = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nCu 0 0 0\n'
REGISTERING = {("import",), ("dataset", "merge")}
"""Their campaign may be new."""
TABLES = [
    *(("status",), ("cost",), ("fitness",), ("datasets",), ("potentials",), ("frames",)),
    *(("heal",), ("advance",), ("crystals", "Cu", "Zr", "Al"), ("reproduce", "wadowski2025")),
]


@every_command
def test_help_is_complete_and_fits_80_columns(path, run) -> None:
    code, out, _ = run(*path, "--help")
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert not any(word in out for word in ("None", "\\b"))
    for parameter in command_of(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@every_command
def test_results_are_available_as_json(path) -> None:
    has_json = any("--json" in parameter.opts for parameter in command_of(path).params)
    assert has_json is (path not in WITHOUT_JSON)


@every_command
def test_finite_sets_are_choices(path) -> None:
    for parameter in command_of(path).params:
        if isinstance(parameter.type, click.types.StringParamType):
            assert parameter.name in FREE_TEXT, f"{parameter.name} accepts any text"


@every_command
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_must_be_finite(path, value) -> None:
    """click accepts nan and inf as numbers, and nan passes every comparison with a limit."""
    command = command_of(path)
    for parameter in command.params:
        if isinstance(parameter.type, click.types.FloatParamType):
            values = (value,) * parameter.nargs if parameter.nargs > 1 else value
            given = (values,) if parameter.multiple else values
            with pytest.raises(click.BadParameter, match=r"not a finite number|not in the range"):
                parameter.process_value(click.Context(command), given)


@every_command
def test_seeds_are_not_negative(path) -> None:
    """numpy accepts no others, and the error would come from inside the work."""
    for parameter in command_of(path).params:
        if parameter.name == "seed":
            with pytest.raises(click.BadParameter, match="-1 is not in the range"):
                parameter.type.convert("-1", parameter, None)


@every_command
def test_files_are_overwritten_only_with_force(path) -> None:
    names = {parameter.name for parameter in command_of(path).params}
    if names & {"output", "report", "table"} and path not in RESUMING:
        assert "force" in names


@every_command
def test_errors_have_one_style(path, run) -> None:
    code, out, said = run(*path, "--no-such-option")
    assert (code, out) == (2, "")
    assert said.startswith(f"Usage: mgflows {' '.join(path)} ")
    assert "error: no such option '--no-such-option'" in said


@every_command
def test_the_directory_may_be_named_before_the_command(path, run) -> None:
    code, out, said = run("-C", "somewhere", *path, "--help")
    uses = any(parameter.name == "directory" for parameter in command_of(path).params)
    if uses:
        assert code == 0, said
    else:
        assert (code, out) == (2, "")
        assert f"error: mgflows {' '.join(path)} uses no directory" in said


@pytest.fixture(scope="module")
def stored(mongod: PrivateMongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory whose settings name a database with one campaign, which no test changes."""
    directory = tmp_path_factory.mktemp("stored")
    settings = Settings(
        directory=directory, mongodb_uri=SecretStr(mongod.uri), database_name="test_cli_rules"
    )
    settings.write(directory / "mgflows.yaml")
    database = open_database(settings)
    load_stored_campaign(database)
    yield directory
    database.client.drop_database(settings.database_name)
    database.client.close()


@pytest.mark.mongo
def test_an_unknown_campaign_is_an_error_with_the_list_everywhere(
    run, stored: Path, tmp_path: Path
) -> None:
    (tmp_path / "glass.xyz").write_text(GLASS)
    tested = 0
    for path in COMMANDS:
        names = {parameter.name for parameter in command_of(path).params}
        if not names & {"campaign", "names"} or path in REGISTERING:
            continue
        code, out, said = run("-C", str(stored), *path, *UNKNOWN.get(path, ("NOPE",)))
        assert (code, out) == (2, ""), path
        assert "error: there is no campaign 'NOPE'" in said, path
        assert CAMPAIGN in said, path
        tested += 1
    assert tested >= 15


@pytest.mark.mongo
def test_tables_are_readable_at_80_columns_and_complete_in_a_pipe(
    run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in TABLES:
        monkeypatch.setenv("COLUMNS", "80")
        code, narrow, said = run("-C", str(stored), *arguments)
        assert code in (0, 1), said
        assert "…" not in narrow
        assert max(map(len, narrow.splitlines())) <= 80, arguments
        # Words are never broken: every one of them is also in the complete table.
        monkeypatch.delenv("COLUMNS")
        _, wide, _ = run("-C", str(stored), *arguments)
        note = r"not shown for lack of space: [^;]*;[\w\s-]*"
        for word in re.sub(note, "", narrow).split():
            assert word in wide, (arguments, word)
    assert "e22efdab35dc9b63" in run("-C", str(stored), "potentials")[1]
    line = next(
        line
        for line in run("-C", str(stored), "potentials")[1].splitlines()
        if "e22efdab35dc9b63" in line
    )
    assert {"62746eb43bacb282", CAMPAIGN} < set(line.split())


@pytest.mark.mongo
def test_a_potential_is_named_in_one_way(run, stored: Path, tmp_path: Path) -> None:
    ids = [
        each["potential_id"]
        for each in json.loads(run("-C", str(stored), "potentials", "--json")[1])
    ]
    for name, expected in (("last", ids[-1]), ("best", CAMPAIGN)):
        for identifier in (name, expected):
            folder = tmp_path / identifier
            code, _, said = run(
                "-C", str(stored), "export", identifier, "--format", "nep", "--output", str(folder)
            )
            assert code == 0, said
        assert (tmp_path / name / "nep.txt").read_bytes() == (
            tmp_path / expected / "nep.txt"
        ).read_bytes()


@pytest.mark.mongo
def test_every_way_to_name_the_directory_finds_the_same_campaign(
    run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [
        (("-C", str(stored), "status", "--json"), None, None),
        (("status", "-C", str(stored), "--json"), None, None),
        (("status", "--json"), str(stored), None),
        (("status", "--json"), None, stored / "launches" / "launcher_1"),
        # The argument of a command takes precedence.
        (("-C", "nowhere", "status", "--directory", str(stored), "--json"), "nowhere", None),
    ]
    for arguments, variable, folder in ways:
        with monkeypatch.context() as patch:
            if variable:
                patch.setenv("MGFLOWS_DIRECTORY", variable)
            if folder:
                folder.mkdir(parents=True)
                patch.chdir(folder)
            code, out, said = run(*arguments) if not folder else run.here(*arguments)
        assert code == 0, said
        assert json.loads(out)["campaign"] == CAMPAIGN
    assert run("status")[0] == 2


def complete(words: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> list:
    from mgflows.cli.main import main

    patch.setenv("_MGFLOWS_COMPLETE", "bash_complete")
    patch.setenv("COMP_WORDS", words)
    patch.setenv("COMP_CWORD", str(len(words.split()) - 1 + words.endswith(" ")))
    with pytest.raises(SystemExit):
        main([])
    lines = filter(None, capsys.readouterr().out.splitlines())
    return [line.partition(",")[2] for line in lines]


@pytest.mark.mongo
def test_names_are_completed(stored: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "mgflows sta": ["status"],
        "mgflows db st": ["start", "status", "stop"],
        f"mgflows -C {stored} status Cu": [CAMPAIGN],
        f"mgflows export -C {stored} 12": ["12a53f2e74648c4e"],
        f"mgflows retrain -C {stored} {CAMPAIGN} --dataset ": [
            "2d22e7bdaee24eb6",
            "62746eb43bacb282",
        ],
        "mgflows retrain C --trainer n": ["neppo"],
        f"mgflows retrain -C {stored} {CAMPAIGN} --from b": ["best"],
        f"mgflows revalidate -C {stored} {CAMPAIGN} --potential l": ["last"],
        "mgflows new Cu --label-with g": ["gpaw"],
        "mgflows status -C /nowhere Cu": [],
    }
    for words, expected in cases.items():
        assert sorted(complete(words, capsys, monkeypatch)) == expected, words


@pytest.mark.parametrize(
    ("shell", "text"),
    [
        ("bash", "complete -o nosort -F _mgflows_completion mgflows"),
        ("zsh", "compdef _mgflows_completion mgflows"),
        ("fish", "complete --no-files --command mgflows"),
    ],
)
def test_completion_scripts(run, shell: str, text: str, tmp_path: Path) -> None:
    code, out, _ = run("completion", shell)
    assert (code, text in out) == (0, True)
    assert "_MGFLOWS_COMPLETE" in out
    if program := shutil.which(shell):
        # The script loads in a shell without any start-up file.
        done = subprocess.run(
            [program, "-c", out], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, text=True,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_reproduce_shows_protocol_deviation_and_command(run) -> None:
    code, out, _ = run("reproduce", "wadowski2025", "--figure", "1b")
    assert code == 0
    for words in ("status: differs", "missing: DFT", "-7.9", "docs/images/lj_tables.md"):
        assert words in out
    assert "command: python docs/examples/lj_tables.py DIRECTORY" in out
    code, out, _ = run("reproduce", "wadowski2025", "--json")
    figures = {each["figure"]: each for each in json.loads(out)["figures"]}
    assert figures["2a"]["values"][0]["agrees"] is True
    assert figures["5a"]["status"] == "in part"
    code, _, said = run("reproduce", "wadowski2025", "--figure", "7")
    assert (code, "its figures are 1a, 1b" in said) == (2, True)
