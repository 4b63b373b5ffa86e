"""One file of settings and the files rendered from it, also those of ``launcher_configs``."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from fireworks.utilities.fw_serializers import load_object, load_object_from_file

from mgflows.cli.init import init
from mgflows.errors import InputError
from mgflows.machine.configuration import render
from mgflows.settings import CATEGORIES, Settings

EXAMPLES = Path(__file__).parents[2] / "launcher_configs"
SECRET = "very-secret-word"
URI = f"mongodb://me:{SECRET}@database.example.org:27017/?authSource=mgflows"


def run_init(directory: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        init,
        ["--directory", str(directory), *arguments],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_files_of_something_else_are_kept_without_force(tmp_path: Path) -> None:
    (tmp_path / "FW_config.yaml").write_text("CONFIG_FILE_DIR: /mine\n")
    arguments = ("--scheduler", "slurm", "--mongodb-uri", URI)
    with pytest.raises(InputError, match=r"but FW_config\.yaml, which would be overwritten"):
        run_init(tmp_path, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["FW_config.yaml"]
    run_init(tmp_path, *arguments, "--force")
    assert "/mine" not in (tmp_path / "FW_config.yaml").read_text()


@pytest.mark.parametrize("name", ["slurm", "pbs", "local"])
def test_the_examples_are_what_their_settings_render(name: str) -> None:
    folder = Path("/path/to/launcher_configs") / name
    settings = Settings.read(EXAMPLES / name / "mgflows.yaml")
    rendered = render(settings, folder, "/path/to/venv/bin/python")
    there = {
        path.name: path.read_text()
        for path in (EXAMPLES / name).iterdir()
        if path.name != "mgflows.yaml"
    }
    assert there == rendered


def test_fireworks_and_jobflow_read_the_rendered_files(tmp_path: Path) -> None:
    from fireworks import FWorker, LaunchPad
    from jobflow.settings import JobflowSettings

    run_init(
        tmp_path,
        "--scheduler",
        "slurm",
        "--mongodb-uri",
        URI,
        "--queue",
        "cpu",
        "--queue",
        "training=gpu",
        "--gpus",
        "training=2",
        "--account",
        "dft=abc",
    )
    launchpad = LaunchPad.from_file(str(tmp_path / "my_launchpad.yaml"))
    assert launchpad.name == "mgflows"
    assert launchpad.host == URI
    assert (
        yaml.safe_load((tmp_path / "my_launchpad.yaml").read_text())["mongoclient_kwargs"][
            "journal"
        ]
        is True
    )
    assert FWorker.from_file(str(tmp_path / "my_fworker_dft.yaml")).category == "dft"

    store = JobflowSettings(CONFIG_FILE=str(tmp_path / "jobflow.yaml")).JOB_STORE
    assert set(store.additional_stores) == {"data"}
    assert store.docs_store.uri == URI

    for category in CATEGORIES:
        adapter = load_object_from_file(str(tmp_path / f"my_qadapter_{category}.yaml"))
        script = adapter.get_script_str(str(tmp_path))
        assert f"#SBATCH --partition={'gpu' if category == 'training' else 'cpu'}" in script
        assert ("#SBATCH --account=abc" in script) == (category == "dft")
        assert "#SBATCH --signal=B:USR1@120" in script
        assert f"#SBATCH --comment=mgflows-{category}" in script
        assert f"source {tmp_path}/env.sh" in script
        (launch,) = [line for line in script.splitlines() if line.startswith("exec ")]
        assert ("singleshot" in launch) == (category == "dft")
        assert SECRET not in script
        assert ("#SBATCH --gpus-per-node=2" in script) == (category == "training")
        assert ("--gpus" in script) == (category == "training")


def test_no_category_requests_a_gpu_by_default(tmp_path: Path) -> None:
    run_init(tmp_path, "--scheduler", "slurm", "--mongodb-uri", URI)
    for category in CATEGORIES:
        adapter = load_object_from_file(str(tmp_path / f"my_qadapter_{category}.yaml"))
        assert "gpu" not in adapter.get_script_str("/")


def test_pbs_scripts_request_nodes_cores_and_memory(tmp_path: Path) -> None:

    run_init(
        tmp_path,
        "--scheduler",
        "pbs",
        "--mongodb-uri",
        URI,
        "--cores",
        "dft=16",
        "--nodes",
        "dft=2",
        "--walltime",
        "dft=12:00:00",
        "--memory",
        "dft=64G",
    )
    script = load_object_from_file(str(tmp_path / "my_qadapter_dft.yaml")).get_script_str("/")
    assert "#PBS -l nodes=2:ppn=16" in script
    assert "#PBS -l walltime=12:00:00" in script
    # 64 GB on each of two nodes; `pmem` would be the memory of each of the 32 processes.
    assert "#PBS -l mem=128gb" in script
    assert "pmem" not in script
    # Batch systems read directives only before the first command.
    lines = [line for line in script.splitlines() if line and not line.startswith("#!")]
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    assert not any(line.startswith("#PBS") for line in lines[first:])


def rendered(scheduler: str, **resources: object) -> list[str]:
    """The lines of the batch script of category dft, by FireWorks' template."""
    settings = Settings.checked(
        {"scheduler": scheduler, "mongodb_uri": URI, "resources": {"dft": resources}}
    )
    text = render(settings, Path("/cluster"), "/venv/bin/python")["my_qadapter_dft.yaml"]
    return load_object(yaml.safe_load(text)).get_script_str("/launches").splitlines()


@pytest.mark.parametrize("scheduler", ["sge", "lsf"])
def test_scripts_of_other_batch_systems(scheduler: str) -> None:
    """Directives of qsub(1) and bsub(1) before the first command, and the worker."""
    lines = rendered(
        scheduler,
        queue="long",
        account="glass",
        nodes=2,
        cores=16,
        gpus=1 if scheduler == "lsf" else 0,
        memory="64G",
        walltime="12:30:15",
        setup=["module load vasp"],
    )
    expected = {
        "sge": [
            "#$ -q long",
            "#$ -A glass",
            "#$ -N mgflows-dft",
            "#$ -S /bin/bash",
            "#$ -l h_rt=45015,s_rt=44895",
            "#$ -pe smp 32",
            # 64 GB for 16 slots on each node.
            "#$ -l h_vmem=4194304K",
        ],
        "lsf": [
            "#BSUB -n 32",
            "#BSUB -W 12:31",
            "#BSUB -q long",
            "#BSUB -J mgflows-dft",
            "#BSUB -L /bin/bash",
            "#BSUB -wa USR1 -wt 2",
            "#BSUB -P glass",
            '#BSUB -R "span[ptile=16]"',
            '#BSUB -gpu "num=1"',
            '#BSUB -R "rusage[mem=64GB]"',
            "#BSUB -M 64GB",
        ],
    }[scheduler]
    assert set(expected) <= set(lines)
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[:3] == ["module load vasp", "source /cluster/env.sh", "cd /launches"]
    assert commands[3].startswith("exec /venv/bin/python -u -m mgflows.launch.worker")
    first = lines.index("module load vasp")
    assert not any(line.startswith(("#$", "#BSUB")) for line in lines[first:])
    assert not any("$${" in line for line in lines)


def test_another_parallel_environment_of_sge() -> None:
    lines = rendered("sge", cores=8, setup=["#$ -pe mpi_fill 8", "module load vasp"])
    assert [line for line in lines if line.startswith("#$ -pe")] == ["#$ -pe mpi_fill 8"]


@pytest.mark.parametrize(
    ("memory", "slurm", "pbs"),
    [("64G", "64G", "64gb"), ("500 MB", "500M", "500mb"), ("8000", "8000M", "8000mb")],
)
def test_memory_is_per_node_in_both_systems(memory: str, slurm: str, pbs: str) -> None:
    for scheduler, line in (("slurm", f"#SBATCH --mem={slurm}"), ("pbs", f"#PBS -l mem={pbs}")):
        settings = Settings.checked(
            {
                "scheduler": scheduler,
                "mongodb_uri": URI,
                "resources": {"dft": {"cores": 32, "memory": memory}},
            }
        )
        text = render(settings, Path("/cluster"), "/venv/bin/python")["my_qadapter_dft.yaml"]
        adapter = load_object(yaml.safe_load(text))
        assert line in adapter.get_script_str("/").splitlines()


def test_a_memory_that_is_not_a_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"resources\.dft\.memory .*'64 apples'"):
        Settings.checked({"resources": {"dft": {"memory": "64 apples"}}})


def test_only_the_owner_may_read_any_of_it(tmp_path: Path) -> None:
    run_init(tmp_path, "--scheduler", "slurm", "--mongodb-uri", URI)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert stat.S_IMODE((tmp_path / "queue_logs").stat().st_mode) == 0o700
    assert len(files) == 14
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.name for path in files if SECRET in path.read_text()} == {
        "mgflows.yaml",
        "my_launchpad.yaml",
        "jobflow.yaml",
    }
    assert all(
        str(tmp_path) in (tmp_path / name).read_text()
        for name in ("env.sh", "FW_config.yaml", "my_qadapter_md.yaml")
    )


def test_an_edit_is_rendered_and_never_overwritten(tmp_path: Path) -> None:
    run_init(tmp_path, "--scheduler", "slurm", "--mongodb-uri", URI)
    path = tmp_path / "mgflows.yaml"
    values = yaml.safe_load(path.read_text())
    values["resources"]["md"]["walltime"] = "03:00:00"
    path.write_text(yaml.safe_dump(values))
    run_init(tmp_path)
    rendered = yaml.safe_load((tmp_path / "my_qadapter_md.yaml").read_text())
    assert rendered["walltime"] == "03:00:00"
    # A packed worker stops taking jobs before its walltime ends.
    assert rendered["rocket_launch"].endswith("--timeout 9720")
    with pytest.raises(InputError, match="--scheduler would change it; edit the file"):
        run_init(tmp_path, "--scheduler", "pbs")


def test_missing_values_are_requested_or_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --mongodb-uri"):
        run_init(tmp_path, "--scheduler", "slurm", "--no-input")
    with pytest.raises(InputError, match=r"resources\.dft\.walltime .*two days"):
        run_init(
            tmp_path, "--scheduler", "slurm", "--mongodb-uri", URI, "--walltime", "dft=two days"
        )
    assert list(tmp_path.iterdir()) == []
