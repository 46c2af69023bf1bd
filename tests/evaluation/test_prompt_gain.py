import numpy as np
import pytest
from toy import Fixed, Labels, noisy, run

from clip_lightning.evaluation import PromptGain, TemplateSensitivity, ZeroShot

SCORES, TARGET = noisy()


def by_prompts(prompts):
    """Better with a sentence than with a bare name, and best with several."""
    noise = np.random.default_rng(len(prompts[0][0])).normal(size=SCORES.shape)
    return SCORES + noise * (1.5 if prompts[0][0] == "thing 0" else 1 / len(prompts[0]))


def accuracy(scores):
    return (scores.argmax(axis=1) == TARGET).mean()


def test_the_gains_are_the_differences_of_the_figures():
    results = run(PromptGain(Labels(target=TARGET)), by_prompts)
    assert next(iter(results)) == "gain"
    bare, one, ensemble = (results[way].value for way in ("bare_names", "one_template", "ensemble"))
    assert results["gain"].value == pytest.approx(ensemble - bare)
    assert results["gain_by_template"].value == pytest.approx(one - bare)
    assert results["gain_by_ensemble"].value == pytest.approx(ensemble - one)
    assert bare == pytest.approx(accuracy(by_prompts([["thing 0"]])))
    assert bare < one < ensemble
    own = run(ZeroShot(Labels(target=TARGET)), by_prompts)["accuracy"]
    assert results["ensemble"].value == own.value
    assert results["one_template"].protocol["templates"] == ["a photo of a {}."]
    assert results["gain"].protocol["of"] == "accuracy"


def test_the_interval_of_a_gain_is_paired():
    """It is narrower than that of two figures of other images, and is of the differences image by image."""
    results = run(PromptGain(Labels(target=TARGET)), by_prompts)
    gain = results["gain_by_ensemble"]
    rng = np.random.default_rng(0)
    means = [rng.choice(gain.items, size=400).mean() for _ in range(2000)]
    assert gain.interval == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)
    widths = [np.ptp(results[way].interval) for way in ("one_template", "ensemble")]
    assert np.ptp(gain.interval) < np.hypot(*widths)


def test_prompts_that_change_nothing_gain_nothing():
    results = run(PromptGain(Labels(target=TARGET)), SCORES)
    assert results["gain"].value == 0
    assert results["gain"].interval is None


@pytest.mark.parametrize("metric", ["mean_per_class_accuracy", "mean_of_top_1_and_top_5"])
def test_gains_are_of_the_data_sets_own_metric(metric):
    results = run(PromptGain(Labels(target=TARGET, metric=metric)), by_prompts)
    own = run(ZeroShot(Labels(target=TARGET, metric=metric)), by_prompts)[metric]
    assert results["ensemble"].value == own.value
    assert results["gain"].interval[0] < results["gain"].value < results["gain"].interval[1]


def test_sensitivity_is_over_the_templates_one_by_one():
    templates = ["a {}.", "the small {}", "this is a {} indeed"]
    results = run(TemplateSensitivity(Labels(target=TARGET), templates), by_prompts)
    values = [accuracy(by_prompts([[template.replace("{}", "thing 0")]])) for template in templates]
    assert results["standard_deviation"].value == pytest.approx(np.std(values, ddof=1))
    assert results["range"].value == pytest.approx(max(values) - min(values))
    assert results["mean"].value == pytest.approx(np.mean(values))
    rows = results["standard_deviation"].details["rows"]
    assert [row["value"] for row in rows] == pytest.approx(sorted(values, reverse=True))
    assert {row["template"] for row in rows} == set(templates)


def test_sensitivity_needs_two_templates():
    with pytest.raises(ValueError, match="give two at least"):
        TemplateSensitivity(Labels(), ["a {}", "a {c}"])


def test_every_form_of_template_is_taken():
    for templates in (["a {c}."], "open_clip:SIMPLE_IMAGENET_TEMPLATES"):
        evaluator, context = ZeroShot(Labels(target=TARGET), templates), Fixed(SCORES)
        evaluator.collect(context)
        assert all("thing 0" in prompt and "{" not in prompt for prompt in context.prompts[0])
