"""Every tensor of a fresh model is distributed as OpenAI's code defines, or as torch does where that is silent."""

import math
import re

import pytest
import torch
from peer import open_clip_sizes, reduced, to_open_clip

# What OpenAI's released code sets: pattern of the name -> standard deviation. `i` and `t` are the towers' sizes.
# Source: openai/CLIP, clip/model.py: CLIP.initialize_parameters, VisionTransformer and AttentionPool2d.
DEFINED = {
    r"text_encoder\.token_embedding\.weight": lambda i, t: 0.02,
    r"text_encoder\.position_embedding": lambda i, t: 0.01,
    r"text_encoder\.layers\.\d+\.attention\.in_projection\.weight": lambda i, t: t["width"] ** -0.5,
    r"text_encoder\.layers\.\d+\.attention\.out_projection\.weight": lambda i, t: (t["width"] * 2 * t["depth"]) ** -0.5,
    r"text_encoder\.layers\.\d+\.mlp\.expand\.weight": lambda i, t: (2 * t["width"]) ** -0.5,
    r"text_encoder\.layers\.\d+\.mlp\.contract\.weight": lambda i, t: (t["width"] * 2 * t["depth"]) ** -0.5,
    r"text_projection\.weight": lambda i, t: t["width"] ** -0.5,
    r"image_projection\.weight": lambda i, t: i["width"] ** -0.5,
    r"image_encoder\.class_token": lambda i, t: i["width"] ** -0.5,
    r"image_encoder\.position_embedding": lambda i, t: i["width"] ** -0.5,
    r"image_encoder\.attention_pool\.position_embedding": lambda i, t: (32 * i["width"]) ** -0.5,
    r"image_encoder\.attention_pool\.(query|key|value|out_projection)\.weight": lambda i, t: (32 * i["width"]) ** -0.5,
    r"image_encoder\.stages\.\d+\.\d+\.norm3\.weight": lambda i, t: 0.0,
    r"logit_scale": lambda i, t: 0.0,
}

# Where it defines none, torch's modules start by themselves: pattern -> standard deviation, given the inputs of the map
# and its outputs.
TORCHS = {
    # torch.nn.MultiheadAttention: Xavier's uniform distribution, and no bias.
    r"image_encoder\.layers\.\d+\.attention\.in_projection\.weight": lambda inputs, outputs: (
        (2 / (inputs + outputs)) ** 0.5
    ),
    r".*\.attention\.(in|out)_projection\.bias": lambda inputs, outputs: 0.0,
    # torch.nn.Linear and Conv2d: uniform up to the inverse root of the number of inputs.
    r"image_encoder\.layers\.\d+\.(attention\.out_projection|mlp\.expand|mlp\.contract)\.weight": lambda n, _: (
        (3 * n) ** -0.5
    ),
    r".*\.mlp\.(expand|contract)\.bias": lambda inputs, outputs: (3 * inputs) ** -0.5,
    r"image_encoder\.attention_pool\.(query|key|value|out_projection)\.bias": lambda n, _: (3 * n) ** -0.5,
    r"image_encoder\.(patch_embedding|.*\.conv\d?)\.weight": lambda inputs, outputs: (3 * inputs) ** -0.5,
    # torch.nn.LayerNorm and BatchNorm2d: ones and zeros.
    r".*(_norm|norm[12]|stem\.norm3|shortcut\.norm)\.weight": lambda inputs, outputs: 0.0,
    r".*(norm|norm\d)\.bias": lambda inputs, outputs: 0.0,
}
ONES = re.compile(r".*(_norm|norm[12]|stem\.norm3|shortcut\.norm)\.weight")


def expected_std(name, shapes, image, text):
    """The one rule that a tensor has."""
    defined = [rule(image, text) for pattern, rule in DEFINED.items() if re.fullmatch(pattern, name)]
    weight = shapes[re.sub(r"\.bias$", ".weight", name)]
    fans = (math.prod(weight[1:]), weight[0]) if weight else (1, 1)
    left = [rule(*fans) for pattern, rule in TORCHS.items() if re.fullmatch(pattern, name)]
    assert len(defined + left) == 1, f"{name} has {len(defined)} definitions and {len(left)} defaults"
    return (defined + left)[0]


@pytest.mark.parametrize("name", ["rn50", "rn50x4", "vit_b_32", "vit_l_14"])
def test_every_tensor_starts_as_defined(name):
    model = reduced(name)
    image, text = model.image_encoder._init_args, model.text_encoder._init_args
    shapes = {key: value.shape for key, value in model.named_parameters()}
    for key, tensor in model.named_parameters():
        std, values = expected_std(key, shapes, image, text), tensor.detach().double()
        mean = 1.0 if ONES.fullmatch(key) else math.log(1 / 0.07) if key == "logit_scale" else 0.0
        # Five standard errors; that of the spread is smaller yet for a uniform distribution.
        error = 5 / values.numel() ** 0.5
        assert values.std(correction=0).item() == pytest.approx(std, rel=error, abs=1e-12), key
        assert (values.mean() - mean).abs() <= error * std + 1e-6, key


@pytest.mark.parametrize("name", ["rn50", "vit_b_32"])
def test_open_clips_fresh_model_is_distributed_alike(name):
    import open_clip

    ours = reduced(name)
    mine = to_open_clip({key: tensor.detach() for key, tensor in ours.named_parameters()})
    theirs = open_clip.CLIP(**open_clip_sizes(ours))
    assert mine.keys() == dict(theirs.named_parameters()).keys()
    for key, reference in theirs.named_parameters():
        tolerance = 5 * 2**0.5 / reference.numel() ** 0.5
        spread = reference.detach().std(correction=0)
        assert mine[key].std(correction=0) == pytest.approx(spread.item(), rel=tolerance), key
        assert (mine[key].mean() - reference.mean()).abs() <= tolerance * spread, key


def test_depth_and_width_change_what_depends_on_them():
    from clip_lightning.models import TextTransformer

    for width, depth in [(64, 2), (64, 8), (256, 2)]:
        layer = TextTransformer(8, 20, width, depth, num_heads=2).layers[1]
        assert layer.mlp.contract.weight.std().item() == pytest.approx((width * 2 * depth) ** -0.5, rel=0.03)
        assert layer.mlp.expand.weight.std().item() == pytest.approx((2 * width) ** -0.5, rel=0.03)


def test_batch_statistics_start_at_zero_and_one():
    for key, value in reduced("rn50").named_buffers():
        if "running" in key:
            assert torch.equal(value, torch.full_like(value, float("var" in key))), key
