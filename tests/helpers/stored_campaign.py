"""The campaign in ``tests/data/stored_campaign_0_1``, inserted as version 0.1 stored it."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import TYPE_CHECKING

import bson
import gridfs

if TYPE_CHECKING:
    from pymongo.database import Database

CAMPAIGN = "Cu46Zr46Al8-tiny"
ARCHIVE = Path(__file__).parents[1] / "data" / "stored_campaign_0_1" / "campaign.bson.xz"


def load_stored_campaign(database: Database) -> None:
    """Insert every document and every file of the archive."""
    files = gridfs.GridFS(database, "outputs_blobs")
    with lzma.open(ARCHIVE) as stream:
        for entry in bson.decode_file_iter(stream):
            if entry["collection"] == "outputs_blobs":
                files.put(entry["data"], metadata=entry["metadata"])
            else:
                database[entry["collection"]].insert_one(entry["document"])
