"""A run done again is equal to the last bit, and what is not equal is said."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clip_lightning.__main__ import main
from clip_lightning.cli.comparison import compare_weights, differing_facts
from clip_lightning.tracking.provenance import describe_start, read_starts

REPOSITORY = Path(__file__).parents[2]
TINY = str(REPOSITORY / "tests" / "conf" / "tiny.yaml")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A finished run, the same run done again, and the lines that said how that went."""
    folder = tmp_path_factory.mktemp("pair")
    assert main(["fit", "--config", TINY, "--run_dir", str(folder / "old")]) == 0
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["reproduce", str(folder / "old"), "--run_dir", str(folder / "new")]) == 0
    return folder / "old", folder / "new", out.getvalue().splitlines()


def test_a_run_done_again_is_equal_in_weights_results_and_curves(pair):
    old, new, lines = pair
    assert lines[-2:] == ["everything is equal", str(new)]
    equal = {re.split(r"  +", line)[0] for line in lines if re.search(r"  equal  ", line)}
    assert {"weights of last.ckpt", "weights of best.ckpt", "curve of train/loss", "curve of val/loss"} <= equal
    assert "test/zero_shot/shape_scenes/accuracy" in equal
    assert torch.equal(*(weights(folder)["model.image_projection.weight"] for folder in (old, new)))


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_what_is_not_equal_is_said_with_its_size_and_first_step(pair, tmp_path, capsys):
    old, new, _ = pair
    shutil.copytree(old, tmp_path / "old")
    path = tmp_path / "old" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.image_projection.weight"][0, 0] += 0.25
    torch.save(checkpoint, path)
    results = tmp_path / "old" / "results.json"
    content = json.loads(results.read_text())
    content["results"][0]["value"] += 0.5
    content["results"][1]["n"] += 1
    results.write_text(json.dumps(content))
    journal = tmp_path / "old" / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        if record["kind"] == "metrics" and record["step"] >= 4 and "train/loss" in record["values"]:
            record["values"]["train/loss"] += 1
    journal.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    # The new run is complete already, so this compares without training.
    assert main(["reproduce", str(tmp_path / "old"), "--run_dir", str(new)]) == 1
    lines = capsys.readouterr().out.splitlines()
    unequal = {re.split(r"  +", line)[0]: line for line in lines if "  DIFFERS  " in line}
    first, second = (content["results"][row]["name"] for row in (0, 1))
    assert set(unequal) == {"weights of last.ckpt", "curve of train/loss", first, second}
    assert re.search(r"in 1 of \d+ tensors, by up to 0\.25", unequal["weights of last.ckpt"])
    assert "from step 4" in unequal["curve of train/loss"]
    assert "other n" in unequal[second]
    assert lines[-1] == str(new)


def test_another_seed_is_another_run(pair, tmp_path):
    old, other = pair[0], tmp_path / "other"
    options = ["--seed_everything", "1"]
    assert main(["fit", "--config", str(old / "config.yaml"), *options, "--run_dir", str(other)]) == 0
    assert not torch.equal(*(weights(run)["model.image_projection.weight"] for run in (old, other)))


def test_a_start_is_noted_each_time_with_seed_threads_and_data(pair):
    starts = read_starts(pair[1] / "provenance.json")
    assert len(starts) >= 1
    start = starts[0]
    assert (start["seed"], start["threads"], start["devices"], start["processes"]) == (
        0, torch.get_num_threads(), ["cpu"], 1,
    )  # fmt: skip
    assert {"train.0", "val", "test", "val/zero_shot/shape_scenes", "test/zero_shot/shape_scenes"} <= set(
        start["fingerprints"]
    )
    assert start["fingerprints"] == read_starts(pair[0] / "provenance.json")[0]["fingerprints"]
    assert start["arguments"] == ["--config", str(pair[0] / "config.yaml"), "--run_dir", str(pair[1])]


def test_a_continued_run_keeps_its_first_start(pair, tmp_path):
    shutil.copytree(pair[0], tmp_path / "old")
    before = read_starts(tmp_path / "old" / "provenance.json")
    assert main(["fit", "--config", TINY, "--run_dir", str(tmp_path / "old")]) == 0
    after = read_starts(tmp_path / "old" / "provenance.json")
    assert after[:-1] == before
    assert len(after) == len(before) + 1


def test_what_differs_is_said_of_every_start(tmp_path):
    now = describe_start({"threads": 2, "devices": ["cpu"], "fingerprints": {"train.0": "abc", "val": "x"}})
    assert differing_facts([now], now) == []
    then = json.loads(json.dumps(now))
    then.update(threads=8, python="3.1", fingerprints={"train.0": "other", "val": "x"})
    then["packages"] = {**now["packages"], "torch": "0.1"}
    then["git"] = {**now["git"], "commit": "f" * 40, "diff": "+ x", "untracked": [*now["git"]["untracked"], "mine.py"]}
    facts = differing_facts([then, now, then], now)
    assert facts[0] == "the run was continued 2 times"
    assert len(facts) == len(set(facts)) == 8
    for words in (
        "commit ffffffffff", "changes that are not committed", "mine.py", "threads was 8, is 2", "python was 3.1",
        "train.0 was other, is abc", "torch was 0.1",
    ):  # fmt: skip
        assert any(words in fact for fact in facts), words
    assert "no provenance.json" in differing_facts([], now)[0]


def test_the_same_code_seen_from_another_folder_is_the_same(tmp_path):
    facts = {"threads": 2, "devices": ["cpu"], "fingerprints": {}}
    here, there = describe_start(facts, folder=REPOSITORY), describe_start(facts, folder=tmp_path)
    assert differing_facts([here], there) == [f"folder was {REPOSITORY}, is {tmp_path}"]


def test_a_run_of_before_is_compared_by_what_it_noted():
    now = describe_start({"threads": 2, "devices": ["cpu"], "fingerprints": {}})
    then = {name: now[name] for name in ("command", "folder", "git", "python", "packages", "machine")}
    assert differing_facts([then], now) == []


def test_weights_are_compared_bit_by_bit():
    one = {"a": torch.tensor([1.0, torch.nan]), "b": torch.tensor([0.0, 2.0]), "c": torch.tensor(3)}
    assert compare_weights("w", one, {name: tensor.clone() for name, tensor in one.items()}).is_equal
    assert not compare_weights("w", one, {**one, "b": torch.tensor([-0.0, 2.0])}).is_equal
    found = compare_weights("w", one, {**one, "b": torch.tensor([0.5, 2.0]), "c": torch.tensor(1)})
    assert found == ("w", False, "in 2 of 3 tensors, by up to 2")
    assert "inf" in compare_weights("w", one, {**one, "b": torch.tensor([torch.nan, 2.0])}).detail
    assert "c" in compare_weights("w", one, {**one, "c": torch.tensor([3])}).detail
    assert "d" in compare_weights("w", one, {**one, "d": torch.tensor([3])}).detail


def test_what_cannot_be_done_again_is_refused(pair, tmp_path, capsys):
    def refused(*arguments):
        assert main(["reproduce", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no run folder" in refused(tmp_path)
    assert "the run itself" in refused(pair[0], "--run_dir", pair[0])
    shutil.copytree(pair[0], tmp_path / "half")
    journal = tmp_path / "half" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"FINISHED"', '"KILLED"'))
    message = refused(tmp_path / "half", "--run_dir", tmp_path / "new")
    assert "is not finished" in message
    assert f"fit --config {tmp_path}/half/config.yaml --run_dir {tmp_path}/half" in message
    assert not (tmp_path / "new").exists()


RANDOM = [
    "--model.image_encoder.dropout",
    "0.2",
    "--model.text_encoder.dropout",
    "0.2",
    "--data.crop_scale",
    "[0.5, 1]",
]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], RANDOM], ids=["without dropout", "dropout and random crops"])
def test_two_processes_of_one_configuration_give_the_same_bits(tmp_path, options):
    def run(*arguments):
        command = [sys.executable, "-m", "clip_lightning", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    run("fit", "--config", TINY, "--run_dir", tmp_path / "old", *options)
    lines = run("reproduce", tmp_path / "old", "--run_dir", tmp_path / "new")
    assert lines[-2:] == ["everything is equal", str(tmp_path / "new")]
    one, two = weights(tmp_path / "old"), weights(tmp_path / "new")
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
