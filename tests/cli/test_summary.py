"""``summary``: what a configured model costs."""

from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from clip_lightning.__main__ import main
from clip_lightning.cli.compose import compose
from clip_lightning.cli.keys import KEYS
from clip_lightning.cli.summary import build_model
from clip_lightning.models.cost import whole_pool_flops
from clip_lightning.models.layers import join_heads, split_heads
from clip_lightning.models.modified_resnet import AttentionPool

TINY = "tests/conf/tiny.yaml"


def summary(*arguments):
    return main(["summary", *arguments])


def rows_of(printed):
    """Cells of each row of the table, by the part's name."""
    lines = printed.splitlines()[1:]
    table = lines[: lines.index("")]
    return {line.split()[0]: line.split()[1:] for line in table if not line.startswith("-")}


def test_the_paper_s_resnet_has_its_published_size(capsys):
    assert summary("--config", "configs/model/rn50.yaml") == 0
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert rows["total"][0] == "102,007,137"
    assert rows["image_encoder"][:3] == ["38,316,896", "11.59", "G"]
    assert rows["text_encoder"][1:3] == ["5.96", "G"]
    assert "image_projection" not in rows, "it projects inside its attention pool"
    assert "Published FLOPs of image_encoder are 12.22 G: they count every position of the attention pool" in printed
    assert "a multiply-add counted as 2" in printed
    assert "one image of 224 x 224 pixels and one text of 77 tokens" in printed


def test_any_configuration_with_a_model_has_costs_without_its_data(capsys, tmp_path, monkeypatch):
    """The photographs, the captions to learn a vocabulary from and the weights are not there, and not missed."""
    config = str(Path("configs/photos.yaml").resolve())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    pretrained = ["--model.image_encoder.name", "resnet10t.c3_in1k", "--model.image_encoder.pretrained", "true"]
    assert summary("--config", config, *pretrained) == 0
    rows = rows_of(capsys.readouterr().out)
    assert rows["image_encoder"][0] == "4,922,488"
    assert rows["text_encoder"][0] == f"{1024 * 128 + 32 * 128 + 2 * (12 * 128**2 + 13 * 128) + 2 * 128:,}"
    assert list(tmp_path.iterdir()) == []


def test_a_vision_transformer_costs_what_is_published(capsys):
    assert summary("--config", "configs/model/vit_b_32.yaml") == 0
    printed = capsys.readouterr().out
    assert rows_of(printed)["image_encoder"][1:3] == ["8.82", "G"]
    assert "Published" not in printed


@pytest.mark.parametrize("batch", [1, 3])
def test_what_an_attention_pool_is_spared_is_what_all_its_positions_cost(batch):
    pool = AttentionPool(positions=9, channels=16, num_heads=2, output_dim=6)
    with FlopCounterMode(display=False) as of_one:
        pool(torch.randn(batch, 16, 3, 3))
    tokens = torch.randn(batch, 10, 16)
    with FlopCounterMode(display=False) as of_all:
        query, key, value = (split_heads(part(tokens), 2) for part in (pool.query, pool.key, pool.value))
        pool.out_projection(join_heads(F.scaled_dot_product_attention(query, key, value)))
    assert of_all.get_total_flops() - of_one.get_total_flops() == batch * whole_pool_flops(pool)


def test_keys_change_the_model(capsys):
    totals = []
    for depth in ("1", "3"):
        assert summary("--config", TINY, "--model.text_encoder.depth", depth) == 0
        totals.append(int(rows_of(capsys.readouterr().out)["total"][0].replace(",", "")))
    assert totals[1] - totals[0] == 2 * (12 * 16**2 + 13 * 16)


def test_no_weights_are_made():
    config, _ = compose(["--config", TINY], KEYS)
    model = build_model(config)
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert torch.get_default_device().type == "cpu"


def test_what_starts_from_weights_or_runs_elsewhere_is_summed_up_too(capsys, tmp_path):
    run = {"trainer": {"accelerator": "gpu", "devices": 64}, "model": {"weights": "absent.ckpt"}, "name": "x"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert summary("--config", TINY, "--config", str(tmp_path / "run.yaml")) == 0
    assert "total" in rows_of(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "configs/model/rn5.yaml"], ["configs/model/rn5.yaml", "does not exist"]),
        (["--name", "x"], ["no model is configured", "configs/model/rn50.yaml"]),
        (["--config", TINY, "--model.image_encoder.patch_size", "7"], ["patch_size 7 does not divide image_size 32"]),
        (["--config", TINY, "--model.image_encoder.widht", "7"], ["widht", "did you mean 'width'"]),
        (["--config", TINY, "--modle.embed_dim", "7"], ["--modle", "--model"]),
        (["--config", TINY, "--model.optimiser", "7"], ["model.optimiser", "did you mean 'optimizer'"]),
        (["--config", TINY, "more"], ["'more' is not understood"]),
    ],
)
def test_a_mistake_gets_one_message(arguments, words, capsys):
    assert summary(*arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("clip_lightning summary: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_is_there(arguments, capsys):
    assert summary(*arguments) == 0
    assert "configs/model/rn50.yaml" in capsys.readouterr().out
