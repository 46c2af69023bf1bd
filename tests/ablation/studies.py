"""Studies and facts for tests, without a model."""

from clip_lightning.ablation.facts import Facts
from clip_lightning.ablation.plan import Plan
from clip_lightning.ablation.study import Study

METRIC = "test/zero_shot/shape_scenes/accuracy"


def study_config(**changes):
    return {
        "question": "Which?",
        "source": "none",
        "base": ["base.yaml"],
        "variants": {"narrow": {}, "wide": {"model.width": 2}},
        "metrics": {METRIC: "max"},
        "seeds": [0, 1],
        **changes,
    }


def facts(width=1, **changes):
    config = {
        "name": "tiny", "seed_everything": 0, "num_threads": None, "model": {"width": width},
        "trainer": {"max_epochs": 2, "max_steps": -1, "logger": False, "max_time": None},
        "data": {"num_workers": 0}, "evaluation": {"num_workers": 0},
    }  # fmt: skip
    known = {
        "config": config, "reports": [METRIC, "val/loss"], "batch_size": 16, "steps": 12, "steps_per_epoch": 6,
        "parameters": 1000 * width,
        "image_flops": 10**6 * width, "training_flops": 3e6 * (width + 1), "seconds_per_step": 0.1 * width,
        "seconds_per_evaluation": 1.0, "seconds_to_start": 5.0, "threads": 1,
    }  # fmt: skip
    return Facts(**{**known, **changes})


def plan(config=None, **of_variants):
    found = of_variants or {"narrow": facts(1), "wide": facts(2)}
    return Plan(Study.read(config or study_config(), "tiny"), found)
