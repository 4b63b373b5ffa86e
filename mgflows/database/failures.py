"""Why a job failed: one of a few categories, found by patterns in what it left behind.

The patterns are data (`RULES`): the first that fits decides, and `OTHER` is what none fits. Each is the wording of a program as that program
prints it; the tests provoke the failures and classify the texts that come out.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["RULES", "Category", "Failure", "Rule", "classify", "last_words", "read_failures"]

_LONGEST_REASON = 400
_TAIL_BYTES, _TAIL_LINES = 8192, 40


class Category(enum.StrEnum):
    """What kind of error ended a job."""

    INTERRUPTED = "interrupted"
    OUT_OF_MEMORY = "out-of-memory"
    DISK_FULL = "disk-full"
    MISSING_MODULE = "missing-module"
    MISSING_EXECUTABLE = "missing-executable"
    MISSING_FILE = "missing-file"
    NOT_CONVERGED = "not-converged"
    DATABASE = "database"
    INPUT = "input"
    OTHER = "other"

    @property
    def meaning(self) -> str:
        """The category in words."""
        return _MEANINGS[self][0]

    @property
    def hint(self) -> str:
        """What to do before such a job runs again."""
        return _MEANINGS[self][1]


_MEANINGS = {
    Category.INTERRUPTED: (
        "walltime, preemption or a kill",
        "rerun; if it was the walltime, give the job more",
    ),
    Category.OUT_OF_MEMORY: (
        "the machine's memory did not suffice",
        "give the job more memory or more nodes, then rerun",
    ),
    Category.DISK_FULL: (
        "no space was left, or the quota is used up",
        "free some space, then rerun",
    ),
    Category.MISSING_MODULE: (
        "a Python package or shared library is missing there",
        "mend the environment of the worker, then rerun",
    ),
    Category.MISSING_EXECUTABLE: (
        "a program was not found",
        "name it in mgflows.yaml or load its module, then rerun",
    ),
    Category.MISSING_FILE: (
        "a pseudopotential or another data file was not found",
        "install it and say where it is, then rerun",
    ),
    Category.NOT_CONVERGED: (
        "the electronic self-consistency did not converge",
        "change the settings of the calculation; a rerun does the same",
    ),
    Category.DATABASE: ("the database was away, or refused", "mgflows doctor, then rerun"),
    Category.INPUT: (
        "the job was given something it cannot use",
        "correct what it was given; a rerun does the same",
    ),
    Category.OTHER: ("something else", "look into the launch directory"),
}


@dataclass(frozen=True)
class Rule:
    """One pattern.

    Attributes
    ----------
    name
        What it recognises.
    category
        What that means.
    pattern
        Regular expression, searched for in each line from the last one upwards.
    """

    name: str
    category: Category
    pattern: re.Pattern[str]


def _rule(name: str, category: Category, *patterns: str) -> Rule:
    return Rule(name, category, re.compile("|".join(patterns)))


# In order: what is specific before what is general (a disk that is full raises an OSError in a database's client, too).
RULES = (
    _rule(
        "mgflows' own interruption",
        Category.INTERRUPTED,
        r"\bInterrupted: ",
        r"\bit was interrupted \d+ times",
        r"\bsignal SIG(TERM|USR1|INT|XCPU)\b",
    ),
    _rule(
        "scheduler's end of a job",
        Category.INTERRUPTED,
        r"DUE TO (TIME LIMIT|PREEMPTION|NODE FAILURE)",
        r"\*\*\* (JOB|STEP) \S+ ON \S+ CANCELLED",
        r"=>> PBS: job killed: walltime",
        r"^KeyboardInterrupt",
        r"died with <Signals\.SIG(KILL|TERM|XCPU|USR1)",
    ),
    _rule(
        "scheduler's or kernel's memory limit",
        Category.OUT_OF_MEMORY,
        r"\b[Oo]ut[ _-][Oo]f[ _-][Mm]emory\b",
        r"\boom[-_]kill",
        r"OUT_OF_MEMORY",
        r"=>> PBS: job killed: (p?v?mem|vmem)",
        r"Exceeded (job|step) memory limit",
    ),
    _rule(
        "allocation that failed",
        Category.OUT_OF_MEMORY,
        r"\b_?\w*MemoryError\b",
        r"Unable to allocate .* for an array",
        r"std::bad_alloc",
        r"[Cc]annot allocate memory",
        r"OutOfMemoryError",
        r"insufficient virtual memory",
    ),
    _rule(
        "full disk or quota",
        Category.DISK_FULL,
        r"\[Errno 28\]",
        r"No space left on device",
        r"\[Errno 122\]",
        r"[Dd]isk quota exceeded",
        r"OutOfDiskSpace",
    ),
    _rule(
        "module that cannot be imported",
        Category.MISSING_MODULE,
        r"ModuleNotFoundError: ",
        r"ImportError: ",
        r"MissingDependencyError: ",
    ),
    _rule(
        "shared library that cannot be loaded",
        Category.MISSING_MODULE,
        r"error while loading shared libraries: ",
        r"cannot open shared object file",
        r"version `\S+' not found",
    ),
    _rule(
        "pseudopotentials that are not there",
        Category.MISSING_FILE,
        r"\bPOTCAR\b.*(not (found|exist)|No such|cannot|[Nn]o )",
        r"([Nn]o|[Cc]ould not find|not find|missing).*\bPOTCAR\b",
        r"PMG_VASP_PSP_DIR",
        r"Could not find required PAW dataset file",
        r"(pseudopotential|setup|basis set|potential) (file|directory|library)?\b.*(not found|does not exist|is not there)",
        r"readpp.*(not found|not open)",
        r"VASP_PP_PATH|ESPRESSO_PSEUDO|CP2K_DATA_DIR|GPAW_SETUP_PATH",
    ),
    _rule(
        "program that is not there",
        Category.MISSING_EXECUTABLE,
        r"\S+: (command )?not found$",
        r"mpi(run|exec).* (was unable to find|could not find|unable to launch) ",
        r"execvp?(e)? (error|failed).*No such file",
        r"\[Errno 2\] No such file or directory: '?(\S*/)?"
        r"(vasp\w*|nep|gpaw|cp2k\S*|pw\.x|lmp\w*|mpi(run|exec)\w*|srun|ibrun|aprun|jsrun)[' ]",
        r"(command|program|executable) \S+ (was )?not found",
        r"CalculatorSetupError: .*command",
        r"\[Errno 8\] Exec format error",
        r"\[Errno 13\] Permission denied: '?\S*/bin/",
    ),
    _rule(
        "self-consistency",
        Category.NOT_CONVERGED,
        r"KohnShamConvergenceError",
        r"SCFError|SCFNotConverged\w*",
        r"(?i:\b(scf|self-consisten\w+|electronic (steps?|minimi[sz]ation|loop)|density)\b.{0,60}"
        r"(did not converge|not (been )?(converged|achieved)|failed to converge|unconverged))",
        r"(?i:(did not converge|not converged|unconverged|no convergence).{0,60}\b(scf|self-consisten\w+|electronic|density)\b)",
        r"(?i:convergence NOT achieved)",
        r"UnconvergedErrorHandler|NonConvergingErrorHandler",
        r"CalculationFailed: .*converge",
    ),
    _rule(
        "database",
        Category.DATABASE,
        r"pymongo\.errors\.|bson\.errors\.|gridfs\.errors\.",
        r"\b(ServerSelectionTimeoutError|AutoReconnect|NetworkTimeout|OperationFailure|DocumentTooLarge|BSONObjectTooLarge)\b",
        r"the database at \S+ does not answer",
        r"the JobStore of this worker is in memory",
    ),
    _rule(
        "mgflows' and pydantic's refusal",
        Category.INPUT,
        r"\bInputError: ",
        r"\bran with other settings than those asked for\b",
        r"ValidationError: \d+ validation error|validation errors? for \w+",
        r"\b(Input|Keyword|Calculator\w*Input)Error: ",
    ),
)


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes
    ----------
    fw_id, name
        Its firework.
    reason
        The error, in words.
    launch_directory
        Where it ran; None if it did not come so far.
    category
        What kind of error it was.
    stage
        Stage of the campaign that the job belongs to; empty if it has none.
    interruption
        Why the job was ended from outside, if its own worker wrote that down; such a job runs again without being asked for.
    """

    fw_id: int
    name: str
    reason: str
    launch_directory: str | None
    category: Category = Category.OTHER
    stage: str = ""
    interruption: str | None = None


def read_failures(database: Database, campaign: str | None = None) -> list[Failure]:
    """List the jobs that failed, each with its error in words and its category; changes nothing.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Only jobs of this campaign; all by default.
    """
    query = {"state": "FIZZLED"} | ({"spec.mgflows.campaign": campaign} if campaign else {})
    fields = {"fw_id": 1, "name": 1, "launches": 1, "spec.mgflows": 1, "spec._exception_details": 1}
    fireworks = list(database["fireworks"].find(query, fields).sort("fw_id", 1))
    ids = [firework["launches"][-1] for firework in fireworks if firework.get("launches")]
    found = database["launches"].find(
        {"launch_id": {"$in": ids}},
        {"launch_id": 1, "launch_dir": 1, "action.stored_data._exception": 1},
    )
    launches = {launch["launch_id"]: launch for launch in found}
    return [
        _failure(firework, launches.get((firework.get("launches") or [None])[-1]))
        for firework in fireworks
    ]


def _failure(firework: dict[str, Any], launch: dict[str, Any] | None) -> Failure:
    stored = ((launch or {}).get("action") or {}).get("stored_data")
    spec = firework.get("spec") or {}
    details = spec.get("_exception_details")
    trace = str(
        ((stored or {}).get("_exception") or {}).get("_stacktrace")
        or (details or {}).get("_stacktrace")
        or ""
    )
    directory = launch.get("launch_dir") if launch else None
    category = classify(trace)
    if category is Category.OTHER and directory:
        # What a program that was called said is often not in the traceback.
        category = classify(_end_of_errors(Path(directory)))
    interruption = interruption_reason(stored)
    return Failure(
        fw_id=firework["fw_id"],
        name=firework.get("name", ""),
        reason=last_words(trace) or "no reason was stored; look into the launch directory",
        launch_directory=directory,
        category=Category.INTERRUPTED if interruption else category,
        stage=str((spec.get("mgflows") or {}).get("stage") or ""),
        interruption=interruption,
    )


def _end_of_errors(directory: Path) -> str:
    """The last lines that a job wrote to its standard error, if its directory can be seen from here."""
    try:
        with (directory / "job.err").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL_BYTES))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])
    except OSError:
        return ""


def classify(text: str) -> Category:
    """Say what kind of error a text tells of.

    Parameters
    ----------
    text
        What a failed job left: the traceback, or the end of its standard error. A line nearer to the end counts more, because that is where an
        error that passed through several layers has the last word; ``During handling of`` and ``The above exception`` parts come before it.
    """
    lines = text.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        # File names and source lines of a traceback say nothing about the error.
        if any(line.startswith('  File "') for line in lines[max(0, number - 1) : number + 1]):
            continue
        for rule in RULES:
            if rule.pattern.search(lines[number]):
                return rule.category
    return Category.OTHER


def last_words(trace: str) -> str:
    """Return the error at the end of a traceback, its type and what it says, in one line; empty if there is none."""
    lines = trace.splitlines()
    # The message begins after the last indented line that tells of a frame; later lines may be indented by the message itself.
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    begin = frames[-1] + 1 if frames else 0
    while frames and begin < len(lines) and lines[begin].startswith(" "):
        begin += 1
    words = " ".join(" ".join(lines[begin:]).split())
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 1] + "…"


def interruption_reason(stored_data: dict[str, Any] | None) -> str | None:
    """Why a launch was interrupted, from the data FireWorks stored with it; None if it was not."""
    details = ((stored_data or {}).get("_exception") or {}).get("_details") or {}
    return str(details.get("reason")) if details.get("interrupted") else None
