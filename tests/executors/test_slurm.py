"""Jobs of a real SLURM of one node: arrays, a job that is stopped and begun again, a study process that comes back."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("submitit")
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from slurm import ask, running_slurm

from clip_lightning.executors import Launch, Slurm

pytestmark = pytest.mark.slow

COUNTING = """
import json, pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
state = json.loads(path.read_text()) if path.exists() else {"count": 0, "starts": []}
state["starts"].append(state["count"])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
while state["count"] < int(sys.argv[2]) and not stopped:
    time.sleep(0.1)
    state["count"] += 1
    path.with_suffix(".part").write_text(json.dumps(state))
    path.with_suffix(".part").replace(path)
sys.exit(143 if stopped else 0)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, running_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        patch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        yield environment


def launch(folder, *arguments, code=COUNTING):
    folder.mkdir(parents=True)
    return Launch((sys.executable, "-c", code, *map(str, arguments)), folder)


def wait(executor, jobs, seconds=90):
    deadline = time.monotonic() + seconds
    while set((states := executor.poll(jobs)).values()) - {"done", "failed"}:
        assert time.monotonic() < deadline, (states, ask(dict(os.environ), "squeue", "--format", "%i %t %r %S"))
        time.sleep(0.3)
    return states


def test_an_array_of_runs_two_of_which_fail(cluster, tmp_path):
    executor = Slurm(timeout_minutes=60, cpus=1)
    codes = [0, 3, 0, 1]
    code = "import sys; print('said'); sys.exit(int(sys.argv[1]))"
    jobs = executor.submit([launch(tmp_path / str(place), end, code=code) for place, end in enumerate(codes)])
    assert len({job.partition("_")[0] for job in jobs}) == 1, "one array"
    assert list(wait(executor, jobs).values()) == ["done", "failed", "done", "failed"]
    assert (tmp_path / "3" / "output.log").read_text() == "said\n"


def test_a_study_process_that_comes_back_finds_its_jobs_and_can_cancel_them(cluster, tmp_path):
    one = launch(tmp_path / "a", tmp_path / "a.json", 600)
    jobs = Slurm(timeout_minutes=60, cpus=1).submit([one])
    later = Slurm(timeout_minutes=60, cpus=1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "a.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert later.submit([one]) == jobs
    assert later.poll(jobs) == {jobs[0]: "running"}
    later.cancel(jobs)
    assert set(wait(later, jobs).values()) == {"failed"}
    assert len(json.loads((tmp_path / "a.json").read_text())["starts"]) == 1


def test_a_job_at_its_time_limit_saves_what_it_has_and_goes_on(cluster, tmp_path):
    executor = Slurm(timeout_minutes=60, cpus=1)
    path = tmp_path / "count.json"
    jobs = executor.submit([launch(tmp_path / "a", path, 30)])
    deadline = time.monotonic() + 60
    while not path.exists() or json.loads(path.read_text())["count"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # What SLURM sends before a time limit, by hand.
    subprocess.run(["scancel", "--signal", "USR2", jobs[0]], check=True)
    # SLURM holds a job back for two minutes before it begins it again.
    assert wait(executor, jobs, 420) == {jobs[0]: "done"}
    state = json.loads(path.read_text())
    assert state["count"] == 30
    assert len(state["starts"]) == 2
    assert state["starts"][1] >= 5
    assert "Restarts=1" in ask(cluster, "scontrol", "show", "job", jobs[0])
