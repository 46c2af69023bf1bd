"""A SLURM of one node, started for a test and stopped after it."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")

CONFIGURATION = """ClusterName=local
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def running_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the daemons, which only root can.

    Args:
        folder: Where their state and logs go.

    Yields:
        The environment in which ``sbatch`` and the like find them.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {missing[0] if missing else 'root'}; apt-get install slurm-wlm munge, and run as root")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    path = folder / "slurm.conf"
    path.write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=folder))
    environment = {**os.environ, "SLURM_CONF": str(path)}
    with _munge(environment):
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=environment, check=True)
        try:
            deadline = time.monotonic() + 60
            while "idle" not in ask(environment, "sinfo", "--noheader"):
                assert time.monotonic() < deadline, ask(environment, "sinfo")
                time.sleep(0.5)
            yield environment
        finally:
            subprocess.run(["scancel", "--user", "root"], env=environment, check=False)
            for daemon in ("slurmd", "slurmctld"):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((folder / f"{daemon}.pid").read_text()), 15)


def ask(environment: dict[str, str], *command: str) -> str:
    """What a program of SLURM answers."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


@contextlib.contextmanager
def _munge(environment: dict[str, str]) -> Iterator[None]:
    """The daemon that signs messages, unless it runs already."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        yield
        return
    subprocess.run(["install", "-d", "-o", "munge", "/run/munge"], check=True)
    subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
    try:
        yield
    finally:
        subprocess.run(["runuser", "-u", "munge", "--", "munged", "--stop"], capture_output=True, check=False)
