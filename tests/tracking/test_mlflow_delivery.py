import logging
import math
import shutil

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from clip_lightning.tracking import mlflow_delivery
from clip_lightning.tracking.delivery_state import read_state
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.mlflow_delivery import Delivery, DeliveryError, deliver

PROCESS = {"host": "elsewhere", "pid": 1, "started": 0.0}
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def test_everything_arrives_once_and_a_second_delivery_brings_nothing(journal, store, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {}")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "loss.svg").write_text("<svg/>")
    journal.log_params({"model.width": "16", "empty": ""})
    journal.log_tags({"dvc.lock": "abc", "a:b": "c"})
    journal.log_metrics({"val/R@1": 0.25, "loss": 2.0}, step=7)
    journal.log_artifact(tmp_path / "config.yaml")
    journal.log_artifact(tmp_path / "figures", "pictures")
    journal.log_status("FINISHED")
    counts = deliver(tmp_path, store.uri)
    assert (counts.metrics, counts.params, counts.tags, counts.artifacts, counts.refused) == (2, 2, 2, 2, 0)
    assert store.metrics(tmp_path) == [("loss", 7, 2.0), ("val/R--40-1", 7, 0.25)]
    assert store.params(tmp_path) == {"model.width": "16", "empty": ""}
    assert store.tags(tmp_path).items() >= {"dvc.lock": "abc", "a--3a-b": "c", "mlflow.runName": "name"}.items()
    assert store.status(tmp_path) == "FINISHED"
    artifacts = store.database.parent / "mlartifacts" / store.run_id(tmp_path) / "artifacts"
    assert (artifacts / "config.yaml").read_text() == "model: {}"
    assert (artifacts / "pictures" / "loss.svg").exists()
    assert deliver(tmp_path, store.uri) == mlflow_delivery.Counts()


def test_a_growing_journal_is_followed_in_one_run(journal, store, tmp_path):
    with Delivery(tmp_path) as delivery:
        for step in range(3):
            journal.log_metrics({"loss": float(step)}, step)
            assert delivery.deliver().metrics == 1
            assert store.status(tmp_path) == "RUNNING"
    assert [step for _, step, _ in store.metrics(tmp_path)] == [0, 1, 2]


def test_times_and_special_values_are_as_mlflow_has_them(journal, store, tmp_path):
    journal.log_metrics({"nan": math.nan, "up": math.inf, "down": -math.inf}, step=0)
    deliver(tmp_path)
    values = {name: value for name, _, value in store.metrics(tmp_path)}
    assert math.isnan(values["nan"])
    assert (values["up"], values["down"]) == (1.7976931348623157e308, -1.7976931348623157e308)
    (record,) = (r for r in mlflow_delivery.read(journal.path) if r.kind == "metrics")
    times = store.query("select distinct timestamp from metrics where run_uuid = ?", store.run_id(tmp_path))
    assert times == [(record.content["time"],)]


def test_requests_stay_within_mlflows_limits(journal, store, tmp_path, monkeypatch):
    sizes = []
    log_batch = MlflowClient.log_batch

    def watched(self, run_id, metrics=(), params=(), tags=()):
        sizes.append((len(metrics), len(params), len(tags)))
        log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", watched)
    journal.log_metrics({f"m{i}": float(i) for i in range(2300)}, step=0)
    journal.log_params({f"p{i}": "x" for i in range(130)})
    journal.log_tags({f"t{i}": "x" for i in range(130)})
    assert deliver(tmp_path).metrics == 2300
    assert len(store.metrics(tmp_path)) == 2300
    assert len(store.params(tmp_path)) == 130
    assert len([name for name in store.tags(tmp_path) if name.startswith("t")]) == 130
    assert max(m for m, _, _ in sizes) <= 1000
    assert all(p + t <= 100 and (m == 0 or p + t == 0) for m, p, t in sizes)


@pytest.mark.parametrize("lost", ["note", "answer"])
def test_a_crash_after_a_batch_was_taken_makes_no_second_rows(journal, store, tmp_path, monkeypatch, lost):
    deliver(tmp_path)
    journal.log_metrics({"loss": 1.5, "nan": math.nan, "up": math.inf}, step=1)
    journal.log_params({"width": "16"})
    with monkeypatch.context() as patch:
        if lost == "note":
            patch.setattr(mlflow_delivery, "write_state", _raise)
        else:
            patch.setattr(MlflowClient, "log_batch", _call_then_raise(MlflowClient.log_batch))
        with pytest.raises(DeliveryError):
            deliver(tmp_path)
    before = store.metrics(tmp_path)
    assert len(before) == 3
    assert deliver(tmp_path).metrics == 3
    assert [str(row) for row in store.metrics(tmp_path)] == [str(row) for row in before]
    assert store.params(tmp_path) == {"width": "16"}


@pytest.mark.parametrize("lost", ["note", "answer"])
def test_a_crash_after_the_run_was_created_makes_no_second_run(journal, store, tmp_path, monkeypatch, lost):
    journal.log_metrics({"loss": 1.0}, step=0)
    with monkeypatch.context() as patch:
        if lost == "note":
            patch.setattr(mlflow_delivery.Delivery, "_save", _raise)
        else:
            patch.setattr(MlflowClient, "create_run", _call_then_raise(MlflowClient.create_run))
        with pytest.raises(DeliveryError):
            deliver(tmp_path)
    key = read_state(tmp_path, store.uri).key
    assert read_state(tmp_path, store.uri).run_id is None
    deliver(tmp_path)
    assert store.query("select count(*) from tags where value = ?", key) == [(1,)]
    assert len(store.metrics(tmp_path)) == 1


def test_long_parameters_are_cut_and_a_changed_one_keeps_its_first_value(journal, store, tmp_path, caplog):
    long = "x" * 7000
    journal.log_params({"long": long, "width": "16"})
    deliver(tmp_path)
    journal.log_params({"long": long, "width": "32", "new": "1"})
    with caplog.at_level(logging.WARNING):
        assert deliver(tmp_path).params == 1
    assert store.params(tmp_path) == {"long": long[:6000], "width": "16", "new": "1"}
    assert "parameter width is now '32'; MLflow keeps its first value '16'" in caplog.text
    assert "parameter long is now" not in caplog.text


def test_what_mlflow_refuses_holds_up_nothing_else(journal, store, tmp_path, monkeypatch, caplog):
    log_batch = MlflowClient.log_batch

    error = MlflowException("out of order")

    def strict(self, run_id, metrics=(), params=(), tags=()):
        if any(metric.step == 5 for metric in metrics):
            raise error
        log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", strict)
    for step in range(10):
        journal.log_metrics({"loss": 1.0}, step)
    with journal.path.open("ab") as file:
        file.write(b"not JSON\n")
    journal.log_artifact(tmp_path / "gone.txt")
    with pytest.raises(DeliveryError, match="out of order"):
        deliver(tmp_path)
    error = MlflowException.invalid_parameter_value("bad step")
    counts = deliver(tmp_path)
    assert (counts.metrics, counts.refused) == (9, 3)
    assert [step for _, step, _ in store.metrics(tmp_path)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert "bad step" in caplog.text
    assert "not JSON" in caplog.text
    assert "gone.txt does not exist any more" in caplog.text


def test_an_artifact_store_out_of_order_holds_up_nothing_else(journal, store, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("a: 1")
    journal.log_artifact(tmp_path / "config.yaml")
    journal.log_metrics({"loss": 1.0}, step=0)
    journal.log_status("FINISHED")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", _raise)
        assert deliver(tmp_path).waiting_artifacts == 1
    assert len(store.metrics(tmp_path)) == 1
    assert store.status(tmp_path) == "FINISHED"
    counts = deliver(tmp_path)
    assert (counts.artifacts, counts.waiting_artifacts) == (1, 0)


def test_points_measured_again_after_a_resume_are_no_double_points(journal, store, tmp_path):
    for step in range(5):
        journal.log_metrics({"loss": float(step)}, step)
    deliver(tmp_path)
    journal.rewind(3, after=0)
    for step in (3, 4, 5):
        journal.log_metrics({"loss": step + 0.5, "new": 1.0}, step)
    counts = deliver(tmp_path)
    assert (counts.metrics, counts.repeated) == (4, 2)
    journal.rewind(5, after=0)
    journal.log_metrics({"loss": -1.0}, 5)
    journal.log_metrics({"loss": -1.0}, 6)
    assert deliver(tmp_path).repeated == 1
    losses = [(step, value) for name, step, value in store.metrics(tmp_path) if name == "loss"]
    assert losses == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.5), (6, -1.0)]


def test_the_status_follows_the_journal_and_an_abandoned_run_is_killed(journal, store, tmp_path):
    for status in ("FINISHED", "RUNNING", "FAILED", "RUNNING"):
        journal.log_status(status)
        deliver(tmp_path)
        assert store.status(tmp_path) == status
    for _ in range(2):
        deliver(tmp_path, abandoned=True)
        assert store.status(tmp_path) == "KILLED"
    deliver(tmp_path)
    assert store.status(tmp_path) == "KILLED"
    journal.log_status("RUNNING")
    deliver(tmp_path)
    assert store.status(tmp_path) == "RUNNING"
    journal.log_status("FINISHED")
    deliver(tmp_path, abandoned=True)
    assert store.status(tmp_path) == "FINISHED"


def test_two_deliverers_of_one_run_keep_apart(journal, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_delivery, "LOCK_SECONDS", 0.0)
    with Delivery(tmp_path), pytest.raises(DeliveryError, match="another process is delivering"):
        deliver(tmp_path)
    deliver(tmp_path)


def test_deliverers_of_one_run_take_turns(journal, store, tmp_path):
    follower = Delivery(tmp_path)
    for step in range(4):
        journal.log_metrics({"loss": 1.0}, step)
        with follower:
            assert follower.deliver().metrics == 1
        journal.log_metrics({"loss": 2.0}, step + 10)
        assert deliver(tmp_path).metrics == 1
    assert len(store.metrics(tmp_path)) == 8


def test_another_journal_in_a_copied_folder_is_delivered_from_its_beginning(journal, store, tmp_path):
    journal.log_metrics({"loss": 1.0}, 0)
    deliver(tmp_path)
    journal.path.unlink()
    other = Journal(journal.path)
    other.start("experiment", "name", store.uri, PROCESS)
    for step in range(1, 9):
        other.log_metrics({"loss": 1.0}, step)
    deliver(tmp_path)
    assert [step for _, step, _ in store.metrics(tmp_path)] == list(range(9))


def test_system_metrics_have_a_journal_of_their_own(journal, store, tmp_path):
    system = Journal(tmp_path / "system.jsonl")
    journal.log_metrics({"loss": 1.0}, 0)
    system.log_metrics({"system/cpu_utilization_percentage": 50.0}, 0)
    assert deliver(tmp_path).metrics == 2
    journal.rewind(0, after=0)
    system.log_metrics({"system/cpu_utilization_percentage": 60.0}, 1)
    assert deliver(tmp_path).metrics == 1


def test_a_moved_run_folder_is_delivered_with_its_files(journal, store, tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    journal.log_artifact(tmp_path / "config.yaml")
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert deliver(moved).artifacts == 1
    tmp_path.mkdir()


def test_a_copied_run_folder_is_a_run_of_its_own(journal, store, tmp_path):
    run_dir, copy = tmp_path / "run", tmp_path / "copy"
    run_dir.mkdir()
    original = Journal(run_dir / "journal.jsonl")
    original.start("experiment", "name", store.uri, {"host": "elsewhere", "pid": 1, "started": 0.0})
    original.log_metrics({"loss": 1.0}, 0)
    deliver(run_dir)
    shutil.copytree(run_dir, copy)
    for folder in (run_dir, copy):
        Journal(folder / "journal.jsonl").log_metrics({"loss": 2.0}, 1)
        deliver(folder)
    assert store.run_id(run_dir) != store.run_id(copy)
    for folder in (run_dir, copy):
        assert [row[:2] for row in store.metrics(folder)] == [("loss", 0), ("loss", 1)]


def test_a_damaged_state_of_delivery_is_named_with_its_remedy(journal, tmp_path):
    (tmp_path / "tracking.json").write_text("[")
    with pytest.raises(ValueError, match="is damaged; delete it to deliver everything anew"):
        deliver(tmp_path)


def test_the_same_run_can_be_delivered_to_another_place(journal, store, tmp_path, monkeypatch):
    journal.log_metrics({"loss": 1.0}, step=0)
    deliver(tmp_path)
    first = store.run_id(tmp_path)
    # The same store under another name; a second one would cost seconds.
    monkeypatch.setattr(mlflow_delivery.store, "without_password", lambda uri: f"{uri}?another")
    assert deliver(tmp_path).metrics == 1
    assert read_state(tmp_path, f"{store.uri}?another").run_id != first
    assert store.run_id(tmp_path) == first


def test_a_run_that_mlflow_has_lost_can_be_delivered_anew(journal, store, tmp_path):
    journal.log_metrics({"loss": 1.0}, step=0)
    deliver(tmp_path)
    content = (tmp_path / "tracking.json").read_text().replace(store.run_id(tmp_path), "0" * 32)
    (tmp_path / "tracking.json").write_text(content)
    journal.log_metrics({"loss": 2.0}, step=1)
    with pytest.raises(DeliveryError, match=r"not found; to deliver everything anew, delete .*tracking\.json"):
        deliver(tmp_path)
    (tmp_path / "tracking.json").unlink()
    assert deliver(tmp_path).metrics == 2


def test_a_folder_without_a_journal_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run: its journal\.jsonl is missing"):
        deliver(tmp_path)


def test_a_server_that_is_absent_is_a_delivery_error_in_one_line(journal, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DeliveryError, match=r"^http://127.0.0.1:9: .+") as error:
        deliver(tmp_path, "http://user:secret@127.0.0.1:9")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def _raise(*_, **__):
    raise OSError("broken")


def _call_then_raise(function):
    def broken(*arguments, **keywords):
        function(*arguments, **keywords)
        raise ConnectionError("the answer is lost")

    return broken
