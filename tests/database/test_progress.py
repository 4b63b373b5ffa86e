"""An unknown campaign is an error that lists the known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mgflows.database.progress import require_campaign
from mgflows.database.status import campaign_status
from mgflows.errors import InputError
from mgflows.jobs.progress import JobProgress
from mgflows.launch import advance, submit
from mgflows.launch.preflight import preflight
from mgflows.recovery import plan_recovery, recover
from tests.helpers.families import families

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo


def test_an_unknown_campaign_is_an_error(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"there is no campaign 'c1' .*it has no campaigns yet"):
        require_campaign(database, "c1")
    database.campaigns.insert_one({"campaign": "zircon"})
    submit(families(tmp_path / "journal"), settings)
    require_campaign(database, "c1")
    for use in (
        lambda: campaign_status(database, "zirkon"),
        lambda: plan_recovery(settings, "zirkon"),
        lambda: recover(settings, "zirkon"),
        lambda: advance(settings, "zirkon"),
        lambda: preflight(settings, "zirkon"),
    ):
        with pytest.raises(
            InputError,
            match=r"no campaign 'zirkon' .*did you mean 'zircon'\? \(its campaigns: zircon\)",
        ):
            use()
    with pytest.raises(InputError, match="its campaigns: zircon"):
        require_campaign(database, "NOPE")


def test_the_status_shows_the_progress_of_running_jobs(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(families(tmp_path / "journal"), settings)
    campaign = database.fireworks.find_one()["spec"]["mgflows"]["campaign"]
    database.launches.insert_one({"launch_id": 1, "launch_dir": str(tmp_path)})
    firework = database.fireworks.find_one_and_update(
        {"state": "READY"}, {"$set": {"state": "RUNNING", "launches": [1]}}
    )
    assert campaign_status(database, campaign).progress == ()
    JobProgress("steps", tmp_path)(1400, 7000, "test 1.3 meV/atom; 14 s left")
    status = campaign_status(database, campaign)
    expected = f"{firework['name']}: 1400/7000 steps test 1.3 meV/atom; 14 s left"
    assert status.progress == (expected,)
