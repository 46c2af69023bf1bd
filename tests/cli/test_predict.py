"""``predict``: the features of ``embed``, by Lightning's trainer."""

import subprocess
import sys

import pytest
from trained_model import write_images, write_model

from clip_lightning.__main__ import main


@pytest.fixture
def folder(tmp_path):
    """A checkpoint and images."""
    write_model(tmp_path / "model.ckpt")
    write_images(tmp_path / "images")
    return tmp_path


def arguments(verb, folder, *more):
    return [
        *(verb, "--checkpoint", str(folder / "model.ckpt"), "--images", str(folder / "images")),
        *("--output", str(folder / verb), "--num_workers", "0", "--batch_size", "2", "--part_size", "4", *more),
    ]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_it_writes_what_embed_writes_and_goes_on_as_it_does(folder, capsys):
    assert main(arguments("embed", folder)) == 0
    embedded = capsys.readouterr().out.splitlines()
    for _ in range(2):
        assert main(arguments("predict", folder, "--trainer.accelerator", "cpu")) == 0
        assert capsys.readouterr().out.splitlines() == [embedded[0], str(folder / "predict")]
        assert content(folder / "predict") == content(folder / "embed")
        for suffix in ("parquet", "safetensors"):
            (folder / "predict" / f"part-00002.{suffix}").unlink(missing_ok=True)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(folder):
    assert main(arguments("embed", folder)) == 0
    more = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "clip_lightning", *arguments("predict", folder, *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.splitlines()[-2:] == [
        "11 features of 8 channels in 4 parts, 2 images unreadable",
        str(folder / "predict"),
    ]
    assert content(folder / "predict") == content(folder / "embed")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--trainer.devicez", "2"], ["devicez", "did you mean 'devices'?"]),
        (["--trainer.strategy", "{class_path: subprocess.Popen}"], ["subprocess"]),
        (["--outptu", "x"], ["did you mean --output?"]),
        (["--part_size", "0"], ["part_size 0"]),
    ],
)
def test_a_mistake_gets_one_message(more, words, folder, capsys):
    assert main(arguments("predict", folder, *more)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("clip_lightning predict: ")
    assert all(word in message for word in words), message
    assert not (folder / "predict").exists()
