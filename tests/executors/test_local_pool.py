"""Real processes, small ones: who runs when, on what, and what is left when somebody is killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from clip_lightning.executors import Launch, LocalPool, build_executor
from clip_lightning.executors.local_pool import visible_gpus

PYTHON = sys.executable


def launch(folder, code):
    folder.mkdir(exist_ok=True)
    return Launch((PYTHON, "-S", "-c", code), folder)


def wait(pool, jobs, seconds=30):
    deadline = time.monotonic() + seconds
    while set(states := pool.poll(jobs).values()) - {"done", "failed"}:
        assert time.monotonic() < deadline, states
        time.sleep(0.02)
    return pool.poll(jobs)


def appears(path, seconds=30):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_so_many_at_a_time_in_their_order(tmp_path):
    pool = LocalPool(at_once=2, devices=[])
    code = "import time, pathlib; pathlib.Path('{}').write_text(str(time.time())); time.sleep(0.3)"
    launches = [launch(tmp_path / str(number), code.format(tmp_path / f"{number}.txt")) for number in range(4)]
    jobs = pool.submit(launches)
    assert sorted(pool.poll(jobs).values()) == ["running", "running", "waiting", "waiting"]
    assert set(wait(pool, jobs).values()) == {"done"}
    began = [float((tmp_path / f"{number}.txt").read_text()) for number in range(4)]
    assert max(began[:2]) + 0.3 <= min(began[2:]) + 0.05


def test_what_runs_say_and_how_they_end(tmp_path):
    pool = LocalPool(devices=[])
    for _ in range(2):
        jobs = pool.submit([launch(tmp_path / "a", "import sys; print('well'); sys.exit('not so well')")])
        assert wait(pool, jobs) == {jobs[0]: "failed"}
    assert (tmp_path / "a" / "output.log").read_text().count("not so well") == 2


def test_each_gpu_has_its_run_and_each_run_its_share_of_the_cores(tmp_path):
    pool = LocalPool(devices=[3, "GPU-5"])
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    jobs = pool.submit([launch(tmp_path / name, code) for name in "ab"])
    wait(pool, jobs)
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert pool.threads == threads
    said = {(tmp_path / name / "output.log").read_text() for name in "ab"}
    assert said == {f"3 {threads}\n", f"GPU-5 {threads}\n"}


def test_gpus_are_asked_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 2")
    assert visible_gpus() == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


def test_cancelling_waits_for_what_a_run_has_to_save(tmp_path):
    """A run is told by SIGTERM, and has the time to write its checkpoint; what still waits never begins."""
    code = """
import pathlib, signal, sys, time
folder = pathlib.Path(%r)
def save(*_):
    time.sleep(0.3)
    (folder / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
time.sleep(60)
"""
    pool = LocalPool(devices=[])
    jobs = pool.submit([launch(tmp_path / name, code % str(tmp_path / name)) for name in "ab"])
    appears(tmp_path / "a" / "ready")
    pool.cancel(jobs)
    assert (tmp_path / "a" / "saved").exists()
    assert not (tmp_path / "b" / "ready").exists()
    assert pool.poll(jobs)[jobs[0]] == "failed"


def test_what_does_not_end_in_time_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr("clip_lightning.executors.local_pool.GRACE_SECONDS", 0.2)
    code = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
path = pathlib.Path(%r)
path.with_suffix(".part").write_text(str(child.pid))
path.with_suffix(".part").replace(path)
time.sleep(60)
"""
    pool = LocalPool(devices=[])
    jobs = pool.submit([launch(tmp_path / "a", code % str(tmp_path / "pid"))])
    appears(tmp_path / "pid")
    pool.cancel(jobs)
    assert gone(int((tmp_path / "pid").read_text()))


def gone(pid, seconds=10):
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_runs_die_with_a_parent_that_is_killed(tmp_path):
    parent_code = """
import sys, time
from pathlib import Path
from clip_lightning.executors import Launch, LocalPool
folder = Path(sys.argv[1])
code = "import os, pathlib, time; pathlib.Path(%r).write_text(str(os.getpid())); time.sleep(60)" % str(folder / "pid")
LocalPool(devices=[]).submit([Launch((sys.executable, "-S", "-c", code), folder)])
time.sleep(60)
"""
    parent = subprocess.Popen([PYTHON, "-c", parent_code, str(tmp_path)])
    appears(tmp_path / "pid")
    time.sleep(0.2)
    child = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(child)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"class_path": "LocalPol"}, "'LocalPol' is not known; there are: LocalPool, Slurm"),
        ({"class_path": "LocalPool", "init_args": {"at_onec": 2}}, "takes no 'at_onec'; there are: at_once, devices"),
        ({"class_path": "LocalPool", "init_args": {"at_once": 0}}, "at_once is 0"),
        ({"class_path": "nowhere.Pool"}, "cannot be imported"),
    ],
)
def test_a_mistake_in_the_executor_is_named(spec, words):
    with pytest.raises(ValueError, match=words):
        build_executor(spec)


def test_slurm_is_refused_where_there_is_none(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs sbatch"):
        build_executor({"class_path": "Slurm"})
