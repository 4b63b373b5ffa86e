"""Number of times a worker waits for the database, counted by pymongo's command listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobflow import Flow
from pymongo import monitoring

from mgflows.flows.tags import set_campaign
from mgflows.launch import submit, worker
from tests.helpers import jobs
from tests.helpers.jobs import ran

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobflow import Job
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo


class Commands(monitoring.CommandListener):
    """The names of the commands sent while it listens."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    listeners = monitoring._LISTENERS
    found = Commands()
    monkeypatch.setattr(monitoring, "_LISTENERS", listeners._replace(command_listeners=[found]))
    return found


def single(journal: str, number: int) -> list[Job]:
    return [jobs.add(journal, f"a{i}", 1.0, 2.0) for i in range(number)]


def chain(journal: str, number: int) -> list[Job]:
    made = [jobs.add(journal, "a0", 1.0, 2.0)]
    for i in range(1, number):
        made.append(jobs.add(journal, f"a{i}", made[-1].output, 2.0))
    return made


@pytest.mark.parametrize(("make", "reading"), [(single, 0), (chain, 3)])
def test_a_job_costs_ten_round_trips_and_those_of_its_inputs(
    make: Callable[[str, int], list[Job]],
    reading: int,
    settings: Settings,
    database: Database,
    tmp_path: Path,
    commands: Commands,
) -> None:
    settings.ping_seconds = 600.0
    numbers = []
    # The first worker in a database has more to do.
    for number in (1, 2, 6):
        flow = Flow(make(str(tmp_path / "journal"), number))
        set_campaign(flow, f"c{number}")
        submit(flow, settings)
        commands.names.clear()
        worker.work(settings, f"c{number}")
        numbers.append(len(commands.names))
    assert len(ran(tmp_path / "journal")) == 9
    assert (numbers[2] - numbers[1]) / 4 == 10 + reading
    # FireWorks' own documents are complete.
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert database.launches.distinct("state") == ["COMPLETED"]
    for workflow in database.workflows.find({}):
        assert workflow["state"] == "COMPLETED"
        assert set(workflow["fw_states"].values()) == {"COMPLETED"}
        assert "locked" not in workflow
