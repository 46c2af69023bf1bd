"""Small studies through the command line; the runs are real ones, in forks of this process."""

import json
from pathlib import Path

import pytest
import yaml
from forking import build_apart, forked

from clip_lightning.__main__ import main
from clip_lightning.cli import ablate, resolution
from clip_lightning.config import read_config
from clip_lightning.results import read_results

TINY = str(Path(__file__).parents[1] / "conf" / "tiny.yaml")
METRIC = "test/zero_shot/shape_scenes/accuracy"
WIDE = {"model.image_encoder.width": 32}
SMALL = {"data.train.size": 32, "model.tokenizer.corpus.size": 8}


@pytest.fixture(autouse=True)
def _in_forks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "build_apart", build_apart)
    monkeypatch.setattr("clip_lightning.ablation.runner.POLL_SECONDS", 0.0)


def write(path="one.yaml", failures=0, **changes):
    study = {
        "question": "Is wide better?",
        "source": "none",
        "base": TINY,
        "variants": {"narrow": {**SMALL}, "wide": {**SMALL, **WIDE}},
        "metrics": {METRIC: "max"},
        "seeds": [0],
        "budget": {"samples": 32},
        "executor": {"class_path": "forking.ForkingPool", "init_args": {"failures": failures}},
        **changes,
    }
    Path(path).write_text(yaml.safe_dump(study))
    return ["ablate", "--config", str(path)]


def runs():
    return sorted(path.parent for path in Path("runs/by_config").glob("*/results.json"))


def written():
    return {path: path.stat().st_mtime_ns for path in Path("runs/by_config").rglob("journal.jsonl")}


def test_a_study_does_what_is_missing_and_nothing_twice(capsys):
    command = write()
    assert main([*command, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "2 runs, about" in out
    assert not Path("runs/studies").exists()
    assert main(command) == 0
    first = written()
    assert len(first) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "runs/studies/one"
    assert f"done    narrow, seed 0  {METRIC}" in err
    config = yaml.safe_load((runs()[0] / "config.yaml").read_text())
    assert (config["trainer"]["max_steps"], config["trainer"]["max_epochs"]) == (2, -1)
    # The same again, and a study that asks something else of the same runs and of one more seed.
    assert main(command) == 0
    other = write("two.yaml", question="Is narrow worse?", baseline="wide")
    assert main([*other, "--seeds", "[0, 1]"]) == 0
    assert {path: time for path, time in written().items() if path in first} == first
    assert len(runs()) == 4


def test_a_failing_run_is_tried_again_or_given_up_while_the_others_go_on(capsys):
    assert main([*write(failures=1), "--retries", "1"]) == 0
    assert "failed  narrow, seed 0, tried again" in capsys.readouterr().err
    variants = {"narrow": {**SMALL}, "deep": {**SMALL, "model.image_encoder.depth": 2}, "wide": {**SMALL, **WIDE}}
    assert main([*write(variants=variants, failures=1), "--retries", "0"]) == 1
    assert "failed  deep, seed 0, given up" in capsys.readouterr().err
    assert len(runs()) == 2
    failed = next(path for path in Path("runs/by_config").glob("*/output.log") if path.parent not in runs())
    assert "trainer.max_epochs" in failed.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": {"a": {}, "b": {"model.image_encoder.widht": 3}}}, ["variant 'b'", "widht", "'width'"]),
        ({"variants": {"a": {}, "b": {"modle": {}}}}, ["variant 'b'", "modle", "'model'"]),
        ({"variants": {"a": {}, "b": {"model.image_encoder.depth": 1}}}, ["'a' and 'b'", "same resolved"]),
        ({"variants": {"a": {}, "b": "configs/nowhere.yaml"}}, ["configs/nowhere.yaml' does not exist"]),
        ({"base": ["nowhere.yaml"]}, ["nowhere.yaml' does not exist"]),
        ({"metrics": {"test/f1": "max"}}, ["'test/f1' is reported by no run", METRIC]),
        ({"budget": {"samples": 24}}, ["budget of 24 samples cannot be matched"]),
        ({"executor": "Local"}, ["'Local' is not known"]),
    ],
)
def test_a_mistake_is_said_before_anything_runs(changes, words, capsys):
    assert main(write(**changes)) == 2
    err = capsys.readouterr().err
    said = err.splitlines()[-1]
    assert all(word in said for word in words), err
    assert "Traceback" not in err
    assert not Path("runs/studies").exists()
    assert runs() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "nowhere.yaml"], "does not exist"),
        (["--output", "x"], "no study is named"),
        (["--confg", "x"], "did you mean --config"),
        (["dry"], "'dry' is not understood"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(arguments, words, capsys):
    assert main(["ablate", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_for_another_machine_is_planned_on_one_that_lacks_its_devices():
    given = {"accelerator": "gpu", "devices": 1, "precision": "bf16-mixed"}
    config = {**read_config(TINY), "trainer": {**read_config(TINY)["trainer"], **given}}
    request = {"is_here": False, "threads": 1, "seconds_to_import": 0.0, "timings": "unused"}

    def plan():
        facts = resolution.find_facts(config, request)
        assert {key: facts.config["trainer"][key] for key in given} == given
        assert facts.seconds(12) is None
        assert facts.steps == 12
        return 0

    # Its gradients are those of no device, after which this process could not fork for a training any more.
    assert forked(plan) == 0


@pytest.mark.slow
def test_results_are_those_of_fit(tmp_path):
    assert main(write()) == 0
    direct = ["fit", "--config", TINY, "--run_dir", str(tmp_path / "direct"), "--trainer.max_steps", "2"]
    direct += ["--trainer.max_epochs", "-1", "--data.train.size", "32", "--model.tokenizer.corpus.size", "8"]
    assert main(direct) == 0
    expected = [row.value for row in read_results(tmp_path / "direct" / "results.json")]
    assert expected in [[row.value for row in read_results(run / "results.json")] for run in runs()]


@pytest.mark.slow
def test_a_report_tells_of_a_run_that_was_done_again(capsys):
    assert main([*write(), "--seeds", "[0, 1]"]) == 0
    folder = Path("runs/studies/one")
    assert "No run was done again" in (folder / "report.md").read_text()
    assert main(["report", "--study", str(folder), "--reproduce"]) == 0
    drawn = json.loads((folder / "reproduction.json").read_text())
    assert len(list(folder.glob(f"reproduced/{drawn['key']}/results.json"))) == 1
    # A run whose figures are no longer what it did: the same one is drawn, and is not equal.
    results = next(run for run in runs() if run.name == drawn["key"]) / "results.json"
    assert main(["report", "--study", str(folder)]) == 0
    text = (folder / "report.md").read_text().replace("\\", "")
    assert f"{drawn['run']}, drawn by chance from the finished runs, was done again" in text
    assert "Everything is equal" in text
    results.write_text(results.read_text().replace('"n": 24', '"n": 25').replace('"n": 20', '"n": 21'))
    assert main(["report", "--study", str(folder), "--reproduce"]) == 1
    assert "It is not equal: " in (folder / "report.md").read_text()
