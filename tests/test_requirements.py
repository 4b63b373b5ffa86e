"""Tests of missing programs are skipped with a remedy, or fail where all tests must run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import requirements

pytest_plugins = ["pytester"]

EXAMPLE = """
import pytest

@pytest.fixture(scope="session")
def cluster():
    raise AssertionError("no fixture may run without its program")

@pytest.mark.slurm
def test_implied(cluster):
    pass

@pytest.mark.needs("cp2k", "espresso")
def test_needs():
    pass

@pytest.mark.needs("gpumd")
def test_cannot_be_installed():
    pass

def test_needs_nothing():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the example on a machine without any program."""
    requirements._is_present.cache_clear()
    monkeypatch.setattr(requirements, "_on_path", lambda *names: False)
    pytester.makeini("[pytest]\nmarkers = slurm: real Slurm")
    pytester.makepyfile(EXAMPLE)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(
            "-p", "tests.helpers.requirements", "-p", "no:xdist", "-rs", *arguments
        )

    yield run
    requirements._is_present.cache_clear()


def test_tests_of_missing_programs_are_skipped_with_the_package(run, monkeypatch) -> None:
    monkeypatch.delenv(requirements.TEST_ALL, raising=False)
    result = run()
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED*needs Slurm; apt-get install slurm-wlm",
            "SKIPPED*needs CP2K and its data; apt-get install cp2k cp2k-data",
            "SKIPPED*needs GPUMD's nep on PATH; build it from *",
        ]
    )


def test_missing_programs_fail_where_all_tests_must_run(run, monkeypatch) -> None:
    monkeypatch.setenv(requirements.TEST_ALL, "1")
    result = run()
    result.assert_outcomes(passed=1, skipped=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*needs Slurm; apt-get install slurm-wlm (MGFLOWS_TEST_ALL is set)"]
    )
    assert "no fixture may run" not in result.stdout.str()


@pytest.mark.slow
def test_the_choice_reaches_other_processes_but_not_the_settings_of_mgflows(
    pytester, monkeypatch
) -> None:
    monkeypatch.setenv(requirements.TEST_ALL, "1")
    pytester.makepyfile(
        """
        import os
        from tests.helpers import requirements

        def test_insists(request):
            assert request.config.stash[requirements._INSIST]
            assert requirements.TEST_ALL not in os.environ
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    result = pytester.runpytest_subprocess("-p", "tests.helpers.requirements", "-n", "1")
    result.assert_outcomes(passed=1)


def test_a_misspelled_requirement_is_an_error(pytester) -> None:
    pytester.makepyfile("import pytest\n\n@pytest.mark.needs('slrum')\ndef test_it():\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "tests.helpers.requirements", "-p", "no:xdist")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*needs 'slrum', which is none of mongod, *slurm, *"])


@pytest.mark.parametrize("name", requirements.REQUIREMENTS)
def test_every_requirement_can_be_searched(name: str) -> None:
    assert requirements.REQUIREMENTS[name].is_present() in (True, False)
