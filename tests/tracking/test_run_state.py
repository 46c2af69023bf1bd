"""How runs stand, read from the ends of their journals."""

import os

import pytest

from clip_lightning.tracking.journal import Journal, read
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.run_state import files_of, find_runs, last_record, read_state, size_of
from clip_lightning.tracking.training_process import describe_process

GONE = {**describe_process(), "started": 0.0}
"""A process that had the id of this one long ago."""


def new_run(path, process=None, status=None, close=False):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("a: 1")
    journal = Journal(path / "journal.jsonl")
    journal.start("e", None, "", process or describe_process())
    journal.log_metrics({"train/loss": 1.0}, step=7)
    if status:
        journal.log_status(status)
    if close:
        journal.close()
    return RunFolder(path)


@pytest.mark.parametrize(
    ("process", "status", "close", "state"),
    [
        (None, None, False, "running"),
        (None, "FINISHED", False, "running"),
        (None, "FINISHED", True, "finished"),
        (None, "FAILED", True, "failed"),
        (None, "KILLED", True, "stopped"),
        (GONE, None, False, "stopped"),
        (GONE, "FINISHED", False, "stopped"),
        (GONE, "FINISHED", True, "finished"),
        ({**GONE, "host": "elsewhere"}, None, False, "running"),
    ],
)
def test_the_state_follows_from_what_was_said_last_and_whether_the_process_lives(
    tmp_path, process, status, close, state
):
    found = read_state(new_run(tmp_path / "x", process, status, close))
    assert (found.state, found.status, found.step) == (state, status or "RUNNING", 7)


def test_a_continued_run_runs_again(tmp_path):
    folder = new_run(tmp_path / "x", GONE, "FINISHED", close=True)
    started = read_state(folder).started
    journal = Journal(folder.journal)
    journal.start("e", None, "", describe_process())
    journal.log_metrics({"train/loss": 1.0}, step=9)
    found = read_state(folder)
    assert (found.state, found.step, found.started) == ("running", 9, started)


def test_the_last_record_of_a_kind_is_that_of_reading_everything(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.start("e", None, "", GONE)
    for step in range(300):
        journal.log_metrics({"x": float(step)}, step)
        if step % 100 == 0:
            journal.log_tags({"text": 'a tag that looks so: \n{"kind": "metrics", "step": 9999}'})
    everything = {record.kind: record for record in read(journal.path)}
    for kind in ("start", "metrics", "tags"):
        assert last_record(journal.path, kind) == everything[kind]
    assert last_record(journal.path, "close") is None


def test_a_torn_line_and_an_empty_journal_are_no_records(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("")
    assert last_record(path, "metrics") is None
    path.write_text('{"kind": "metrics", "step": 1, "ti')
    assert last_record(path, "metrics") is None
    path.write_text('{"kind": "metrics", "time": 0, "step": 1, "values": {}}\n{"kind": "metrics", "step": 2, "ti')
    assert last_record(path, "metrics").content["step"] == 1


def test_runs_are_found_at_any_depth_and_not_behind_links(tmp_path):
    for name in ("root/b/1", "root/a/study/2", "elsewhere/3"):
        new_run(tmp_path / name, GONE)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "other").mkdir()
    (tmp_path / "root" / "other" / "config.yaml").write_text("")
    found = [str(folder.path.relative_to(tmp_path)) for folder in find_runs(tmp_path / "root")]
    assert found == ["root/a/study/2", "root/b/1"]


def test_a_file_with_two_names_counts_once_and_a_link_is_not_followed(tmp_path):
    folder = new_run(tmp_path / "x", GONE)
    before = size_of(files_of(folder))
    folder.checkpoints.mkdir()
    (folder.checkpoints / "best.ckpt").write_bytes(b"x" * 1000)
    os.link(folder.checkpoints / "best.ckpt", folder.checkpoints / "last.ckpt")
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "file").write_bytes(b"x" * 100_000)
    (folder.path / "data").symlink_to(tmp_path / "big")
    assert size_of(files_of(folder)) == before + 1000
