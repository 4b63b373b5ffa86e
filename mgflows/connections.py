"""Connections built from settings: database, jobflow's JobStore and FireWorks' LaunchPad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.errors import ServiceError

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore
    from pymongo import MongoClient
    from pymongo.database import Database

    from mgflows.settings import Settings

__all__ = [
    "check_database",
    "check_uri",
    "client_options",
    "launchpad_options",
    "open_database",
    "open_job_store",
    "open_launchpad",
]


def client_options(wait_seconds: float) -> dict[str, Any]:
    """Options of every MongoDB client.

    An acknowledged write is in the server's journal: a crash of the server loses nothing.

    Parameters
    ----------
    wait_seconds
        How long the client waits for a server that does not answer, s.
    """
    return {"serverSelectionTimeoutMS": int(1000 * wait_seconds), "journal": True}


def open_database(settings: Settings, wait_seconds: float = 5.0) -> Database:
    """Connect to the database and wait for its answer.

    Parameters
    ----------
    settings
        Settings that name the server and the database.
    wait_seconds
        How long to wait for the server, s.

    Raises
    ------
    ServiceError
        If the server does not answer or refuses the login.
    """
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    check_uri(settings)
    client: MongoClient | None = None
    try:
        client = MongoClient(settings.uri, **client_options(wait_seconds))
        database = client[settings.database_name]
        # Unlike a ping, this is refused without a login.
        database.list_collection_names()
    except (PyMongoError, ValueError) as error:
        if client is not None:
            client.close()
        raise ServiceError(
            f"the database at {settings.shown_uri} does not answer ({_short_reason(error)})",
            hint=f"start it with: mgflows db start --directory {settings.directory}"
            if settings.is_private
            else "check mongodb_uri and the server",
        ) from error
    return database


def check_database(settings: Settings, wait_seconds: float = 5.0) -> None:
    """Raise ServiceError, as `open_database` does, if the database does not answer in time."""
    open_database(settings, wait_seconds).client.close()


def check_uri(settings: Settings) -> None:
    """Raise ServiceError, without the password, if the URI of the database cannot be parsed."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    uri = settings.uri
    if uri.startswith("mongodb+srv://"):
        # Parsing it queries the name server; MongoClient does so with its own timeout.
        return
    try:
        parse_uri(uri)
    except (PyMongoError, ValueError) as error:
        # pymongo's text is not shown: it may hold a part of the password.
        raise ServiceError(
            f"the database at {settings.shown_uri} does not answer (the URI cannot be parsed)",
            hint="check mongodb_uri: mongodb://USER:PASSWORD@HOST:PORT/, in which special "
            "characters of user and password must be escaped, such as %40 for @ and %2F for /",
        ) from _without_text(error)


def open_job_store(settings: Settings, wait_seconds: float = 5.0) -> JobStore:
    """Return jobflow's store.

    Documents are in the collection ``outputs``, arrays in the additional store ``data`` (GridFS,
    ``outputs_blobs``). Both are compared with their checksums when they are read.

    Parameters
    ----------
    settings
        Settings that name the server and the database.
    wait_seconds
        How long its clients wait for a server that does not answer, s.
    """
    from jobflow import JobStore

    from mgflows.checked_stores import CheckedArrays, CheckedOutputs

    check_uri(settings)
    common = {
        "uri": settings.uri,
        "database": settings.database_name,
        "mongoclient_kwargs": client_options(wait_seconds),
    }
    return JobStore(
        CheckedOutputs(collection_name="outputs", **common),
        additional_stores={"data": CheckedArrays(collection_name="outputs_blobs", **common)},
    )


def open_launchpad(settings: Settings, wait_seconds: float = 5.0) -> LaunchPad:
    """Return FireWorks' LaunchPad in the same database.

    Parameters
    ----------
    settings
        Settings that name the server and the database.
    wait_seconds
        How long it waits for a server that does not answer, s.
    """
    from fireworks import LaunchPad

    check_uri(settings)
    return LaunchPad(**launchpad_options(settings, wait_seconds))


def launchpad_options(settings: Settings, wait_seconds: float) -> dict[str, Any]:
    """Keyword arguments of a LaunchPad, or of a class derived from it, in this database."""
    return {
        "host": settings.uri,
        "uri_mode": True,
        "name": settings.database_name,
        "strm_lvl": "WARNING",
        "mongoclient_kwargs": client_options(wait_seconds),
    }


def _short_reason(error: Exception) -> str:
    return str(error).split(",", 1)[0].split("(configured", 1)[0].strip()


def _without_text(error: Exception) -> Exception:
    """An exception of the same type whose text cannot reveal a password in a traceback."""
    error.args = ("text withheld",)
    error.__cause__ = error.__context__ = None
    return error
