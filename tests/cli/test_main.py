from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mgflows.cli import main as main_module
from mgflows.cli.main import _interruption_by_signals
from mgflows.errors import install_command

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("quickstart", "--directory", "q", "--scale", "huge"),
            "'huge' is not one of 'tiny', 'small'",
        ),
        (("status", "--directory", "nowhere"), "mgflows db start"),
        (("datasets", "--directory", "nowhere"), "mgflows db start"),
        (("export", "abc", "--directory", "nowhere"), "mgflows db start"),
        (("validate", "missing.txt"), "missing.txt cannot be read"),
        (("validate", "missing.txt", "--suite", "slow"), "'slow' is not one of 'tiny', 'quick'"),
        (("sample", "Cu50Xx50"), "'Xx' is not a chemical element"),
        (("sample", "Cu50Zr50", "--atoms", "4"), "take at least 8 atoms"),
        (("sample", "Cu50Zr50", "--output", "a.cif"), "give an --output that ends in .xyz"),
        (("sample", "Cu50Zr50", "--output", "glasses"), "glasses has the ending of another"),
    ],
)
def test_errors_are_one_sentence_with_exit_code_2(run, arguments, words, tmp_path):
    code, _, printed = run(*arguments)
    assert code == 2
    assert "error: " in printed
    assert words in printed
    assert "Traceback" not in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing half-written"


def test_unknown_commands_and_options_are_errors(run):
    code, _, printed = run("quickstrat")
    assert code == 2
    assert "error: there is no command 'quickstrat'; did you mean 'quickstart'?" in printed
    code, _, printed = run("sample", "--no-such-option")
    assert code == 2
    assert "error: no such option '--no-such-option'" in printed


def test_a_directory_that_cannot_be_made_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, printed = run("quickstart", "--directory", "file/below")
    assert code == 2
    assert "choose another --directory" in printed


def test_a_full_disk_is_noticed_before_anything_is_written(run, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10 << 30, 10 << 30, 5 << 20))
    code, _, printed = run("quickstart", "--directory", "q")
    assert code == 2
    assert "5 MiB of free space" in printed
    assert not list((tmp_path / "q").iterdir())


def test_a_missing_extra_is_named_before_anything_runs(run, monkeypatch):
    import mgflows.machine.local_campaign as module

    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "nep_adapters" else True)
    code, _, printed = run("quickstart", "--directory", "q")
    assert code == 2
    assert "needs nep_adapters" in printed
    assert install_command("quickstart") in printed


def test_samples_are_the_same_whatever_the_number_of_workers(run, tmp_path):
    from ase.io import read

    for workers in ("1", "2"):
        arguments = (
            "--atoms",
            "120",
            "--sweeps",
            "200",
            "--samples",
            "3",
            "--workers",
            workers,
            "--output",
            f"{workers}.xyz",
        )
        assert run("sample", "Cu46Zr46Al8", *arguments)[0] == 0
    one, two = (read(tmp_path / f"{workers}.xyz", ":") for workers in "12")
    assert len(one) == 3
    for first, second in zip(one, two, strict=True):
        assert first.positions == pytest.approx(second.positions, abs=0.0)
        assert first.info["e_is"] == second.info["e_is"]
    assert one[0].info["e_is"] != one[1].info["e_is"]
    assert one[0].get_potential_energy() / len(one[0]) > one[0].info["e_is"]


def test_the_density_of_samples_is_compared_with_the_glass(run):
    arguments = ("Cu46Zr46Al8", "--atoms", "120", "--sweeps", "50", "--force", "--glass-density")
    assert (
        "21% denser than the glass; their virial pressure is" in run("sample", *arguments, "7.0")[2]
    )
    assert "denser" not in run("sample", *arguments, "8.4")[2]


def test_a_validation_is_json_for_programs(run, tmp_path):
    from ase.io import write

    from mgflows import Alloy
    from mgflows.surrogate import LennardJones, SwapMonteCarlo

    sampler = SwapMonteCarlo.from_alloy(LennardJones.cuzral(), Alloy.cuzral(113), seed=1)
    sampler.equilibrate(200)
    sampler.cool(1000)
    write(tmp_path / "glass.xyz", sampler.atoms)
    code, out, _ = run(
        "validate",
        str(DATA / "tiny_nep.txt"),
        "--suite",
        "tiny",
        "--glasses",
        "glass.xyz",
        "--json",
    )
    assert code == 0
    result = json.loads(out)
    assert result["scaled_down"] is True
    assert result["n_atoms"] == 113
    assert len(result["dimers"]) == 6
    assert 4.0 < result["model"]["density"] < 11.0


def test_a_bug_keeps_its_traceback_but_not_the_password(run, monkeypatch):
    def fail(*_):
        raise RuntimeError("cannot use mongodb://me:secret@host:27017/")

    monkeypatch.setattr("mgflows.cli.results.open_database", fail)
    code, _, said = run("datasets")
    assert code == 1
    assert "Traceback" in said
    assert said.endswith("RuntimeError: cannot use mongodb://me:***@host:27017/ ")
    assert "secret" not in said


def test_an_interruption_that_python_ignores_is_repeated():
    """Python ignores exceptions in destructors, such as that of a file read from a database."""

    class Destructor:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def run() -> None:
        with _interruption_by_signals([]):
            Destructor()
            # The wait ends at the repeated interruption.
            time.sleep(10.0)

    with pytest.raises(KeyboardInterrupt):
        run()


def test_an_error_caused_by_an_interruption_is_not_a_bug(monkeypatch, capsys):
    """A package that catches Ctrl-C during its import, for example, lacks a name afterwards."""

    def broken(**_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise NameError("name 'coroutines' is not defined")

    monkeypatch.setattr(main_module.cli, "main", broken)
    with pytest.raises(SystemExit) as end:
        main_module.main(["datasets"])
    assert end.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_streams_that_the_caller_has_closed_are_discarded(monkeypatch) -> None:
    """Python has None for them, which has no method of a stream."""
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit) as ended:
        main_module.main(["crystals", "--directory", "nowhere"])
    assert ended.value.code == 2
    assert not main_module.sys.stdout.isatty()
    main_module.sys.stdout.close()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_output_that_nobody_reads_is_no_problem_found(options) -> None:
    command = [sys.executable, "-m", "mgflows", "crystals", "Cu", "Zr", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141
