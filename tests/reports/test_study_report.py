"""Reports on made-up studies: what the first sentences say, and that a page needs nothing beside itself."""

import dataclasses
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ablation"))
from folders import METRIC, fail, finish
from studies import facts, plan, study_config

from clip_lightning.__main__ import main
from clip_lightning.ablation.comparison import summaries
from clip_lightning.ablation.folder import write_plan
from clip_lightning.ablation.outcome import read_outcome
from clip_lightning.ablation.reproduction import Reproduction, draw
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.reports.study.scaling import power_law

MEANS = {"narrow": 0.5, "wide": 0.6, "deep": 0.605}


def made_up(folder, means=MEANS, seeds=5, **changes):
    """A study in a folder; its plan and its runs, none of which are there yet."""
    variants = {name: {"model.width": place} for place, name in enumerate(means)}
    config = study_config(
        variants=variants, seeds=list(range(seeds)), runs_dir=str(folder / "runs"),
        metrics={METRIC: "max", "val/loss": "min"}, **changes,
    )  # fmt: skip
    found = plan(config, **{name: facts(place + 1) for place, name in enumerate(means)})
    folder.mkdir(exist_ok=True)
    write_plan(folder, config, found)
    return found, SharedRuns(folder / "runs")


def values(means, seeds):
    draws = np.random.default_rng(1).normal(0, 0.01, (len(means), seeds))
    return {(name, seed): mean + draws[place, seed] for place, (name, mean) in enumerate(means.items())
            for seed in range(seeds)}  # fmt: skip


def report(folder, capsys):
    assert main(["report", "--study", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    return (folder / "report.md").read_text().replace("\\", ""), (folder / "report.html").read_text()


def test_the_first_screen_answers_the_question(tmp_path, capsys):
    found, runs = made_up(tmp_path / "s")
    for (name, seed), value in values(MEANS, 5).items():
        finish(runs, found.run(name, seed), value)
    text, page = report(tmp_path / "s", capsys)
    first = text[: text.index("**Table 1.")]
    assert first.startswith("# Which?\n")
    assert re.search(rf"deep has the highest {METRIC}: 60\.\d % \(95 % interval 5\d\.\d to 6\d\.\d, 5 seeds\)", first)
    assert "It is told apart from narrow. It is not told apart from wide." in first
    assert "Order: deep ~ wide > narrow" in first
    assert "not finished" not in first
    assert "**Table 3.** 1 of 3 pairs are not resolved." in text
    assert re.search(r"deep \S wide \| 5 \| \+0\.\d.*\| (about \d+|more than 1,000) \|", text)
    assert f"fit --config {runs.folder(found.run('wide', 3)).path}/config.yaml" in text
    assert not re.search(r'(src|href)="http', page)
    assert page.count("<img") == 3


@pytest.mark.parametrize(("widest", "is_told"), [(32, True), (6, False)])
def test_the_exponent_of_the_error_is_told_where_the_costs_differ_enough(widest, is_told, tmp_path):
    widths = {str(width): width for width in np.linspace(1, widest, 5).tolist()}
    found = plan(
        study_config(variants={name: {} for name in widths}, seeds=[0, 1], runs_dir=str(tmp_path / "runs")),
        **{name: facts(int(10 * width), image_flops=int(1e6 * width)) for name, width in widths.items()},
    )
    runs = SharedRuns(tmp_path / "runs")
    for name, width in widths.items():
        for seed in (0, 1):
            finish(runs, found.run(name, seed), 1 - 0.8 * width**-0.25)
    outcome = read_outcome(found, runs)
    law = power_law(outcome, summaries(outcome.values(METRIC), "max"))
    assert (law is not None) == is_told
    if law:
        assert "to the power of -0.250: with twice the computation it is 0.84 times" in law


def test_failed_and_missing_runs_are_told_of_with_their_last_lines(tmp_path, capsys):
    found, runs = made_up(tmp_path / "s", seeds=2)
    for (name, seed), value in values(MEANS, 2).items():
        if (name, seed) == ("wide", 1):
            fail(runs, found.run(name, seed), "epoch 1\nValueError: no more\n")
        elif (name, seed) != ("deep", 1):
            finish(runs, found.run(name, seed), value)
    text, page = report(tmp_path / "s", capsys)
    assert "2 of 6 runs are not finished (1 failed, 1 missing)." in text
    assert "this is a first look, and no claim" in text
    assert "wide, seed 1: failed" in text
    assert "ValueError: no more" in page


def test_a_variant_that_ended_early_is_ranked_without_an_interval(tmp_path, capsys):
    found, runs = made_up(tmp_path / "s", seeds=3, stop_hopeless={"after_seeds": 2, "behind": 0.05})
    for (name, seed), value in values({"narrow": 0.5, "wide": 0.6, "deep": 0.3}, 3).items():
        if (name, seed) != ("deep", 2):
            finish(runs, found.run(name, seed), value)
    text, _ = report(tmp_path / "s", capsys)
    assert "deep ended early as hopeless, and is ranked without an interval." in text
    assert re.search(r"\| deep \| 2 \| [\d.]+ \| — \| — \|", text)
    assert "not finished" not in text


def test_a_study_without_runs_says_so(tmp_path, capsys):
    made_up(tmp_path / "s")
    text, _ = report(tmp_path / "s", capsys)
    assert "Nothing is known yet: no run is finished." in text


def test_a_report_tells_of_a_run_that_was_done_again_as_long_as_it_is_the_studys(tmp_path, capsys):
    found, runs = made_up(tmp_path / "s", seeds=2)
    assert main(["report", "--study", str(tmp_path / "s"), "--reproduce"]) == 2
    assert "no run of the study is finished" in capsys.readouterr().err
    for (name, seed), value in values(MEANS, 2).items():
        finish(runs, found.run(name, seed), value)
    outcome = read_outcome(found, runs)
    run = draw(outcome).run
    assert draw(read_outcome(found, SharedRuns(runs.root))).run == run
    assert "No run was done again" in report(tmp_path / "s", capsys)[0]
    done = Reproduction(
        run.key, str(run), "-m clip_lightning reproduce x", 1, ["val/loss  DIFFERS", "1 of 9 differ"], ""
    )
    done.write(tmp_path / "s")
    text, page = report(tmp_path / "s", capsys)
    assert f"{run}, drawn by chance from the finished runs, was done again" in text
    assert "It is not equal: 1 of 9 differ." in text
    assert "val/loss  DIFFERS" in page
    dataclasses.replace(done, key="of another study").write(tmp_path / "s")
    assert "No run was done again" in report(tmp_path / "s", capsys)[0]


def test_a_folder_without_a_study_is_refused(tmp_path, capsys):
    assert main(["report", "--study", str(tmp_path)]) == 2
    assert "study.json" in capsys.readouterr().err


@pytest.mark.slow
def test_two_hundred_runs_are_reported_in_ten_seconds_of_the_processor(tmp_path, capsys):
    means = {f"variant {number}": 0.5 + number / 100 for number in range(10)}
    found, runs = made_up(tmp_path / "s", means, seeds=20)
    for (name, seed), value in values(means, 20).items():
        finish(runs, found.run(name, seed), value, steps=400)
    began = time.process_time()
    report(tmp_path / "s", capsys)
    assert time.process_time() - began < 10
