"""The nine presets against open_clip's models with the same weights, the Vision Transformers against transformers' too.

Here they are reduced in width and depth, with all parts and proportions; the slow tests have them whole.
"""

import re

import pytest
import torch
from peer import (
    OPEN_CLIP_NAMES,
    PRESETS,
    VITS,
    features_of,
    logits_of,
    on_meta,
    open_clip_twin,
    pairs,
    randomize,
    reduced,
    to_open_clip,
    to_transformers,
    transformers_twin,
)

TWINS = {"open_clip": (open_clip_twin, to_open_clip), "transformers": (transformers_twin, to_transformers)}
CASES = [(name, True, "open_clip") for name in PRESETS] + [(name, True, "transformers") for name in VITS]
CASES += [("vit_b_32", False, "open_clip"), ("rn50", False, "open_clip"), ("vit_b_32", False, "transformers")]


def assert_same_outputs(ours, theirs, image, text):
    """Features equal row by row, and logits to 1e-5 of their norm: of one row, all may be near 0 by cancellation."""
    assert_same(features_of(ours, image, text), features_of(theirs, image, text))
    mine, reference = logits_of(ours, image, text), logits_of(theirs, image, text)
    assert (mine - reference).norm() <= 1e-5 * reference.norm()
    assert reference.std() > 1e-3


def assert_same(mine, reference):
    """Rows equal to 1e-5 of their norm, of samples that are told apart."""
    for ours_now, theirs_now in zip(mine, reference, strict=True):
        assert ((ours_now - theirs_now).norm(dim=1) <= 1e-5 * theirs_now.norm(dim=1)).all()
        assert theirs_now.std(dim=0).max() > 1e-3 * theirs_now.abs().max(), "the samples are told apart"


def assert_same_gradients(ours, theirs, names, image, text):
    """Gradients of the images and of every parameter equal to 1e-9 of the largest, and of their own norm."""
    gradients = []
    for model in (ours, theirs):
        pixels = image.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits_of(model, pixels, text), torch.arange(len(text)))
        parameters = dict(model.named_parameters())
        found = torch.autograd.grad(loss, [pixels, *parameters.values()])
        gradients.append((found[0], dict(zip(parameters, found[1:], strict=True))))
    (mine_input, mine), (input_gradient, reference) = gradients
    mine = names(mine) | {"pixels": mine_input}
    reference["pixels"] = input_gradient
    assert mine.keys() == reference.keys()
    largest = max(gradient.norm() for gradient in reference.values())
    for name, gradient in reference.items():
        # The bias of the keys has no effect in exact arithmetic, so its gradient has no relative error.
        assert (mine[name] - gradient).norm() <= 1e-9 * max(gradient.norm(), 1e-6 * largest), name
    assert input_gradient.norm() > 1e-9 * largest


@pytest.mark.parametrize(("name", "quick_gelu", "library"), CASES)
@torch.no_grad()
def test_features_and_logits_are_the_peers(name, quick_gelu, library):
    ours = reduced(name, quick_gelu=quick_gelu).eval()
    randomize(ours)
    twin, _ = TWINS[library]
    assert_same_outputs(ours, twin(ours), *pairs(ours))


@pytest.mark.parametrize(("name", "quick_gelu", "library"), CASES)
def test_gradients_are_the_peers(name, quick_gelu, library):
    ours = reduced(name, quick_gelu=quick_gelu).eval()
    randomize(ours)
    twin, names = TWINS[library]
    theirs = twin(ours).double()
    ours.double()
    if "blocks" in ours.image_encoder._init_args:  # batch statistics too
        ours.train(), theirs.train()
    assert_same_gradients(ours, theirs, names, *pairs(ours, dtype=torch.float64))


def kept(model, image, text):
    """Bytes that a pass keeps for the gradients of the parameters, and for these by themselves."""
    found = {}

    def note(tensor):
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits_of(model, image, text)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_pass_keeps_no_more_than_open_clips(name):
    ours = reduced(name).train()
    image, text = pairs(ours)
    image = image.contiguous(memory_format=torch.channels_last)  # else our convolutions copy the images to it
    assert kept(ours, image, text) <= kept(open_clip_twin(ours).train(), image, text)


@pytest.mark.parametrize("library", TWINS)
@torch.no_grad()
def test_the_comparison_tells_one_activation_from_the_other(library):
    ours, other = reduced("vit_b_32").eval(), reduced("vit_b_32", quick_gelu=False).eval()
    other.load_state_dict(ours.state_dict())
    with pytest.raises(AssertionError):
        assert_same_outputs(ours, TWINS[library][0](other), *pairs(ours))


def whole(name):
    """A preset at its own sizes with random weights."""
    ours = on_meta(name).to_empty(device="cpu").eval()
    fill(ours)
    return ours.requires_grad_(False)


@torch.no_grad()
def fill(model):
    """Random weights, gains and biases with which a model of any depth is well conditioned."""
    generator = torch.Generator().manual_seed(0)
    for key, tensor in model.state_dict(keep_vars=True).items():
        _fill(key, tensor, generator)
    model.pixel_mean.copy_(torch.tensor(model.pixels.mean).view(3, 1, 1))
    model.pixel_std.copy_(torch.tensor(model.pixels.std).view(3, 1, 1))


def _fill(key, tensor, generator):
    """Random values around those of a fresh model, of which each layer's output has the size of its input."""
    if key.endswith("num_batches_tracked"):
        tensor.zero_()
    elif key.endswith("running_var"):
        tensor.uniform_(0.5, 1.5, generator=generator)
    elif tensor.ndim >= 2:
        std = 0.02 if "embedding." in key and "patch" not in key else tensor[0].numel() ** -0.5
        tensor.normal_(std=std, generator=generator)
    else:
        # The last gain of a residual branch starts at 0; at 1, a hundred convolutions blow rounding up beyond 1e-5.
        is_gain = "norm" in key and key.endswith("weight") and not re.search(r"stages.*norm3", key)
        tensor.normal_(mean=float(is_gain), std=0.3, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@torch.no_grad()
def test_a_whole_model_has_open_clips_features(name):
    import open_clip

    ours = whole(name)
    theirs = open_clip_twin(ours, open_clip.get_model_config(OPEN_CLIP_NAMES[name]))
    given = pairs(ours, count=2)
    assert_same(features_of(ours, *given), features_of(theirs.requires_grad_(False), *given))


@pytest.mark.slow
@pytest.mark.parametrize("name", VITS)
@torch.no_grad()
def test_a_whole_vision_transformer_has_transformers_features(name):
    ours = whole(name)
    given = pairs(ours, count=2)
    assert_same(features_of(ours, *given), features_of(transformers_twin(ours).requires_grad_(False), *given))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_gradients_through_the_whole_depth_are_open_clips(name):
    ours = reduced(name, layers="all").eval()
    fill(ours)
    theirs = open_clip_twin(ours).double()
    assert_same_gradients(ours.double(), theirs, to_open_clip, *pairs(ours, count=2, dtype=torch.float64))
