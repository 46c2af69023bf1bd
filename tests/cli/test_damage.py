"""Damaged samples are counted over the whole run, and told of at its end alone."""

import json
import signal

import pytest
from killing import fit
from PIL import Image

from clip_lightning.tracking import journal

ROWS = 16


@pytest.fixture
def data(tmp_path):
    """Arguments that name sixteen images, of which one is missing and two are none."""
    for index in range(ROWS):
        Image.new("RGB", (12, 10), (15 * index, 0, 90)).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").unlink()
    for index in (5, 9):
        (tmp_path / f"{index}.png").write_bytes(b"no image")
    lines = [json.dumps({"image": f"{index}.png", "caption": f"number {index}"}) for index in range(ROWS)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    source = f"{{class_path: Manifest, init_args: {{path: {tmp_path / 'pairs.jsonl'}, name: pictures}}}}"
    return ["--data.train", source, "--data.val", source, "--trainer.val_check_interval", 1.0]


def counted(run_dir):
    series = journal.metrics(run_dir / "journal.jsonl")
    return {name: rows.value for name, rows in series.items() if name.startswith("data/damaged")}


def told(capfd):
    return [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]


def test_counts_are_those_of_the_whole_run_and_are_told_once(data, tmp_path, capfd):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fit(whole, *data, "--trainer.max_epochs", 4) == 0
    found, lines = counted(whole), told(capfd)
    missing, broken = (
        found[f"data/damaged/train/pictures: {why}"] for why in ("image file is missing", "not an image")
    )
    # Each is met once an epoch, and now and then as the replacement of another one.
    assert len(missing) == len(broken) == 1
    assert missing[0] >= 4
    assert broken[0] >= 8
    assert found["data/damaged/val/pictures: image file is missing"] == [1]
    assert found["data/damaged/val/pictures: not an image"] == [2]
    assert len(lines) == 4
    start = f"damaged     train: replaced {broken[0]:.0f} times, pictures: not an image; the first is "
    assert lines[1].startswith(f"{start}{tmp_path / 'pairs.jsonl'}:"), "by its line in the manifest"

    interrupted = fit(parts, *data, "--trainer.max_epochs", 4, kill=("forward", 6), signal_number=signal.SIGTERM)
    assert interrupted == 128 + signal.SIGTERM
    assert told(capfd) == []
    assert fit(parts, *data, "--trainer.max_epochs", 4, "--data.num_workers", 2) == 0
    assert counted(parts) == found
    assert told(capfd) == lines


def test_data_without_damage_say_nothing(tmp_path, capfd):
    assert fit(tmp_path / "run", "--trainer.max_epochs", 1) == 0
    assert told(capfd) == []
    assert counted(tmp_path / "run") == {}
