import copy
import math
import pickle
from argparse import Namespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.tracking import logger as logger_module
from clip_lightning.tracking import sidecar_handle
from clip_lightning.tracking.journal import metrics, read
from clip_lightning.tracking.logger import MLflowTracker, flatten


def records(run_dir, kind):
    return [record.content for record in read(run_dir / "journal.jsonl") if record.kind == kind]


def statuses(run_dir):
    return [content["status"] for content in records(run_dir, "status")]


@pytest.fixture
def tracker(tmp_path):
    tracker = MLflowTracker("sqlite:///never-opened.db", tags={"study": "s"}, live=False)
    tracker.attach(tmp_path / "run")
    yield tracker
    tracker.close()


def test_what_is_logged_is_in_the_journal(tracker, tmp_path):
    tracker.log_hyperparams({"model": {"width": 16, "layers": [2, 3]}, "none": None})
    tracker.log_hyperparams(Namespace(lr=0.1))
    tracker.log_metrics({"loss": torch.tensor(0.5), "bad": math.nan}, step=4)
    tracker.log_artifact(tmp_path / "run" / "config.yaml")
    tracker.finalize("success")
    run = tmp_path / "run"
    (start,) = records(run, "start")
    assert start["experiment"] == "clip_lightning"
    assert start["run_name"] == f"{tmp_path.name}/run"
    assert [content["values"] for content in records(run, "params")] == [
        {"model.width": "16", "model.layers.0": "2", "model.layers.1": "3", "none": "None"},
        {"lr": "0.1"},
    ]
    assert records(run, "tags")[0]["values"]["study"] == "s"
    assert metrics(run / "journal.jsonl")["loss"].step == [4]
    assert records(run, "artifact")[0]["path"] == "config.yaml"
    assert statuses(run) == ["RUNNING", "FINISHED"]


def test_flatten_keeps_every_leaf():
    nested = {"a": {"b": [1, {"c": 2}], "empty": {}}, "d": (), "e": Namespace(f="x")}
    assert dict(flatten(nested)) == {"a.b.0": "1", "a.b.1.c": "2", "a.empty": "{}", "d": "()", "e.f": "x"}


def test_lightning_trains_with_it_and_puts_its_checkpoints_into_the_run_folder(tracker, tmp_path):
    checkpoint = ModelCheckpoint(save_last=True)
    trainer = Trainer(
        max_steps=3,
        limit_val_batches=0,
        logger=tracker,
        callbacks=[checkpoint, LogLoss()],
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(BoringModel())
    assert checkpoint.dirpath == str(tmp_path / "run" / "checkpoints")
    assert metrics(tmp_path / "run" / "journal.jsonl")["train_loss"].step == [0, 1, 2]
    assert statuses(tmp_path / "run")[-1] == "FINISHED"


def LogLoss():  # noqa: N802
    from lightning.pytorch.callbacks import LambdaCallback

    return LambdaCallback(on_train_batch_end=lambda trainer, module, outputs, *_: module.log("train_loss", 1.0))


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_the_status_tells_an_interruption_from_a_fault(tracker, tmp_path, error, status):
    try:
        raise error
    except BaseException:
        tracker.finalize("failed")
    assert statuses(tmp_path / "run")[-1] == status


def test_a_run_that_nobody_finalised_is_finished_at_close_and_can_go_on_after(tracker, tmp_path):
    tracker.log_metrics({"loss": 1.0}, 0)
    tracker.close()
    assert statuses(tmp_path / "run") == ["RUNNING", "FINISHED"]
    tracker.log_metrics({"loss": 2.0}, 1)
    assert metrics(tmp_path / "run" / "journal.jsonl")["loss"].step == [0, 1]
    assert len(records(tmp_path / "run", "start")) == 2


def test_a_resumed_run_replaces_what_it_does_again(tracker, tmp_path):
    for step in range(4):
        tracker.log_metrics({"loss": 1.0}, step)
    tracker.close()
    resumed = MLflowTracker("sqlite:///never-opened.db", live=False)
    resumed.attach(tmp_path / "run")
    resumed.rewind(2, after=0)
    resumed.log_metrics({"loss": 2.0}, 2)
    resumed.close()
    assert metrics(tmp_path / "run" / "journal.jsonl")["loss"].value == [1.0, 1.0, 2.0]


def test_what_was_recorded_before_the_checkpoint_stays(tracker, tmp_path):
    for step in range(3):
        tracker.log_metrics({"loss": 1.0}, step)
    tracker.log_metrics({"val/loss": 1.0}, 3)
    end = tracker.journal_end
    tracker.log_metrics({"loss": 1.0}, 3)
    tracker.rewind(3, end)
    curves = metrics(tmp_path / "run" / "journal.jsonl")
    assert (curves["loss"].step, curves["val/loss"].step) == ([0, 1, 2], [3])


def test_every_process_knows_the_journals_end_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = MLflowTracker(live=False)
    assert tracker.journal_end == 0
    tracker.attach(tmp_path / "run")
    assert tracker.journal_end == 0
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]
    tracker.log_metrics({"loss": 1.0}, 0)
    other = copy.deepcopy(tracker)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert other.journal_end == tracker.journal_end == (tmp_path / "run" / "journal.jsonl").stat().st_size > 0
    monkeypatch.undo()
    tracker.close()


def test_without_attach_a_folder_is_made_and_another_one_is_refused_afterwards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = MLflowTracker(run_name="mine", live=False)
    tracker.log_metrics({"loss": 1.0}, 0)
    (journal,) = tmp_path.glob("runs/mine/*/journal.jsonl")
    assert (tmp_path / tracker.save_dir).samefile(journal.parent)
    with pytest.raises(ValueError, match="has begun"):
        tracker.attach(tmp_path / "other")
    tracker.close()


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = MLflowTracker(live=False)
    assert tracker.save_dir is None
    tracker.attach(tmp_path)
    tracker.log_metrics({"loss": 1.0}, 0)
    tracker.log_hyperparams({"a": 1})
    tracker.finalize("success")
    tracker.close()
    assert tracker.save_dir == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_writes_to_the_same_journal(tracker, tmp_path):
    tracker.log_metrics({"loss": 1.0}, 0)
    for twin in (copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):
        twin.log_metrics({"loss": 2.0}, 1)
        twin.close()
    assert metrics(tmp_path / "run" / "journal.jsonl")["loss"].value == [1.0, 2.0, 2.0]


def test_a_full_disk_is_reported_once_and_stops_nothing(tracker, monkeypatch, capsys):
    tracker.log_metrics({"loss": 1.0}, 0)
    monkeypatch.setattr(logger_module.Journal, "log_metrics", _no_space)
    for step in range(3):
        tracker.log_metrics({"loss": 1.0}, step)
    assert capsys.readouterr().err.splitlines() == [
        "clip_lightning: tracking is incomplete, since journal.jsonl: No space left on device"
    ]


def test_a_sidecar_that_cannot_start_costs_one_line_at_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sidecar_handle.subprocess, "Popen", _no_space)
    tracker = MLflowTracker("http://ann:secret@host:5000")
    tracker.attach(tmp_path)
    tracker.log_metrics({"loss": 1.0}, 0)
    tracker.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f"not everything has reached http://host:5000 yet; deliver the rest with: "
        f"python -m clip_lightning sync {tmp_path}"
    )
    assert "secret" not in (tmp_path / "journal.jsonl").read_text()
    assert metrics(tmp_path / "journal.jsonl")["loss"].value == [1.0]


def _no_space(*_, **__):
    raise OSError(28, "No space left on device", "journal.jsonl")
