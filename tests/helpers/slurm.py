"""A real Slurm on this machine: no munge, no root and no port open to other machines.

It runs slurmctld and slurmd of Debian's package slurm-wlm.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import Flow

from mgflows.flows.tags import set_campaign, tag
from mgflows.launch import submit
from mgflows.machine.configuration import write_configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobflow import Job

    from mgflows.settings import Settings

__all__ = [
    "ROOT",
    "Cluster",
    "configure",
    "current_user",
    "in_category",
    "qlaunch",
    "submit_jobs",
    "wait_for",
]

ROOT = Path(__file__).parents[2]

CONFIGURATION = """
ClusterName=mgflows
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=300
KillWait=10
InactiveLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 \\
    CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=2000 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=NO
PartitionName=large Nodes={host} MaxTime=60 State=UP OverSubscribe=NO
"""


class Cluster:
    """A running Slurm.

    Parameters
    ----------
    directory
        Its files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "slurm.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.is_up = False

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.directory / name).mkdir()
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(
            host=host,
            user=current_user(),
            ports=_free_ports(2),
            directory=self.directory,
            cores=max(2, os.cpu_count() or 2),
        )
        self.configuration.write_text(text)
        # slurmd derives the version of cgroups from their mounts, which a container may lack; they
        # are not used here.
        (self.directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        for program in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            # An ordinary user's PATH has no /usr/sbin.
            path = shutil.which(program[0], path=f"{os.environ['PATH']}:/usr/sbin")
            assert path is not None, f"{program[0]} is missing, see tests/helpers/requirements.py"
            with (self.directory / f"{program[0]}.out").open("wb") as out:
                command = [path, *program[1:], "-f", str(self.configuration)]
                self._daemons.append(
                    subprocess.Popen(
                        command,
                        stdout=out,
                        stderr=out,
                        env=self.environment,
                        start_new_session=True,
                    )
                )
        deadline = time.monotonic() + 60
        while "idle" not in (state := self.run("sinfo", "-h", "-o", "%T", check=False)):
            if time.monotonic() > deadline or any(
                daemon.poll() is not None for daemon in self._daemons
            ):
                logs = "\n".join(
                    path.read_text(errors="replace")[-2000:]
                    for path in sorted(self.directory.glob("slurm*.*o*"))
                )
                raise RuntimeError(f"Slurm did not start; sinfo prints {state!r}\n{logs}")
            time.sleep(0.2)
        self.is_up = True

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def run(
        self, *command: str, check: bool = True, cwd: Path | None = None, timeout: float = 90
    ) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            cwd=cwd,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def jobs(self, states: str = "all") -> list[list[str]]:
        """(id, name, state, partition) of the jobs."""
        return [
            line.split("|")
            for line in self.run("squeue", "-h", "-t", states, "-o", "%i|%j|%T|%P").splitlines()
        ]

    def wait(self, seconds: float = 120) -> None:
        """Wait until no job runs or is pending."""
        deadline = time.monotonic() + seconds
        while self.jobs("pending,running,completing"):
            assert time.monotonic() < deadline, self.run("squeue")
            time.sleep(0.3)


def configure(site: Settings) -> None:
    site.write(site.directory / "mgflows.yaml")
    write_configuration(site, site.directory, sys.executable)


def qlaunch(cluster: Cluster, site: Settings, category: str, *arguments: str) -> str:
    folder = site.directory
    (folder / "queue").mkdir(exist_ok=True)
    program = Path(sys.executable).parent / "qlaunch"
    files = [
        "-c",
        str(folder),
        "-w",
        str(folder / f"my_fworker_{category}.yaml"),
        "-q",
        str(folder / f"my_qadapter_{category}.yaml"),
    ]
    reserve = ["-r"] if site.resources[category].reserve else []
    return cluster.run(
        str(program),
        *files,
        *reserve,
        "--launch_dir",
        str(folder / "queue"),
        *arguments,
        cwd=folder,
    )


def in_category(job: Job, category: str, **tags: str) -> Job:
    return tag(
        job, stage={"sampling": "sampling", "dft": "labels"}[category], category=category, **tags
    )


def submit_jobs(site: Settings, *made: Job) -> None:
    flow = Flow(list(made))
    set_campaign(flow, "c1")
    submit(flow, site)


def wait_for(cluster: Cluster, what: object, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"{what}\n{cluster.run('squeue')}"
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def current_user() -> str:
    """Name of the effective user; LOGNAME may differ."""
    return pwd.getpwuid(os.geteuid()).pw_name
