"""Error categories, most of them of real errors that the tests provoke."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mgflows.cli.heal import CATEGORIES
from mgflows.database.failures import RULES, classify, last_words
from mgflows.errors import ErrorCategory, InputError, require
from mgflows.launch.interruption import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


def allocate() -> None:
    np.empty((10**15,))


def allocate_bytes() -> None:
    bytearray(10**18)


def fill_disk() -> None:
    Path("/dev/full").write_text("x" * 100_000)


def import_nothing() -> None:
    import no_such_module  # noqa: F401


def want_extra() -> None:
    require("no_such_module", "train", "training")


def load_library() -> None:
    ctypes.CDLL("libnosuch.so.3")


def call_program() -> None:
    subprocess.run(["vasp_std"], check=True)


def call_path() -> None:
    subprocess.run(["/opt/gpumd/nep"], check=True)


def say(*command: str) -> None:
    """Fail with the error message of a program."""
    raise RuntimeError(
        subprocess.run(command, capture_output=True, text=True, check=False, cwd="/tmp").stderr
    )


def call_espresso(directory: Path) -> None:
    from ase.build import bulk
    from ase.calculators.espresso import Espresso, EspressoProfile

    profile = EspressoProfile(command="/opt/nothing/pw.x", pseudo_dir=directory)
    Espresso(
        profile=profile, pseudopotentials={"Cu": "x.upf"}, directory=directory
    ).get_potential_energy(bulk("Cu"))


def read_potcar() -> None:
    from pymatgen.core import SETTINGS
    from pymatgen.io.vasp import Potcar

    saved = SETTINGS.pop("PMG_VASP_PSP_DIR", None)
    try:
        Potcar(["Cu_pv"], functional="PBE_54")
    finally:
        if saved is not None:
            SETTINGS["PMG_VASP_PSP_DIR"] = saved


def ask_dead_server() -> None:
    from pymongo import MongoClient

    MongoClient("mongodb://127.0.0.1:9/", serverSelectionTimeoutMS=100)["x"]["y"].find_one()


def give_wrong_input() -> None:
    raise InputError("n_sweeps is -3; give a positive number")


def give_wrong_document() -> None:
    from mgflows.schemas.provenance import Provenance

    Provenance(nonsense=3)


def be_killed() -> None:
    subprocess.run(["bash", "-c", "kill -TERM $$"], check=True)


def be_interrupted() -> None:
    raise Interrupted("SIGTERM (walltime, memory limit, preemption or a user's request)")


def look_up() -> None:
    dict.__getitem__({}, "energy")


@pytest.mark.parametrize(
    ("provoke", "category"),
    [
        (allocate, ErrorCategory.OUT_OF_MEMORY),
        (allocate_bytes, ErrorCategory.OUT_OF_MEMORY),
        (fill_disk, ErrorCategory.DISK_FULL),
        (import_nothing, ErrorCategory.MISSING_MODULE),
        (want_extra, ErrorCategory.MISSING_MODULE),
        (load_library, ErrorCategory.MISSING_MODULE),
        (call_program, ErrorCategory.MISSING_EXECUTABLE),
        (call_path, ErrorCategory.MISSING_EXECUTABLE),
        (lambda: say("sh", "-c", "no_such_vasp"), ErrorCategory.MISSING_EXECUTABLE),
        (lambda: say("bash", "-c", "no_such_vasp"), ErrorCategory.MISSING_EXECUTABLE),
        (read_potcar, ErrorCategory.MISSING_FILE),
        (ask_dead_server, ErrorCategory.DATABASE),
        (give_wrong_input, ErrorCategory.INPUT),
        (give_wrong_document, ErrorCategory.INPUT),
        (be_killed, ErrorCategory.INTERRUPTED),
        (be_interrupted, ErrorCategory.INTERRUPTED),
        (look_up, ErrorCategory.OTHER),
    ],
)
def test_real_errors_are_classified(provoke: Callable[[], None], category: ErrorCategory) -> None:
    with pytest.raises(BaseException) as caught:
        provoke()
    trace = "".join(traceback.format_exception(caught.value))
    assert classify(trace) is category
    # numpy prints its subclass of MemoryError under another name.
    assert caught.type.__name__ in last_words(trace)
    assert "\n" not in last_words(trace)


def test_an_exception_group_is_named_with_its_members() -> None:
    def fail(error: Exception) -> None:
        raise error

    members: list[Exception] = []
    for error in (ValueError("no minimum"), OSError(errno.ENOSPC, "No space left on device")):
        try:
            fail(error)
        except (ValueError, OSError) as caught:
            members.append(caught)
    assert all(member.__traceback__ for member in members)
    with pytest.raises(ExceptionGroup) as raised:
        fail(ExceptionGroup("two labels", members))
    trace = "".join(traceback.format_exception(raised.value))
    assert last_words(trace) == (
        "ExceptionGroup: two labels (2 sub-exceptions) ValueError: no minimum "
        "OSError: [Errno 28] No space left on device"
    )
    assert classify(trace) is ErrorCategory.DISK_FULL


def test_a_calculator_without_its_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        call_espresso(tmp_path)
    assert (
        classify("".join(traceback.format_exception(caught.value)))
        is ErrorCategory.MISSING_EXECUTABLE
    )


@pytest.mark.needs("openmpi")
def test_mpi_that_does_not_find_its_program() -> None:
    with pytest.raises(RuntimeError) as caught:
        say("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "2", "no_such_vasp")
    assert classify(str(caught.value)) is ErrorCategory.MISSING_EXECUTABLE


@pytest.mark.parametrize(
    ("text", "category"),
    [
        # As Slurm, the kernel and PBS write into a job's output.
        (
            (
                "slurmstepd: error: *** JOB 17 ON node3 CANCELLED AT 2026-11-24T10:00:00 "
                "DUE TO TIME LIMIT ***"
            ),
            ErrorCategory.INTERRUPTED,
        ),
        (
            (
                "slurmstepd: error: Detected 1 oom_kill event in StepId=17.batch. "
                "Some of the step tasks have been OOM Killed."
            ),
            ErrorCategory.OUT_OF_MEMORY,
        ),
        ("=>> PBS: job killed: walltime 3632 exceeded limit 3600", ErrorCategory.INTERRUPTED),
        # As the codes print when the self-consistency does not converge.
        (
            "gpaw.KohnShamConvergenceError: Did not converge!  See text output for help.",
            ErrorCategory.NOT_CONVERGED,
        ),
        (
            "     convergence NOT achieved after 100 iterations: stopping",
            ErrorCategory.NOT_CONVERGED,
        ),
        (" *** SCF run NOT converged ***", ErrorCategory.NOT_CONVERGED),
        (
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            ErrorCategory.OUT_OF_MEMORY,
        ),
    ],
)
def test_messages_that_this_machine_cannot_provoke_are_classified(
    text: str, category: ErrorCategory
) -> None:
    assert classify(text) is category


def test_the_last_error_decides_and_source_lines_do_not_count() -> None:
    trace = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 3, in read\n'
        "    raise MemoryError  # No space left on device\n"
        "OSError: [Errno 28] No space left on device\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "b.py", line 9, in label\n'
        "    energy = read('OUTCAR')\n"
        "mgflows.errors.InputError: 3 frames\n  have no stress\n"
    )
    assert classify(trace) is ErrorCategory.INPUT
    assert last_words(trace) == "mgflows.errors.InputError: 3 frames have no stress"
    assert classify("") is ErrorCategory.OTHER
    assert last_words("") == ""


def test_every_category_has_a_rule_and_is_offered_by_the_command() -> None:
    assert {rule.category for rule in RULES} == set(ErrorCategory) - {ErrorCategory.OTHER}
    assert set(CATEGORIES) == {category.value for category in ErrorCategory}
    assert all(category.meaning and category.hint for category in ErrorCategory)
