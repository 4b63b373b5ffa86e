"""An unknown campaign is an error that lists the known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mgflows.database.progress import require_campaign
from mgflows.database.status import campaign_status
from mgflows.errors import InputError
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
        with pytest.raises(InputError, match=r"no campaign 'zirkon' .*did you mean 'zircon'\?"):
            use()
    with pytest.raises(InputError, match="its campaigns: zircon"):
        require_campaign(database, "NOPE")
