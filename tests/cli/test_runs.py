"""Housekeeping of run folders: what is listed and shown, and that nothing is deleted unasked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clip_lightning.__main__ import main
from clip_lightning.cli.runs import step_of
from clip_lightning.results import Result, write_results
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.training_process import describe_process

REPOSITORY = Path(__file__).parents[2]
GONE = {**describe_process(), "started": 0.0}
CONFIG = """seed_everything: 5
trainer: {max_epochs: 2, max_steps: -1}
model: {image_encoder: {class_path: a.b.MyEncoder, init_args: {width: 16}}}
data: {train: [{class_path: Manifest, init_args: {path: x.jsonl}}], batch_size: 32}
checkpoints: {monitor: val/accuracy}
"""


def new_run(path, status=None, process=GONE, checkpoints=()):
    """A run folder as training leaves it; without a status the process was killed."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG)
    journal = Journal(path / "journal.jsonl")
    journal.start("e", None, "", process)
    journal.log_params({"checkpoints.monitor": "val/accuracy"})
    journal.log_metrics({"val/accuracy": 0.25}, step=1200)
    if status:
        journal.log_status(status)
        journal.close()
    for name in checkpoints:
        (path / "checkpoints" / name).write_bytes(b"x" * 1_000_000)
    return path


@pytest.fixture
def root(tmp_path):
    """One run of each state."""
    names = ["best.ckpt", "last.ckpt", "previous.ckpt", "step-00000010.ckpt"]
    done = new_run(tmp_path / "runs" / "done", "FINISHED", checkpoints=names[:3])
    os.link(done / "checkpoints" / "best.ckpt", done / "checkpoints" / names[3])
    row = Result("val/accuracy", 0.5, (0.4, 0.6), "wilson", 100, 0, "accuracy")
    write_results(done / "results.json", [row])
    new_run(tmp_path / "runs" / "study" / "killed", checkpoints=["last.ckpt"])
    new_run(tmp_path / "runs" / "failed", "FAILED")
    new_run(tmp_path / "runs" / "alive", process=describe_process())
    for name in ("done", "study/killed", "alive"):
        (tmp_path / "runs" / name / "checkpoints" / ".last.ckpt.part").write_bytes(b"x" * 500_000)
    (tmp_path / "runs" / "mlflow.db").write_bytes(b"x")
    return tmp_path / "runs"


def everything(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def run(capsys, *arguments):
    code = main(["runs", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_list_says_state_step_size_and_the_best_checkpoints_metric(root, capsys):
    _, out, _ = run(capsys, "list", "--root", root)
    header, *lines = out.splitlines()
    assert header.split()[:2] == ["folder", "started"]
    rows = {Path(line.split()[0]).name: line.split() for line in lines}
    assert {name: row[3] for name, row in rows.items()} == {
        "done": "finished", "killed": "stopped", "failed": "failed", "alive": "running",
    }  # fmt: skip
    assert rows["done"][4:] == ["1,200", "3.5", "MB", "val/accuracy", "0.5000"]
    assert rows["killed"][4:] == ["1,200", "1.5", "MB", "-"]


def test_the_newest_run_comes_first(root, capsys):
    journal = root / "failed" / "journal.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    time = int(first.split('"time": ')[1].split(",")[0])
    journal.write_text(first.replace(str(time), str(time + 60_000)) + "".join(rest))
    _, out, _ = run(capsys, "list", "--root", root)
    assert out.splitlines()[1].split()[0].endswith("failed")


def test_a_root_without_runs_and_one_that_is_not_there(tmp_path, capsys):
    assert run(capsys, "list", "--root", tmp_path)[:2] == (0, f"no runs in {tmp_path}\n")
    code, _, err = run(capsys, "list", "--root", tmp_path / "x")
    assert code == 2
    assert "--root" in err


def test_a_run_is_shown_with_its_parts_files_and_next_commands(root, capsys):
    done = root / "done"
    _, out, _ = run(capsys, "show", done)
    lines = out.splitlines()
    assert "state         finished at step 1,200" in lines
    assert "image_encoder MyEncoder(width=16)" in lines
    assert "data          Manifest(path=x.jsonl)" in lines
    assert "budget        max_epochs 2, batch_size 32" in lines
    assert "seed          5" in lines
    assert f"reproduce     python -m clip_lightning reproduce {done}" in lines
    assert [line.split()[1] for line in lines if line.startswith("checkpoint ")] == [
        f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous", "step-00000010")
    ]
    assert any(line.startswith("val/accuracy") and "40.0 to 60.0" in line for line in lines)
    _, out, _ = run(capsys, "show", root / "study" / "killed")
    assert f"fit --config {root}/study/killed/config.yaml --run_dir {root}/study/killed" in out
    assert "reproduce" not in out
    assert run(capsys, "show", root)[0] == 2


def test_the_step_of_a_checkpoint_is_read_without_loading_it(tmp_path):
    for step in (3, 300, 70_000):
        torch.save({"epoch": 1, "global_step": step, "state_dict": {"x": torch.zeros(3)}}, tmp_path / "x.ckpt")
        assert step_of(tmp_path / "x.ckpt") == step
    (tmp_path / "x.ckpt").write_bytes(b"no archive")
    assert step_of(tmp_path / "x.ckpt") is None


CLEANED = {
    "--parts": ({"done/checkpoints/.last.ckpt.part", "study/killed/checkpoints/.last.ckpt.part"}, "1.0 MB"),
    "--checkpoints": ({"done/checkpoints/previous.ckpt", "done/checkpoints/step-00000010.ckpt"}, "1.0 MB"),
    "--unfinished": ({"failed/config.yaml", "failed/journal.jsonl"}, "0.0 MB"),
}


@pytest.mark.parametrize("kind", CLEANED)
def test_only_what_is_asked_for_is_deleted_and_only_with_yes(root, kind, capsys):
    expected, size = CLEANED[kind]
    before = everything(root)
    code, out, _ = run(capsys, "clean", "--root", root, kind)
    assert code == 0
    assert everything(root) == before
    assert "--yes" in out
    assert size in out.splitlines()[-1], "a file whose other name stays frees nothing"
    assert run(capsys, "clean", "--root", root, kind, "--yes")[0] == 0
    assert before - everything(root) == expected
    assert (root / "alive" / "checkpoints" / ".last.ckpt.part").exists()
    _, out, _ = run(capsys, "clean", "--root", root, kind, "--yes")
    assert out.startswith("0 of 0 found")


def test_named_runs_are_deleted_as_a_whole(root, capsys):
    before = everything(root)
    assert run(capsys, "clean", root / "done", root / "failed")[0] == 0
    assert everything(root) == before
    assert run(capsys, "clean", root / "done", root / "failed", "--yes")[0] == 0
    assert {path.name for path in root.iterdir()} == {"study", "alive", "mlflow.db"}


def test_what_may_not_be_deleted_is_refused(root, tmp_path, capsys):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.yaml").write_text("")
    (root / "link").symlink_to(root / "done")
    before = everything(tmp_path)
    for arguments, word in [
        ([root / "alive"], "running"),
        ([root / "done", root / "alive"], "running"),
        ([tmp_path / "project"], "no run folder"),
        ([root], "no run folder"),
        ([root / "link"], "no run folder"),
        ([tmp_path / "nowhere"], "no run folder"),
        ([], "--parts, --checkpoints, --unfinished"),
        ([root / "done", "--parts"], "--parts, --checkpoints, --unfinished"),
    ]:
        code, _, err = run(capsys, "clean", *arguments, "--yes")
        assert code == 2
        assert word in err
    assert everything(tmp_path) == before


def test_links_are_not_followed_when_cleaning(root, tmp_path, capsys):
    outside = new_run(tmp_path / "outside", "FINISHED", checkpoints=["best.ckpt", "last.ckpt", "old.ckpt"])
    (root / "linked").symlink_to(outside)
    inside = new_run(root / "inside", "FINISHED")
    (inside / "checkpoints").rmdir()
    (inside / "checkpoints").symlink_to(outside / "checkpoints")
    before = everything(outside)
    for kind in CLEANED:
        assert run(capsys, "clean", "--root", root, kind, "--yes")[0] == 0
    assert run(capsys, "clean", inside, "--yes")[0] == 0
    assert everything(outside) == before
    assert not inside.exists()


def test_a_run_that_goes_on_meanwhile_is_kept(root, capsys, monkeypatch):
    killed = root / "study" / "killed"
    real = os.walk

    def walk(path, *rest):
        if Path(path) == killed:
            Journal(killed / "journal.jsonl").start("e", None, "", describe_process())
        return real(path, *rest)

    monkeypatch.setattr(os, "walk", walk)
    _, out, _ = run(capsys, "clean", killed, "--yes")
    assert "is kept" in out
    assert (killed / "config.yaml").exists()


def test_neither_torch_nor_lightning_is_loaded(root):
    code = (
        "import sys; from clip_lightning.__main__ import main;"
        f"main(['runs', 'list', '--root', {str(root)!r}]); main(['runs', 'show', {str(root / 'done')!r}]);"
        f"main(['runs', 'clean', '--root', {str(root)!r}, '--parts']);"
        "print([name for name in ('torch', 'lightning', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_folder_that_cannot_be_read_hides_no_other_run(tmp_path, capsys):
    for name, line in {"a": '{"kind": "start", "time": 1}', "b": '{"kind": "metrics", "time": "x"}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
        (tmp_path / name / "journal.jsonl").write_text(line + "\n")
    (tmp_path / "b" / "results.json").write_text("[")
    (tmp_path / "b" / "provenance.json").write_text("{}")
    assert main(["runs", "list", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(str(tmp_path / name) in out for name in "ab")
    assert main(["runs", "show", str(tmp_path / "a")]) == 0
