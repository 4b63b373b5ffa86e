"""Errors of jobs are stored and printed without credentials and in bounded size and time."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bson import encode
from click.testing import CliRunner

from mgflows.cli.heal import heal
from mgflows.database.failures import classify, last_words, read_failures
from mgflows.errors import (
    ErrorCategory,
    InputError,
    MaskingFormatter,
    clean_text,
    mask_credentials,
)
from mgflows.launch import submit
from mgflows.launch.worker import ExitCode
from tests.helpers.failing_jobs import raise_error
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mongodb://me:secret@host:27017/ is down", "mongodb://me:***@host:27017/ is down"),
        ("(mongodb+srv://me:p@ss@host/?tls=true)", "(mongodb+srv://me:***@host/?tls=true)"),
        ("https://me:se/cret@example.org", "https://me:***@example.org"),
        (
            "mongodb://host/?tlsCertificateKeyFilePassword=secret&tls=true",
            "mongodb://host/?tlsCertificateKeyFilePassword=***&tls=true",
        ),
        ("a://b:c@d and e://f:g@h", "a://b:c@d and e://f:g@h"),
        ("aa://b:c@d and ee://f:g@h", "aa://b:***@d and ee://f:***@h"),
        ("f(user='a', password='b c', port=1)", "f(user='a', password='***', port=1)"),
        ('{"api_key": "abc", "name": "x"}', '{"api_key": "***", "name": "x"}'),
        ("nothing: at all, me@example.org", "nothing: at all, me@example.org"),
        ("http://host:80/path", "http://host:80/path"),
        ("mongodb://USER:PASSWORD@HOST/", "mongodb://USER:PASSWORD@HOST/"),
    ],
)
def test_passwords_of_uris_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
    assert str(InputError(text)) == masked


@pytest.mark.parametrize(
    "text",
    [
        "connecting with user=glass password=SECRET, failed",
        "MONGODB_PASSWORD=SECRET",
        "config.yaml: password: SECRET",
        "connect(password=b'SECRET')",
        "mongodump --password SECRET --out a",
        "Authorization: Bearer SECRET",
        "https://host/?api_key=SECRET&n=1",
    ],
)
def test_passwords_of_other_forms_are_masked(text: str) -> None:
    masked = mask_credentials(text)
    assert "SECRET" not in masked
    assert "***" in masked


def test_a_password_is_masked_where_the_text_is_cut() -> None:
    uri = "mongodb://user:TOPSECRET@host/"
    for shift in range(len(uri) + 1):
        text = clean_text(f"{'a' * 2000}{uri}{'b' * (750 - shift)}", 1000)
        assert "SECRET" not in text


def test_a_clean_text_is_short_and_can_be_stored_and_printed() -> None:
    text = clean_text(f"begin \udc80 \x1b[31m{'x' * 10_000}mongodb://a:b@c end", 1000)
    assert len(text) < 1020
    assert text.startswith("begin ? xxx")
    assert text.endswith("mongodb://a:***@c end")
    encode({"text": text})


@pytest.mark.parametrize(
    "unit", ["x", "POTCAR ", "a://b:", "mongodb://u:p@", "density ", "No such file or directory: ("]
)
def test_long_lines_are_read_in_bounded_work(unit: str) -> None:
    """The number of characters examined does not grow with the line."""
    line = unit * (5_000_000 // len(unit))
    assert len(last_words(f"ValueError: {line}")) <= 400
    assert classify(f"Traceback\nValueError: {line}\nOSError: [Errno 28] {line}") is (
        ErrorCategory.DISK_FULL
    )
    assert classify(f"{line}\n" * 3 + "end") is classify(unit * 100)


@pytest.mark.mongo
@pytest.mark.parametrize("how", ["secret", "surrogate", "long", "details"])
def test_a_worker_survives_any_error_and_stores_it_clean(
    settings: Settings, database: Database, tmp_path: Path, how: str
) -> None:
    submit([raise_error(str(tmp_path / "journal"), how, how)], settings)
    done = run_worker(settings, check=ExitCode.SOME_FAILED)
    (failure,) = read_failures(database)
    assert "Error: " in failure.reason
    launch = database.launches.find_one({})
    assert launch["state"] == "FIZZLED"
    assert len(encode(launch)) < 500_000
    printed = (Path(launch["launch_dir"]) / "job.err").read_text()
    assert "raise_error" in printed
    assert len(printed) < 500_000
    shown = CliRunner().invoke(heal, ["--directory", str(settings.directory), "--json"]).output
    assert json.loads(shown)["failures"][0]["category"] == "other"
    everything = f"{launch}{printed}{shown}{done.stderr}{done.stdout}"
    assert "TRACESECRET" not in everything
    assert "\x1b[31m" not in everything
    if how == "secret":
        assert "mongodb://glass:***@host:27017/?tls=true" in failure.reason


def test_a_worker_s_log_masks_tracebacks() -> None:
    try:
        raise ValueError("mongodb://me:secret@host")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "failed: %s", (error,), (ValueError, error, None)
        )
    text = MaskingFormatter("%(message)s").format(record)
    assert text.count("mongodb://me:***@host") == 2
    assert "secret" not in text
