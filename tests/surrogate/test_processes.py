"""Processes of a pool end with the process that starts them, whenever it is told to end."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.faults

TOLD_WHILE_STARTING = """
import os, signal
from multiprocessing import util
from mgflows.surrogate.processes import run_in_processes

start = util.spawnv_passfds

def start_and_signal(path, arguments, descriptors):
    process = start(path, arguments, descriptors)
    if "--multiprocessing-fork" in map(os.fsdecode, arguments):
        os.kill(os.getpid(), signal.SIGTERM)
    return process

def end(number, frame):
    raise SystemExit("told to end")

signal.signal(signal.SIGTERM, end)
util.spawnv_passfds = start_and_signal
list(run_in_processes(print, [1, 2], 2))
"""


def test_a_signal_while_processes_start_takes_effect_when_they_have_started() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TOLD_WHILE_STARTING],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # No traceback of a process whose first message never came.
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "told to end\n")
