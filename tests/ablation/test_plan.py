import pytest
from studies import METRIC, facts, plan, study_config

from clip_lightning.ablation.budget import Budget
from clip_lightning.ablation.folder import read_plan, write_plan
from clip_lightning.ablation.plan import key_of


def test_each_run_has_a_key_of_its_own_that_depends_on_its_configuration_alone():
    one = plan()
    keys = {one.run(variant, seed).key for variant in ("narrow", "wide") for seed in range(5)}
    assert len(keys) == 10
    other = plan(study_config(question="Another?", seeds=[1]), wide=facts(2), narrow=facts(1))
    assert other.run("narrow", 1).key == one.run("narrow", 1).key


def test_names_trackers_and_workers_make_no_other_run():
    config = facts().config
    same = {**config, "name": "y", "num_threads": 8, "data": {"num_workers": 4}}
    same["trainer"] = {**config["trainer"], "logger": {"class_path": "x"}}
    assert key_of(same) == key_of(config)
    assert key_of({**config, "seed_everything": 1}) != key_of(config)


def test_runs_have_the_seed_and_the_steps_of_the_budget():
    found = plan(study_config(budget={"samples": 160}))
    run = found.run("wide", 3)
    assert run.config["seed_everything"] == 3
    assert (run.config["trainer"]["max_steps"], run.config["trainer"]["max_epochs"]) == (10, -1)
    assert plan().run("wide", 3).config["trainer"] == facts().config["trainer"]


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"samples": 1600}, {"narrow": 100, "wide": 100}),
        # 3 passes of 2 or 3 million operations for each of 16 pairs
        ({"flops": 9.6e9}, {"narrow": 100, "wide": 67}),
        ({"seconds": 10}, {"narrow": 100, "wide": 50}),
    ],
)
def test_variants_are_matched(budget, steps):
    assert plan(study_config(budget=budget)).steps == steps


@pytest.mark.parametrize("budget", [{"samples": 8}, {"samples": 100}, {"flops": 1e8}, {"seconds": 0.25}])
def test_a_budget_that_no_number_of_steps_spends_is_refused(budget):
    with pytest.raises(ValueError, match="cannot be matched by variant"):
        plan(study_config(budget=budget))


def test_a_budget_of_what_is_not_known_here_is_refused():
    with pytest.raises(ValueError, match=r"takes of it is not known here.*give samples or seconds"):
        Budget("flops", 1e9).steps("a", facts(training_flops=None))
    with pytest.raises(ValueError, match=r"takes of it is not known here.*give samples or flops, or .*LocalPool"):
        Budget("seconds", 10).steps("a", facts(seconds_per_step=None))


def test_two_variants_that_are_the_same_are_refused():
    with pytest.raises(ValueError, match="'narrow' and 'wide' have the same resolved configuration"):
        plan(narrow=facts(1), wide=facts(1))


def test_a_metric_that_no_run_reports_is_refused():
    with pytest.raises(ValueError, match=f"'test/f1' is reported by no run of variant 'narrow'.*{METRIC}"):
        plan(study_config(metrics={"test/f1": "max"}))


def test_a_study_that_does_not_say_how_long_to_train_is_refused():
    with pytest.raises(ValueError, match="how long variant 'narrow' is trained"):
        plan(narrow=facts(1, steps=None), wide=facts(2))


def test_a_folder_holds_the_plan(tmp_path):
    config = study_config(budget={"samples": 160})
    before = plan(config)
    write_plan(tmp_path, config, before)
    after = read_plan(tmp_path)
    assert after.run("wide", 1) == before.run("wide", 1)
    assert after.study == before.study


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 99}'])
def test_what_is_no_study_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study\.json"):
        read_plan(tmp_path)


def test_what_a_run_takes():
    """Two epochs, the best checkpoint's validation and its test, 12 steps, and the start."""
    assert facts().seconds(12) == pytest.approx(5 + 1.2 + 4)
    assert facts(seconds_per_step=None).seconds(12) is None
