import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clip_lightning.tracking import journal as journal_module
from clip_lightning.tracking.journal import Journal, metrics, read

PROCESS = {"host": "here", "pid": 1, "started": 0.0}


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def test_records_come_back_in_order_with_their_offsets(journal):
    journal.start("experiment", None, "http://host", PROCESS)
    journal.log_params({"model.width": "16"})
    journal.log_tags({"who": "Ann 安"})
    journal.log_metrics({"loss": 0.5}, step=3)
    journal.rewind(2, after=0)
    journal.log_status("FINISHED")
    journal.close()
    records = list(read(journal.path))
    assert [r.kind for r in records] == ["start", "params", "tags", "metrics", "rewind", "status", "close"]
    assert records[2].content["values"] == {"who": "Ann 安"}
    assert records[-1].end == journal.path.stat().st_size
    assert list(read(journal.path, records[3].end)) == records[4:]


def test_floats_survive_exactly_and_the_file_is_strict_json(journal):
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf, "third": 1 / 3, "tiny": 5e-324, "int": 2}
    journal.log_metrics(values, step=0)

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    json.loads(journal.path.read_text(), parse_constant=refuse)
    (record,) = read(journal.path)
    assert math.isnan(record.values.pop("nan"))
    assert {name: value for name, value in record.values.items() if name != "nan"} == {
        name: value for name, value in values.items() if name != "nan"
    }


def test_a_torn_tail_is_left_alone_by_readers_and_removed_by_the_next_writer(journal):
    journal.log_metrics({"loss": 1.0}, step=0)
    whole = journal.path.read_bytes()
    for torn in (b'{"kind": "met', b"x" * 10_000):
        journal.path.write_bytes(whole + torn)
        assert len(list(read(journal.path))) == 1
        Journal(journal.path).log_metrics({"loss": 2.0}, step=1)
        assert metrics(journal.path)["loss"].value == [1.0, 2.0]
        assert [r.kind for r in read(journal.path)] == ["metrics", "metrics"]


def test_a_file_that_is_one_torn_line_is_begun_anew(journal):
    journal.path.write_bytes(b'{"kind"')
    journal.log_metrics({"loss": 1.0}, step=0)
    assert metrics(journal.path)["loss"].value == [1.0]


def test_a_damaged_line_is_shown_as_such_and_hides_no_other(journal):
    journal.log_metrics({"loss": 1.0}, step=0)
    for line in (b"\x00\xff\x00\n", b"[1, 2]\n", b"{}\n"):
        with journal.path.open("ab") as file:
            file.write(line)
    journal.log_metrics({"loss": 2.0}, step=1)
    assert [r.kind for r in read(journal.path)] == ["metrics", "damaged", "damaged", "damaged", "metrics"]


def test_a_full_disk_leaves_no_part_of_a_record_and_loses_none(journal, monkeypatch):
    journal.log_metrics({"loss": 1.0}, step=0)
    write = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda file, line: write(file, line[:7]))
    with pytest.raises(OSError, match="No space left"):
        journal.log_metrics({"loss": 2.0}, step=1)
    monkeypatch.undo()
    journal.log_metrics({"loss": 3.0}, step=2)
    assert metrics(journal.path)["loss"].step == [0, 1, 2], "what was refused is written first"


def test_artifacts_inside_the_run_folder_are_noted_so_that_it_can_be_moved(journal, tmp_path):
    journal.log_artifact(tmp_path / "figures" / "loss.svg", "figures")
    journal.log_artifact(Path("/elsewhere/file"))
    assert [(r.content["path"], r.content["folder"]) for r in read(journal.path)] == [
        ("figures/loss.svg", "figures"),
        ("/elsewhere/file", None),
    ]


def test_a_killed_writer_loses_nothing_that_it_was_told_is_written(tmp_path):
    program = (
        "import sys, pathlib; from clip_lightning.tracking.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "for step in range(10**9):\n"
        "    journal.log_metrics({'loss': step}, step); print(step, flush=True)\n"
    )
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(500):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        told = 499 + len(writer.stdout.read().splitlines())
    assert metrics(path)["loss"].step[: told + 1] == list(range(told + 1))


def test_the_light_modules_import_neither_torch_nor_lightning_nor_mlflow():
    modules = [
        path.stem
        for path in Path(journal_module.__file__).parent.glob("*.py")
        if path.stem not in ("logger", "__init__")
    ]
    assert "sidecar_handle" in modules
    program = "import sys\n" + "".join(f"import clip_lightning.tracking.{name}\n" for name in modules)
    program += "print([name for name in ('torch', 'lightning', 'mlflow', 'pandas') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "metrics", "time": 1, "values": {"a": 1}}',
        '{"kind": "metrics", "time": 1, "step": 2, "values": {"a": "zz"}}',
        '{"kind": "metrics", "time": "x", "step": 2, "values": {"a": 1}}',
        '{"kind": "start", "time": 1, "experiment": "e", "tracking_uri": "u", "process": {}}',
        '{"kind": "what", "time": 1}',
        "[1]",
    ],
)
def test_a_line_that_is_no_whole_record_is_damaged_and_hides_no_other(journal, line):
    journal.log_metrics({"loss": 1.0}, step=0)
    with journal.path.open("a") as file:
        file.write(line + "\n")
    journal.log_metrics({"loss": 2.0}, step=1)
    assert "damaged" in [record.kind for record in read(journal.path)]
    assert metrics(journal.path)["loss"].step == [0, 1]
