"""Classification of failed jobs into error categories.

mgflows' own exceptions are classified by type: FireWorks stores what their ``to_dict`` returns. The
messages of other programs are classified by patterns, which are data (`RULES`): the first rule that
matches the last matching line applies. Each pattern is the literal wording of a program; the tests
provoke the failures and classify the resulting texts.

The time is bounded: long texts and long lines are shortened before they are searched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.errors import ErrorCategory, clean_text
from mgflows.moved import renamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

__all__ = [
    "RULES",
    "ErrorCategory",
    "Failure",
    "Rule",
    "classify",
    "end_of_file",
    "last_words",
    "read_failures",
    "stored_trace",
]

_LONGEST_REASON = 400
_LONGEST_LINE = 500
"""Number of characters at the beginning and at the end of a long line that are searched."""
_MOST_LINES = 500
"""Number of lines at the end of a text that are searched."""
_LONGEST_TEXT = 50_000
_TAIL_BYTES, _TAIL_LINES = 8192, 40


_BY_TYPE = {
    "Interrupted": ErrorCategory.INTERRUPTED,
    "WorkerDied": ErrorCategory.WORKER_DIED,
}
"""Categories of own exceptions that are not a MgflowsError, by class name."""


@dataclass(frozen=True)
class Rule:
    """One pattern.

    Attributes
    ----------
    name
        Kind of message that it recognises.
    category
        The category of such errors.
    pattern
        Regular expression, searched for in each line from the last one upwards.
    """

    name: str
    category: ErrorCategory
    pattern: re.Pattern[str]


_GROUP = "Exception Group Traceback (most recent call last):"
_BORDER = re.compile(r"^ *(\| |\+ (?=Exception Group))")
_RULER = re.compile(r"^ *\+-")


def _rule(name: str, category: ErrorCategory, *patterns: str) -> Rule:
    return Rule(name, category, re.compile("|".join(patterns)))


# Specific rules come before general ones.
RULES = (
    _rule("repeated death of the worker", ErrorCategory.WORKER_DIED, r"^WorkerDied: "),
    _rule(
        "interruption by mgflows",
        ErrorCategory.INTERRUPTED,
        r"\bInterrupted: ",
        r"\bit was interrupted \d+ times",
        r"\bsignal SIG(TERM|USR1|INT|XCPU)\b",
    ),
    _rule(
        "job ended by the scheduler",
        ErrorCategory.INTERRUPTED,
        r"DUE TO (TIME LIMIT|PREEMPTION|NODE FAILURE)",
        r"\*\*\* (JOB|STEP) \S+ ON \S+ CANCELLED",
        r"=>> PBS: job killed: walltime",
        r"^KeyboardInterrupt",
        r"died with <Signals\.SIG(KILL|TERM|XCPU|USR1)",
    ),
    _rule(
        "memory limit of the scheduler or kernel",
        ErrorCategory.OUT_OF_MEMORY,
        r"\b[Oo]ut[ _-][Oo]f[ _-][Mm]emory\b",
        r"\boom[-_]kill",
        r"OUT_OF_MEMORY",
        r"=>> PBS: job killed: (p?v?mem|vmem)",
        r"Exceeded (job|step) memory limit",
    ),
    _rule(
        "failed allocation",
        ErrorCategory.OUT_OF_MEMORY,
        r"\b_?\w*MemoryError\b",
        r"Unable to allocate .* for an array",
        r"std::bad_alloc",
        r"[Cc]annot allocate memory",
        r"OutOfMemoryError",
        r"insufficient virtual memory",
    ),
    _rule(
        "missing or damaged output",
        ErrorCategory.DAMAGED_DATA,
        r"Could not resolve reference - \S+ not in store",
        r"^gridfs\.errors\.(CorruptGridFile|NoFile)",
    ),
    _rule(
        "full disk or quota",
        ErrorCategory.DISK_FULL,
        r"\[Errno 28\]",
        r"No space left on device",
        r"\[Errno 122\]",
        r"[Dd]isk quota exceeded",
        r"OutOfDiskSpace",
    ),
    _rule(
        "failed import",
        ErrorCategory.MISSING_MODULE,
        r"ModuleNotFoundError: ",
        r"ImportError: ",
        r"MissingDependencyError: ",
    ),
    _rule(
        "missing shared library",
        ErrorCategory.MISSING_MODULE,
        r"error while loading shared libraries: ",
        r"cannot open shared object file",
        r"version `\S+' not found",
    ),
    _rule(
        "missing pseudopotential",
        ErrorCategory.MISSING_FILE,
        r"\bPOTCAR\b.*(not (found|exist)|No such|cannot|[Nn]o )",
        r"([Nn]o|[Cc]ould not find|not find|missing).*\bPOTCAR\b",
        r"PMG_VASP_PSP_DIR",
        r"Could not find required PAW dataset file",
        r"(pseudopotential|setup|basis set|potential) (file|directory|library)?\b.*"
        r"(not found|does not exist|is not there|is missing)",
        r"readpp.*(not found|not open)",
        r"VASP_PP_PATH|ESPRESSO_PSEUDO|CP2K_DATA_DIR|GPAW_SETUP_PATH",
    ),
    _rule(
        "missing program",
        ErrorCategory.MISSING_EXECUTABLE,
        r"\S: (command )?not found$",
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
        ErrorCategory.NOT_CONVERGED,
        r"KohnShamConvergenceError",
        r"SCFError|SCFNotConverged\w*",
        r"(?i:\b(scf|self-consisten\w+|electronic (steps?|minimi[sz]ation|loop)|density)\b.{0,60}"
        r"(did not converge|not (been )?(converged|achieved)|failed to converge|unconverged))",
        r"(?i:(did not converge|not converged|unconverged|no convergence).{0,60}"
        r"\b(scf|self-consisten\w+|electronic|density)\b)",
        r"(?i:convergence NOT achieved)",
        r"UnconvergedErrorHandler|NonConvergingErrorHandler",
        r"CalculationFailed: .*converge",
    ),
    _rule(
        "database",
        ErrorCategory.DATABASE,
        r"pymongo\.errors\.|bson\.errors\.|gridfs\.errors\.",
        r"\b(ServerSelectionTimeoutError|AutoReconnect|NetworkTimeout|OperationFailure)\b",
        r"\b(DocumentTooLarge|BSONObjectTooLarge)\b",
        r"the database at \S+ does not answer",
        r"the JobStore of this worker is in memory",
    ),
    _rule(
        "rejected input",
        ErrorCategory.INPUT,
        r"\bInputError: ",
        r"\bran with other settings than those (requested|asked for)\b",
        r"ValidationError: \d+ validation error|validation errors? for \w+",
        r"\b(Input|Keyword|Calculator\w*Input)Error: ",
    ),
)


@dataclass(frozen=True)
class Failure:
    """A failed job.

    Attributes
    ----------
    fw_id, name
        Its firework.
    reason
        The error message.
    launch_directory
        Where it ran; None if it was never launched.
    category
        The kind of error.
    stage
        Stage of the campaign that the job belongs to; empty if it has none.
    interruption
        Reason why the job was ended from outside, if its own worker recorded it; such a job is
        rerun automatically.
    """

    fw_id: int
    name: str
    reason: str
    launch_directory: str | None
    category: ErrorCategory = ErrorCategory.OTHER
    stage: str = ""
    interruption: str | None = None


def read_failures(
    database: Database,
    campaign: str | None = None,
    *,
    job_uuids: Sequence[str] | None = None,
) -> list[Failure]:
    """List the failed jobs, each with its error and its category; changes nothing.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Only jobs of this campaign; all by default.
    job_uuids
        Only these jobs; all by default.
    """
    query: dict[str, Any] = {"state": "FIZZLED"}
    if campaign:
        query["spec.mgflows.campaign"] = campaign
    if job_uuids is not None:
        query["spec.job_uuid"] = {"$in": list(job_uuids)}
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
    exception = (stored or {}).get("_exception") or {}
    trace = stored_trace(firework, launch)
    directory = launch.get("launch_dir") if launch else None
    category = classify(trace)
    if category is ErrorCategory.OTHER and directory:
        # The output of an external program is often not in the traceback.
        category = classify(_end_of_errors(Path(directory)))
    details = exception.get("_details")
    own = _own_category(details) if isinstance(details, dict) else ErrorCategory.OTHER
    # The text of a general InputError may be more specific, such as a missing file.
    if own is not ErrorCategory.OTHER and (
        own is not ErrorCategory.INPUT or category is ErrorCategory.OTHER
    ):
        category = own
    interruption = interruption_reason(stored)
    return Failure(
        fw_id=firework["fw_id"],
        name=firework.get("name", ""),
        reason=last_words(trace) or "no reason was stored; look into the launch directory",
        launch_directory=directory,
        category=ErrorCategory.INTERRUPTED if interruption else category,
        stage=str((spec.get("mgflows") or {}).get("stage") or ""),
        interruption=interruption,
    )


def stored_trace(firework: dict[str, Any], launch: dict[str, Any] | None) -> str:
    """Return the traceback that FireWorks stored with a failed firework or its last launch."""
    stored = ((launch or {}).get("action") or {}).get("stored_data") or {}
    exception = stored.get("_exception") or {}
    details = (firework.get("spec") or {}).get("_exception_details") or {}
    return str(exception.get("_stacktrace") or details.get("_stacktrace") or "")


def _own_category(details: dict[str, Any]) -> ErrorCategory:
    """The category of one of our own exceptions, from the values that FireWorks stored."""
    if details.get("category") in set(ErrorCategory):
        return ErrorCategory(details["category"])
    return _BY_TYPE.get(str(details.get("error")), ErrorCategory.OTHER)


def _end_of_errors(directory: Path) -> str:
    """The last lines of a job's standard error, if its directory is visible on this machine."""
    return end_of_file(directory / "job.err", _TAIL_LINES)


def end_of_file(path: Path, n_lines: int) -> str:
    """Return the last lines of a text file, at most 8 KiB; an empty text if the file is missing."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL_BYTES))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-n_lines:])
    except OSError:
        return ""


def classify(text: str) -> ErrorCategory:
    """Return the error category of a text.

    Parameters
    ----------
    text
        Traceback of a failed job, or the end of its standard error. The last matching line
        applies, since Python prints the error that was raised last at the end.
    """
    lines = _without_borders(text.splitlines()[-_MOST_LINES:])
    for number in range(len(lines) - 1, -1, -1):
        # File names and source lines of a traceback do not describe the error.
        if any(line.startswith('  File "') for line in lines[max(0, number - 1) : number + 1]):
            continue
        line = lines[number]
        if len(line) > 2 * _LONGEST_LINE:
            line = f"{line[:_LONGEST_LINE]} {line[-_LONGEST_LINE:]}"
        for rule in RULES:
            if rule.pattern.search(line):
                return rule.category
    return ErrorCategory.OTHER


def last_words(trace: str) -> str:
    """Return the error at the end of a traceback, type and message, in one line.

    Returns
    -------
    str
        At most 400 characters, without credentials; empty if there is no error.
    """
    printed = clean_text(trace, _LONGEST_TEXT).splitlines()
    lines = _without_borders(printed)
    if lines != printed:
        # An exception group ends with the errors that it holds, each with its own frames.
        begin = next(number for number, line in enumerate(lines) if line.startswith(_GROUP))
        lines = [
            line
            for line in lines[begin:]
            if not line.startswith((" ", _GROUP, "Traceback (most recent call last):"))
        ]
    # The message begins after the last frame; its own lines may be indented.
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    begin = frames[-1] + 1 if frames else 0
    while frames and begin < len(lines) and lines[begin].startswith(" "):
        begin += 1
    words = " ".join(" ".join(lines[begin:]).split())
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 1] + "…"


def _without_borders(lines: list[str]) -> list[str]:
    """Remove the borders that Python prints around the members of an exception group."""
    if not any(_GROUP in line for line in lines):
        return lines
    return [_BORDER.sub("", line) for line in lines if not _RULER.match(line)]


def interruption_reason(stored_data: dict[str, Any] | None) -> str | None:
    """Why a launch was interrupted, from the data FireWorks stored; None if it was not."""
    details = ((stored_data or {}).get("_exception") or {}).get("_details") or {}
    if not isinstance(details, dict) or not details.get("interrupted"):
        return None
    return clean_text(str(details.get("reason")), _LONGEST_REASON)


__getattr__ = renamed(__name__)
