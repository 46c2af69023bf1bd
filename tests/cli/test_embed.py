"""``embed``: features of a folder, and how a stopped run goes on."""

import argparse
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from trained_model import draw, write_images, write_model, write_weights_alone

from clip_lightning.__main__ import main
from clip_lightning.cli import embed
from clip_lightning.cli.trained import workers
from clip_lightning.inference.feature_folder import FeatureFolder


@pytest.fixture
def folder(tmp_path):
    """A checkpoint and images."""
    write_model(tmp_path / "model.ckpt")
    write_images(tmp_path / "images")
    return tmp_path


def arguments(folder, *more, output="features"):
    return [
        *("embed", "--checkpoint", str(folder / "model.ckpt"), "--images", str(folder / "images")),
        *("--output", str(folder / output), "--num_workers", "0", "--batch_size", "2", "--part_size", "4", *more),
    ]


def test_it_says_what_it_has_written_and_does_nothing_twice(folder, capsys):
    assert main(arguments(folder)) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "11 features of 8 channels in 4 parts, 2 images unreadable",
        str(folder / "features"),
    ]
    assert f"unreadable: {folder}/images/05-torn.jpg: image data cannot be decoded" in printed.err
    assert "left out: 1 file that is no image" in printed.err
    description = FeatureFolder.open(folder / "features").description
    assert description.checkpoint == str(folder / "model.ckpt")
    assert description.images == [str(folder / "images")]
    times = {path.name: path.stat().st_mtime_ns for path in (folder / "features").glob("part-*")}
    assert len(times) == 8
    assert main(arguments(folder)) == 0
    assert "4 of 4 parts are there already" in capsys.readouterr().out
    assert times == {path.name: path.stat().st_mtime_ns for path in (folder / "features").glob("part-*")}


def test_an_interrupt_says_what_is_there_and_the_same_command_goes_on(folder, capsys, monkeypatch):
    original = embed.embed

    def interrupted(*given):
        for number, done in enumerate(original(*given)):
            yield done
            if number == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(embed, "embed", interrupted)
    assert main(arguments(folder)) == 130
    message = "clip_lightning embed: interrupted; 1 of 4 parts are there, and the same command goes on"
    assert capsys.readouterr().err.splitlines() == [message]
    monkeypatch.undo()
    assert main(arguments(folder)) == 0
    assert "1 of 4 parts are there already" in capsys.readouterr().out
    assert main(arguments(folder, output="whole")) == 0
    for path in (folder / "whole").glob("part-*"):
        assert path.read_bytes() == (folder / "features" / path.name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_whole_parts(processes, number, folder):
    for seed in range(400):
        draw(folder / "images" / f"z{seed:03}.png", seed)
    command = [*arguments(folder, "--num_processes", processes)]
    command = [sys.executable, "-m", "clip_lightning", *command]
    # Sums differ in their last bit with the number of threads, which in this process is one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True, env=environment)
    while not list((folder / "features").glob("part-*.parquet")):
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, number)
    error = process.communicate()[1]
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert "clip_lightning embed: interrupted; " in error
        assert "Traceback" not in error
    assert 0 < len(FeatureFolder.open(folder / "features").unfinished()) < 104
    assert main(arguments(folder)) == 0
    assert main(arguments(folder, output="whole")) == 0
    names = {path.name for path in (folder / "whole").iterdir()}
    assert {path.name for path in (folder / "features").iterdir()} == names
    for name in names:
        assert (folder / "whole" / name).read_bytes() == (folder / "features" / name).read_bytes()


def test_another_model_and_other_images_are_refused(folder, capsys):
    assert main(arguments(folder)) == 0
    write_model(folder / "other.ckpt", seed=1)
    write_images(folder / "others", 3)
    draw(folder / "images" / "more.png", 0)
    for more, words in (
        (["--checkpoint", str(folder / "other.ckpt")], "holds features of another model"),
        (["--images", str(folder / "others")], "not of"),
        ([], "which have changed since: there are 14"),
    ):
        assert main(arguments(folder, *more)) == 2
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in message
        assert message.endswith("choose another --output")


@pytest.mark.parametrize(("part_size", "batch_size"), [(10, 10), (4096, 64), (100, 50), (1, 1), (128, 64)])
def test_the_usual_batch_divides_any_part(part_size, batch_size):
    options = argparse.Namespace(part_size=part_size, batch_size=None)
    assert embed.batch_size_of(options) == batch_size


@pytest.mark.parametrize("verb", ["embed", "predict"])
def test_a_part_size_needs_no_batch_size(verb, folder, capsys):
    images, output = str(folder / "images"), str(folder / "features")
    command = [verb, "--checkpoint", str(folder / "model.ckpt"), "--images", images, "--output", output]
    assert main([*command, "--num_workers", "0", "--part_size", "10"]) == 0
    assert "11 features of 8 channels in 2 parts" in capsys.readouterr().out


@pytest.mark.slow
def test_several_processes_are_told_the_activation(folder, capsys):
    write_weights_alone(folder / "weights.pt")
    for number in ("1", "2"):
        more = ["--checkpoint", str(folder / "weights.pt"), "--quick_gelu", "true", "--num_processes", number]
        assert main(arguments(folder, *more, output=number)) == 0
    features = [FeatureFolder.open(folder / number).features(0) for number in ("1", "2")]
    np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("processes", "left"), [(1, 1), (2, 0), (3, 0), (8, 0)])
def test_more_processes_than_cpus_decode_by_themselves(processes, left, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    assert workers(None, processes) == left


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--part_size", "0"], ["part_size 0"]),
        (["--num_proceses", "2"], ["did you mean --num_processes?"]),
        (["--num_processes", "0"], ["--num_processes 0"]),
        (["--batch_size", "3"], ["batch_size 3", "4"]),
        (["--output", "."], ["holds other files"]),
        (["--images", "empty"], ["empty is empty"]),
    ],
)
def test_a_mistake_gets_one_message_and_makes_no_folder(more, words, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    assert main(arguments(folder, *more)) == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert all(word in message[0] for word in words), message
    assert not (folder / "features").exists()
