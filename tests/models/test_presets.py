"""The nine presets against the published sizes and open_clip's, and against the configurations of the same names."""

import functools
from pathlib import Path

import open_clip
import pytest
import torch
from peer import OPEN_CLIP_NAMES, PRESETS, on_meta, open_clip_sizes, to_open_clip
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from clip_lightning import models, text
from clip_lightning.__main__ import main
from clip_lightning.cli.summary import build_model
from clip_lightning.config import read_config
from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer, VisionTransformer, presets
from clip_lightning.models.cost import model_cost
from clip_lightning.models.paper_names import paper_name
from clip_lightning.spec import spec_of
from clip_lightning.task import CLIPTask

CONFIGS = Path(__file__).parents[2] / "configs" / "model"

# Millions of parameters (all, image tower with its projection), and GFLOPs an image and a text, a multiply-add as 2.
# Source: open_clip's docs/model_profile.csv.
PUBLISHED = {
    "rn50": (102.01, 38.32, 12.22, 5.96),
    "rn101": (119.69, 56.26, 19.54, 5.96),
    "rn50x4": (178.30, 87.14, 42.56, 9.27),
    "rn50x16": (290.98, 167.33, 149.39, 13.30),
    "rn50x64": (623.26, 420.38, 529.11, 23.55),
    "vit_b_32": (151.28, 87.85, 8.82, 5.96),
    "vit_b_16": (149.62, 86.19, 35.13, 5.96),
    "vit_l_14": (427.62, 303.97, 162.03, 13.30),
    "vit_l_14_336": (427.94, 304.29, 381.92, 13.30),
}
# Two whole models, and the rest in the slow tests: a pass of the largest takes seconds even without numbers.
SOME = [name if name in ("rn50", "vit_b_32") else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS]
# Source: Radford et al. 2021, tables 18-20.
LEARNING_RATES = dict.fromkeys(PRESETS, 5e-4) | {
    "rn50x16": 4e-4,
    "rn50x64": 3.6e-4,
    "vit_l_14": 4e-4,
    "vit_l_14_336": 2e-5,
}


def wasted_by_the_published_pool(model):
    """Operations for outputs of the attention pool that OpenAI's and open_clip's code computes and does not use."""
    if not isinstance(model.image_encoder, ModifiedResNet):
        return 0
    pool = model.image_encoder.attention_pool
    tokens, channels = pool.position_embedding.shape
    return (tokens - 1) * channels * (2 * channels + 2 * model.embed_dim + 4 * tokens)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@functools.cache
def towers_cost(name):
    """Operations of each tower with its projection, and the parameters of the image tower with it."""
    costs = {cost.part: cost for cost in model_cost(on_meta(name))}
    image = [cost for part, cost in costs.items() if part.startswith("image")]
    text = [cost for part, cost in costs.items() if part.startswith("text")]
    return sum(cost.flops for cost in image), sum(cost.flops for cost in text), sum(cost.parameters for cost in image)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_the_published_ones(name):
    model = on_meta(name)
    millions, image_millions, _, _ = PUBLISHED[name]
    image = [model.image_encoder, model.image_projection or torch.nn.Identity()]
    assert count(model) / 1e6 == pytest.approx(millions, abs=0.0051)
    assert sum(map(count, image)) / 1e6 == pytest.approx(image_millions, abs=0.0051)
    assert model.text_encoder.context_length == 77
    assert model.text_encoder.vocab_size == 49408


@pytest.mark.parametrize("name", SOME)
def test_costs_are_the_published_ones(name):
    model = on_meta(name)
    _, image_millions, image_gflops, text_gflops = PUBLISHED[name]
    image_flops, text_flops, image_parameters = towers_cost(name)
    assert image_parameters / 1e6 == pytest.approx(image_millions, abs=0.0051)
    assert text_flops / 1e9 == pytest.approx(text_gflops, abs=0.0051)
    assert (image_flops + wasted_by_the_published_pool(model)) / 1e9 == pytest.approx(image_gflops, abs=0.0051)


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_are_open_clips(name):
    ours, config = on_meta(name), open_clip.get_model_config(OPEN_CLIP_NAMES[name])
    assert_same_sizes(open_clip_sizes(ours), config)
    with torch.device("meta"):
        theirs = open_clip.CLIP(**config)
    mine = to_open_clip(ours.state_dict())
    assert {key: value.shape for key, value in theirs.state_dict().items()} == {key: mine[key].shape for key in mine}


@pytest.mark.parametrize("name", SOME)
def test_operations_are_open_clips(name):
    ours = on_meta(name)
    with FakeTensorMode():
        theirs = open_clip.CLIP(**open_clip.get_model_config(OPEN_CLIP_NAMES[name]))
        counted = []
        size = ours.pixels.size
        for encode, given in [
            (theirs.encode_image, torch.empty(1, 3, size, size)),
            (theirs.encode_text, torch.zeros(1, 77, dtype=torch.int64)),
        ]:
            with FlopCounterMode(display=False) as counter:
                encode(given)
            counted.append(counter.get_total_flops())
    image_flops, text_flops, _ = towers_cost(name)
    assert [image_flops + wasted_by_the_published_pool(ours), text_flops] == counted


def assert_same_sizes(mine, config):
    """Equal but for settings that are open_clip's defaults."""
    assert mine["vision_cfg"].pop("head_width", 64) == 64
    mine["vision_cfg"]["layers"] = as_list(mine["vision_cfg"]["layers"])
    given = {**config, "vision_cfg": {**config["vision_cfg"], "layers": as_list(config["vision_cfg"]["layers"])}}
    assert mine == given


def as_list(layers):
    return [layers] if isinstance(layers, int) else list(layers)


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_is_its_preset(name):
    config = read_config(CONFIGS / f"{name}.yaml")["model"]
    tokenizer = getattr(text, config["tokenizer"]["class_path"])()
    sizes = {"context_length": tokenizer.context_length, "vocab_size": tokenizer.vocab_size}
    with torch.device("meta"):
        image_encoder, text_encoder = (
            getattr(models, config[tower]["class_path"])(**config[tower]["init_args"], **linked)
            for tower, linked in (("image_encoder", {}), ("text_encoder", sizes))
        )
        configured = CLIP(image_encoder, text_encoder, config["embed_dim"], config["image_projection"])
    assert_same_model(configured, on_meta(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_command_line_makes_its_preset_of_a_configuration(name):
    assert_same_model(build_model(read_config(CONFIGS / f"{name}.yaml")), on_meta(name))


def assert_same_model(configured, preset):
    assert spec_of(configured) == spec_of(preset)
    shapes = {key: value.shape for key, value in preset.state_dict().items()}
    assert {key: value.shape for key, value in configured.state_dict().items()} == shapes


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_has_the_papers_optimiser(name):
    model = read_config(CONFIGS / f"{name}.yaml")["model"]
    family = {"betas": [0.9, 0.98], "eps": 1e-6} if name.startswith("vit") else {"betas": [0.9, 0.999], "eps": 1e-8}
    assert model["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert model["optimizer"]["init_args"] == {"lr": LEARNING_RATES[name], "weight_decay": 0.2, **family}
    assert model["schedule"] == {"class_path": "WarmupCosine", "init_args": {"warmup_steps": 2000}}


def test_the_second_stage_is_one_epoch():
    assert read_config(CONFIGS / "vit_l_14_336.yaml")["trainer"] == {"max_epochs": 1}


def test_every_preset_has_a_configuration_and_the_released_activation():
    public = {name for name, value in vars(presets).items() if callable(value) and not name.startswith("_")}
    assert public - {"Sequence", "CLIP", "ModifiedResNet", "TextTransformer", "VisionTransformer"} == set(PRESETS)
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PRESETS)
    for name in PRESETS:
        described = spec_of(on_meta(name))["init_args"]
        for tower in ("image_encoder", "text_encoder"):
            assert described[tower]["init_args"].get("quick_gelu", True) is True


def small():
    image = VisionTransformer(32, 8, width=32, depth=2, num_heads=2, quick_gelu=True)
    return CLIP(image, TextTransformer(12, 50, 32, depth=2, num_heads=2), embed_dim=16)


@pytest.mark.parametrize(
    "build",
    [small, lambda: CLIP(ModifiedResNet(64, (1, 2), 16, width=8), None, image_projection=False)],
    ids=["vit", "resnet"],
)
def test_activation_memory_is_what_a_real_pass_keeps(build):
    model, kept = build(), {}
    inputs = {"image_encoder": (torch.randn(2, 3, model.pixels.size, model.pixels.size),)}
    if model.text_encoder:
        inputs["text_encoder"] = (torch.zeros(2, 12, dtype=torch.int64), torch.tensor([12, 12]))
    for part, given in inputs.items():
        encoder, found = getattr(model, part), {}
        own = {tensor.data_ptr() for tensor in [*encoder.parameters(), *encoder.buffers()]}

        def note(tensor, found=found):
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            encoder(*given)
        kept[part] = sum(tensor.untyped_storage().nbytes() for at, tensor in found.items() if at not in own) // 2
    assert kept == {cost.part: cost.activation_bytes for cost in model_cost(model) if cost.part in kept}


def test_what_costs_nothing_is_not_counted():
    """A linear layer keeps its input, and nothing where it is frozen and nothing before it learns."""
    model = small()
    projection = next(cost for cost in model_cost(model) if cost.part == "text_projection")
    assert (projection.parameters, projection.flops, projection.activation_bytes) == (512, 2 * 512, 4 * 32)
    model.image_encoder.requires_grad_(False)
    costs = {cost.part: cost for cost in model_cost(model)}
    assert costs["image_encoder"].activation_bytes == 0
    assert costs["image_encoder"].flops > 0
    assert costs["image_encoder"].parameters > 0, "frozen parameters are parameters too"


def test_costs_leave_the_model_as_it_is():
    model = CLIP(ModifiedResNet(32, (1, 1), 16, width=8), None, image_projection=False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model_cost(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def train_reduced(folder, name, image_size, *further):
    """A few steps of a configuration with everything smaller, through the command line; its last weights."""
    sizes = {"image_encoder.image_size": image_size, "embed_dim": 16}
    for tower in ("image_encoder", "text_encoder"):
        sizes |= {f"{tower}.width": 32, f"{tower}.depth": 1, f"{tower}.num_heads": 2}
    flags = [word for key, value in sizes.items() for word in (f"--model.{key}", str(value))]
    flags += ["--evaluation.val", "[]", "--evaluation.test", "[]", "--checkpoints.monitor", "val/loss"]
    flags += ["--checkpoints.mode", "min", "--trainer.logger", "false", "--data.batch_size", "8"]
    for part in ("train", "val", "test"):
        flags += [f"--data.{part}.size", "16"]
    configs = ["--config", "configs/quickstart.yaml", "--config", str(CONFIGS / f"{name}.yaml")]
    run = ["fit", *configs, *flags, "--data.samples_per_epoch", "16", *further, "--run_dir", str(folder)]
    assert main(run) == 0
    task = CLIPTask.load_from_checkpoint(folder / "checkpoints" / "last.ckpt")
    return task.model.state_dict()


@pytest.mark.slow
def test_the_second_stage_goes_on_with_larger_images(tmp_path, capsys):
    first = train_reduced(tmp_path / "first", "vit_l_14", 56, "--trainer.max_epochs", "1")
    start = ["--model.weights", str(tmp_path / "first" / "checkpoints" / "last.ckpt")]
    second = train_reduced(tmp_path / "second", "vit_l_14_336", 84, *start)
    assert capsys.readouterr().out.count("17 image position embeddings were interpolated to 37") == 1
    assert "max_epochs: 1" in (tmp_path / "second" / "config.yaml").read_text()
    positions = first.pop("image_encoder.position_embedding")
    grid = positions[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(grid, (6, 6), mode="bicubic", antialias=True)
    expected = torch.cat([positions[:1], larger[0].flatten(1).T])
    # Two steps of the warm-up, the larger of 2e-8, are all that it has learned since.
    torch.testing.assert_close(second.pop("image_encoder.position_embedding"), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(second, first, rtol=0, atol=1e-6)


def test_a_model_is_known_by_its_sizes():
    assert paper_name(on_meta("vit_b_16")) == "ViT-B/16"
    other = VisionTransformer(image_size=32, patch_size=16, width=16, depth=1, num_heads=2)
    assert paper_name(CLIP(other, None, 8)) is None
