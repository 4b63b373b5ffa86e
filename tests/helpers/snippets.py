"""Snippets of the documentation: found in pages, and how each is run.

Everything in a page is run, in the order of the page, unless a table here states the reason why it
cannot be. Commands of mgflows that are not run are parsed, with all values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$|^ {4}\S[^\n]*\n(?: {4}[^\n]*\n)*",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Snippet:
    """A block of code in a page.

    Attributes
    ----------
    page
        Path from the root of the repository.
    line
        Number of its first line.
    language
        Of a fenced block; ``indented`` for one without a fence, which is not highlighted.
    text
        Its content.
    """

    page: str
    line: int
    language: str
    text: str


def snippets(page: Path) -> list[Snippet]:
    """All blocks of code in a page, in order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = []
    for match in _BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 1
        if match["text"] is not None:
            found.append(Snippet(name, line + 1, match["language"], match["text"]))
        else:
            lines = [each.removeprefix("    ") for each in match[0].splitlines()]
            found.append(Snippet(name, line, "indented", "\n".join(lines) + "\n"))
    return found


def commands(snippet: Snippet) -> list[str]:
    """Command lines of a block, without prompts, comments and the output of consoles."""
    text = snippet.text.replace("\\\n", " ")
    lines = text.splitlines()
    if snippet.language == "console" or text.startswith("$ "):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found = [re.sub(r"\s+#(?!\d).*$", "", line).strip() for line in lines]
    return [line for line in found if line and not line.startswith("#")]


NOT_FOLLOWED: dict[str, str] = {}
"""Pages whose commands are checked but not run, with the reason."""

PYTHON_NOT_RUN = {
    "from jobflow_remote import": "needs jobflow-remote, which the tests lack",
    "from pathlib import Path\n\nfrom mgflows import GlassDatabase\nfrom mgflows.report": (
        "draws all figures; tests/report/test_export.py does so"
    ),
}
"""Beginning of a block of Python to the reason why it is compiled only."""

SHELLS = ("sh", "bash", "console")

HOURS = "takes minutes to hours; tests run it with smaller settings"
NETWORK = "fetches from the internet"
INSTALLS = "changes the installation"
SERVES = "answers requests until Ctrl-C; tests/report/test_live_view.py runs it"
PROGRAM = "needs a program that is not part of the tests"

NOT_RUN = {
    "apt-get install": INSTALLS,
    "pip install": INSTALLS,
    "git clone": INSTALLS,
    "scripts/install-system-packages": INSTALLS,
    "python3 -m venv": INSTALLS,
    'rm -r "$(python -c': INSTALLS,
    "git tag": "changes the repository",
    "git push": "changes the repository",
    "mike ": "changes the repository",
    "ssh -L": "needs another machine",
    "pytest ": "runs the tests themselves",
    "mgflows serve": SERVES,
    "mgflows quickstart": "takes minutes; tests/cli/test_quickstart.py runs it",
    "mgflows new Zr46Cu30Ni14Al10": "docs/tutorials/your_alloy.md is run in its place",
    "mgflows committee train": "takes minutes; docs/tutorials/active_learning.md is run",
    "mgflows figures": "takes 10 s; tests/report/test_export.py runs it",
    "mgflows report Cu46Zr46Al8-small 36ebd2a6": "tests/report/test_side_by_side.py runs it",
    "mgflows new Pd40Ni40P20": "needs chgnet, which the tests lack",
    "mgflows train": "takes minutes; tests/cli/test_train.py runs it",
    "mgflows check": "takes 20 s; tests/cli/test_check.py runs it",
    "mgflows learning-curve": "takes minutes; tests/cli/test_committee.py runs it",
    "pytest tests/bench": "is itself part of the tests",
    "mgflows bench": HOURS,
    "mgflows converge": HOURS,
    "MP_API_KEY=... mgflows crystals": NETWORK,
    "mgflows worker --directory DIR": "takes minutes; tests/flows/test_fitness_gate.py runs it",
    "mgflows advance gated": "needs the gate of the jobs above",
    "mgflows fitness gated": "needs the gate of the jobs above",
    "python docs/examples/": HOURS,
    "*/5 * * * *": "a line for cron",
    "mkdir DIRECTORY && cp docs/data/supercooling_clock.json": HOURS,
}
"""Beginning of a command to the reason why it is not run."""

NOT_CODE = {
    "docs/how_to/active_learning.md": ("$ mgflows new Zr46Cu46Al8",),
    "docs/how_to/clusters.md": ("*/5 * * * *",),
    "docs/how_to/label_contract.md": ("make(structure) -> Job",),
    "docs/concepts/architecture.md": ("mgflows/\n  alloy.py", "cli > bench > machine"),
    "docs/concepts/fitness.md": ("  sweeps   samples",),
    "docs/concepts/labels.md": ("label 5ac97df5",),
    "docs/concepts/surrogate.md": ("exchanges at T* = 2:",),
    "docs/reference/command_line.md": ("error: there is no campaign",),
}
"""Blocks of a page that are output, signatures or schemes: how each begins."""

INSTEAD = {
    "docs/get_started/first_campaign.md": {"mgflows db stop --directory quickstart": "true"},
    "docs/how_to/active_learning.md": {
        "-n 20": "-n 2",
    },
    "docs/how_to/clusters.md": {
        "'mongodb://user:password@host:27017/?authSource=mgflows'": "$MONGODB_URI",
        "source ~/mgflows-config/env.sh": "source ~/mgflows-config/env.sh && lpad get_wflows -m 1",
    },
    "docs/how_to/costs.md": {"DIR": "quickstart", "cost gated": "cost"},
    "docs/how_to/crystals.md": {"--provider optimade": "--max-atoms 20"},
    "docs/how_to/healing.md": {"CAMPAIGN": "Cu46Zr46Al8-small"},
    "docs/how_to/molecular_dynamics.md": {
        "glass.xyz": "sample.xyz",
        "protocols.quench(cooling_rate=10.0)": (
            "protocols.hold(300.0, 0.02, equilibration_time=0.01, n_frames=1)"
        ),
        "protocols.nve(100.0, 2000.0)": "protocols.nve(0.02, 300.0)",
        '"/opt/gpumd/gpumd"': "GPUMD",
        "interval=100.0": "interval=10.0",
        # The program in the place of GPUMD has none of its analyses.
        'glob("launch-*")': 'glob("analysed-*")',
    },
    "docs/how_to/mongodb.md": {"DIR": "private"},
    "docs/how_to/training.md": {
        "NepTrainer()": "NepTrainer(steps=20)",
        "steps=2000": "steps=20",
        "export CuZrAl-GPAW": "export Cu46Zr46Al8-small",
        "--output gpaw -C dft": "--output gpaw",
    },
    "docs/how_to/validation.md": {
        "calculator:mypackage.module:MyCalculator": (
            "'calculator:tests.helpers.calculators:lennard_jones_of"
            '?{"symbols": ["Al", "Cu", "Zr"]}\''
        ),
        "--suite paper": "--suite tiny",
        "--add-from 80": "--add-from 1",
        "--report validation.html": "--forecast",
        "--samples samples --finished": "--forecast",
        "--samples samples\n": "--forecast\n",
    },
    "docs/concepts/architecture.md": {"lpad get_fws": "true"},
    "docs/concepts/fitness.md": {"DIR": "private"},
    "docs/concepts/validation.md": {"glass.xyz": "cell.xyz"},
    "docs/concepts/surrogate.md": {
        "n_sweeps=100_000": "n_sweeps=1000",
        "(30, 100, 300, 1000)": "(3, 10, 30)",
        "--samples 16 --sweeps 10000": "--samples 1 --sweeps 100 --force",
        "--samples 12 --sweeps 10000": "--samples 1 --sweeps 100 --force",
    },
    "docs/reference/quickstart_results.md": {"--against stand-in": "--against stand-in --forecast"},
    "README.md": {"--sweeps 100000 --samples 8": "--sweeps 100 --samples 1 --force"},
}
"""Parts of a page that are replaced: by shorter runs, and by names of what the tests have."""

PRELUDES = {
    "docs/concepts/surrogate.md": """
from mgflows import Alloy
from mgflows.flows.scales import SCALES, scaled_campaign
from mgflows.methods.ase import AseMethod
campaign = scaled_campaign(SCALES["tiny"], AseMethod.stand_in(), alloy=Alloy.cuzral())
""",
    "docs/how_to/training.md": """
from ase.io import read

atoms = read("glass.xyz")
""",
    "docs/concepts/fitness.md": """
from mgflows.machine import PrivateMongod
from mgflows.settings import Settings
PrivateMongod.from_settings(Settings.load("private")).start()
""",
    "docs/how_to/queries.md": "clock = database.supercooling(name)",
    "docs/concepts/stand_in.md": "from ase.io import read\natoms = read('glass.xyz')",
    "docs/reference/scaling.md": """
from ase.build import bulk
from jobflow import Flow
from mgflows.flows.tags import set_campaign
from mgflows.jobs.labels import AseLabelMaker
from mgflows.launch import submit
from mgflows.methods.ase import AseMethod
structures = [bulk("Cu", cubic=True)]
make_label = AseLabelMaker(method=AseMethod.stand_in()).make
settings = database.settings
""",
}
"""Names that the text of a page introduces."""
