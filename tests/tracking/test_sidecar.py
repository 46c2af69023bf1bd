import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from mlflow import MlflowClient

from clip_lightning.tracking import mlflow_delivery, sidecar, system_metrics
from clip_lightning.tracking.journal import Journal, metrics
from clip_lightning.tracking.mlflow_delivery import DeliveryError
from clip_lightning.tracking.sidecar import Sidecar
from clip_lightning.tracking.system_metrics import SystemSampler, sample
from clip_lightning.tracking.training_process import TrainingProcess, describe_process, is_abandoned

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture
def ended_process():
    """Id of a process that has ended and been collected."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(sidecar, "LAST_DELIVERY_SECONDS", 0.0)
    monkeypatch.setattr(sidecar, "DELIVERY_SECONDS", 0.0)
    monkeypatch.setattr(sidecar, "SAMPLE_SECONDS", 0.01)


def follow(run_dir, parent, patience_seconds=0.0):
    return Sidecar(run_dir, None, parent, patience_seconds).follow()


def test_a_closed_journal_is_delivered_though_its_writer_lives(tmp_path, store):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.start("experiment", None, store.uri, describe_process())
    journal.log_metrics({"loss": 1.0}, 0)
    journal.log_status("FINISHED")
    journal.close()
    assert follow(tmp_path, os.getpid())
    assert ("loss", 0, 1.0) in store.metrics(tmp_path)
    assert store.status(tmp_path) == "FINISHED"


def test_what_a_killed_trainer_left_is_delivered_and_the_run_marked(journal, tmp_path, store, ended_process):
    journal.log_metrics({"loss": 1.0}, 0)
    assert follow(tmp_path, ended_process)
    assert store.metrics(tmp_path) == [("loss", 0, 1.0)]
    # The journal's last "start" is of another process: the run was resumed, and is not for this sidecar to end.
    assert store.status(tmp_path) == "RUNNING"
    journal.start("experiment", None, store.uri, {**describe_process(), "pid": ended_process})
    assert follow(tmp_path, ended_process)
    assert store.status(tmp_path) == "KILLED"


def test_a_trainer_that_failed_by_itself_is_not_marked_killed(journal, tmp_path, store, ended_process):
    journal.start("experiment", None, store.uri, {**describe_process(), "pid": ended_process})
    journal.log_status("FAILED")
    assert follow(tmp_path, ended_process)
    assert store.status(tmp_path) == "FAILED"


@pytest.fixture
def clock(monkeypatch):
    """A clock of the sidecar's own, on which only waiting takes time."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(sidecar, "time", clock)
    monkeypatch.setattr(sidecar, "LAST_DELIVERY_SECONDS", 1.0)
    return clock


def test_after_the_end_it_tries_on_for_as_long_as_its_patience(journal, tmp_path, monkeypatch, clock, ended_process):
    attempts = []

    def fail(self, *, abandoned):
        attempts.append(clock.now)
        raise DeliveryError("nobody there")

    monkeypatch.setattr(sidecar.Delivery, "deliver", fail)
    for patience in (0, 5, 100):
        attempts.clear()
        assert not follow(tmp_path, ended_process, patience)
        assert attempts[-1] - attempts[0] == pytest.approx(patience, abs=2)
        assert len(attempts) >= patience / 2


def test_progress_renews_its_patience(journal, tmp_path, monkeypatch, clock, ended_process):
    attempts, progress = [], [4.0, 8.0, 12.0]

    def fail(self, *, abandoned):
        attempts.append(clock.now)
        if progress and clock.now >= progress[0]:
            progress.pop(0)
            self.acknowledgements += 1
        raise DeliveryError("only a part was taken")

    monkeypatch.setattr(sidecar.Delivery, "deliver", fail)
    assert not follow(tmp_path, ended_process, patience_seconds=5)
    assert attempts[-1] == pytest.approx(12 + 5, abs=2)


def test_a_delivery_that_fails_in_the_middle_is_progress(journal, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_delivery, "METRICS_PER_BATCH", 1)
    delivery, log_batch = sidecar.Delivery(tmp_path), MlflowClient.log_batch

    def fail_at_two(self, run_id, metrics=(), params=(), tags=()):
        if any(metric.step == 2 for metric in metrics):
            raise ConnectionError("gone")
        log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", fail_at_two)
    for step in range(4):
        journal.log_metrics({"loss": 1.0}, step)
    with delivery:
        for is_progress in (True, False):
            before = delivery.acknowledgements
            with pytest.raises(DeliveryError, match="gone"):
                delivery.deliver()
            assert (delivery.acknowledgements > before) is is_progress


def test_while_the_trainer_lives_it_never_gives_up(journal, tmp_path, store, monkeypatch, clock):
    deliver, attempts = sidecar.Delivery.deliver, []

    def fail_often(self, *, abandoned):
        attempts.append(abandoned)
        if len(attempts) <= 50:
            raise DeliveryError("nobody there")
        journal.log_status("FINISHED")
        journal.close()
        return deliver(self, abandoned=abandoned)

    journal.start("experiment", None, store.uri, describe_process())
    monkeypatch.setattr(sidecar.Delivery, "deliver", fail_often)
    monkeypatch.setattr(sidecar, "DELIVERY_SECONDS", 3.0)
    assert follow(tmp_path, os.getpid(), patience_seconds=5)
    assert clock.now > 100
    assert store.status(tmp_path) == "FINISHED"


def test_a_journal_tells_whether_its_writer_is_gone(tmp_path, ended_process):
    path = tmp_path / "journal.jsonl"
    here = describe_process()
    for process, expected in [
        (here, False),
        ({**here, "pid": ended_process}, True),
        ({**here, "started": here["started"] - 100}, True),  # The id has gone to another process.
        ({**here, "pid": ended_process, "host": "elsewhere"}, False),
    ]:
        Journal(path).start("experiment", None, "uri", process)
        assert is_abandoned(path) is expected
    journal = Journal(path)
    journal.start("experiment", None, "uri", {**here, "pid": ended_process})
    journal.close()
    assert is_abandoned(path) is False


def test_a_trainer_that_nobody_has_collected_is_gone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        trainer = TrainingProcess(tmp_path / "journal.jsonl", process.pid)
        assert not trainer.is_gone
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert trainer.is_gone


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system has no shares of sessions")
def test_it_gives_way_to_other_sessions_and_leaves_a_terminals_own_alone():
    program = (
        "import pathlib; from clip_lightning.tracking.sidecar import give_way; give_way()\n"
        "print(pathlib.Path('/proc/self/autogroup').read_text())"
    )
    run = [sys.executable, "-c", program]
    own = Path("/proc/self/autogroup").read_text()
    assert subprocess.check_output(run, text=True, start_new_session=True).split()[-1] == "10"
    assert subprocess.check_output(run, text=True).split() == own.split()


def test_a_sample_describes_the_machine_and_the_trainer():
    values = sample(psutil.Process())
    assert values["system/system_memory_usage_percentage"] == pytest.approx(psutil.virtual_memory().percent, abs=20)
    assert values["system/training_memory_usage_megabytes"] >= psutil.Process().memory_info().rss / 2e6
    assert all(name.startswith("system/") and isinstance(value, float) for name, value in values.items())


def test_gpus_are_sampled_where_the_library_answers(monkeypatch):
    class NVMLError(Exception):
        pass

    def hidden(handle):
        raise NVMLError

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=2e9 * (handle + 1), total=8e9),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=40 + handle),
        nvmlDeviceGetPowerUsage=hidden,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    values = sample(psutil.Process())
    assert values["system/gpu_0_utilization_percentage"] == 40
    assert values["system/gpu_1_memory_usage_percentage"] == 50
    assert values["system/gpu_1_memory_usage_megabytes"] == 4000
    assert "system/gpu_0_power_usage_watts" not in values
    library.nvmlInit = lambda: hidden(None)
    assert not any("gpu" in name for name in sample(psutil.Process()))


def test_samples_count_on_where_an_earlier_sampler_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(system_metrics, "sample", lambda process: {"system/x": 1.0})
    journal = Journal(tmp_path / "system.jsonl")
    for first in (0, 10):
        sampler = SystemSampler(journal, first, psutil.Process(), 0.001)
        sampler.start()
        while not journal.path.exists() or last_step(journal.path) < first + 2:
            pass
        sampler.stop()
    steps = metrics(journal.path)["system/x"].step
    assert steps[:3] == [0, 1, 2]
    assert {10, 11, 12} <= set(steps)


def last_step(path):
    """The last step of a journal that may have been opened and not yet written."""
    series = metrics(path).get("system/x")
    return series.step[-1] if series else -1
