import pytest
import yaml

from clip_lightning.ablation.variants import expand, lay_over


@pytest.fixture
def fragment(tmp_path):
    path = tmp_path / "small_vit.yaml"
    path.write_text(yaml.safe_dump({"model": {"image_encoder": {"class_path": "ViT", "init_args": {"width": 8}}}}))
    return str(path)


BASE = {"model": {"image_encoder": {"class_path": "ResNet", "init_args": {"blocks": [1]}}, "embed_dim": 4}}


def test_a_fragment_with_another_class_leaves_nothing_of_the_one_before(fragment):
    options = expand({"vit": fragment, "deep vit": {"config": fragment, "model.image_encoder.depth": 3}}, None)
    assert lay_over(BASE, options["vit"])["model"] == {
        "image_encoder": {"class_path": "ViT", "init_args": {"width": 8}},
        "embed_dim": 4,
    }
    assert lay_over(BASE, options["deep vit"])["model"]["image_encoder"]["init_args"] == {"width": 8, "depth": 3}
    assert BASE["model"]["image_encoder"]["class_path"] == "ResNet"


def test_nested_keys_merge():
    options = expand({"a": None, "b": {"model": {"image_encoder": {"init_args": {"width": 9}}}}}, None)
    assert lay_over(BASE, options["a"]) == BASE
    assert lay_over(BASE, options["b"])["model"]["image_encoder"] == {
        "class_path": "ResNet",
        "init_args": {"blocks": [1], "width": 9},
    }


def test_axes_are_combined(fragment):
    options = expand(None, {"config": [fragment], "data.batch_size": [64, 128], "model.lr": {"low": 1, "high": 2}})
    assert list(options) == [
        "small_vit, batch_size=64, low",
        "small_vit, batch_size=64, high",
        "small_vit, batch_size=128, low",
        "small_vit, batch_size=128, high",
    ]
    assert options["small_vit, batch_size=128, low"][1:] == [("data.batch_size", 128), ("model.lr", 1)]


def test_axes_go_over_each_variant():
    options = expand({"a": {"x": 1}, "b": {"x": 2}}, {"y": [3, 4]})
    assert options["b, y=3"] == [("x", 2), ("y", 3)]
    assert len(options) == 4


@pytest.mark.parametrize(
    ("variants", "axes", "words"),
    [
        (None, None, "0 variants"),
        ({"a": {}}, None, "1 variants"),
        (["a", "b"], None, "variants is"),
        ({"a": {}, "b": 3}, None, "variants.b is 3"),
        (None, {"x": 3}, "axes.x is 3"),
        (None, {"x": []}, "axes.x is"),
    ],
)
def test_what_makes_no_comparison_is_refused(variants, axes, words):
    with pytest.raises(ValueError, match=words):
        expand(variants, axes)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"nowhere\.yaml' does not exist"):
        lay_over({}, expand({"a": "nowhere.yaml", "b": {}}, None)["a"])
