"""Training starts from weights of one's own or from elsewhere, at the sizes that are configured."""

import open_clip
import pytest
import torch
from released import EMBED_DIM, TEXT, VISION

import clip_lightning
from clip_lightning.checkpoint import write_checkpoint, write_description
from clip_lightning.models import ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.task import CLIPTask
from clip_lightning.text import CLIPTokenizer


def task(weights, image_size=64, patch_size=16, quick_gelu=True, context_length=77):
    sizes = {**VISION["vit"], "image_size": image_size, "patch_size": patch_size}
    depth = sizes.pop("layers")
    return CLIPTask(
        VisionTransformer(**sizes, depth=depth, num_heads=2, quick_gelu=quick_gelu),
        TextTransformer(context_length, TEXT["vocab_size"], 64, 2, 1, quick_gelu=quick_gelu),
        CLIPTokenizer(context_length),
        embed_dim=EMBED_DIM,
        weights=None if weights is None else str(weights),
    )


@pytest.mark.parametrize("source", ["openai", "open_clip", "transformers"])
def test_weights_from_elsewhere(archives, open_clip_folders, transformers_folders, source):
    path = {
        "openai": archives["vit"],
        "open_clip": open_clip_folders["vit", True],
        "transformers": transformers_folders["quick_gelu"],
    }[source]
    started = task(path)
    started.start_from_weights()
    expected = clip_lightning.load(path).model.state_dict()
    assert expected.keys() == started.model.state_dict().keys()
    for name, tensor in started.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_resnet_from_openais_archive(archives):
    started = CLIPTask(
        ModifiedResNet(64, (1, 2, 1, 1), output_dim=EMBED_DIM, width=16),
        TextTransformer(77, TEXT["vocab_size"], 64, 2, 1, quick_gelu=True),
        CLIPTokenizer(),
        image_projection=False,
        weights=str(archives["resnet"]),
    )
    started.start_from_weights()
    expected = clip_lightning.load(archives["resnet"]).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in started.model.state_dict().items())


def test_the_papers_second_stage_starts_at_another_resolution(open_clip_folders):
    started = task(open_clip_folders["vit", True], image_size=96)
    with pytest.warns(UserWarning, match="17 image position embeddings were interpolated to 37"):
        started.start_from_weights()
    reference = open_clip.create_model(f"local-dir:{open_clip_folders['vit', True]}", force_image_size=96).eval()
    image = torch.randn(2, 3, 96, 96)
    started.model.eval()
    with torch.no_grad():
        expected = reference.encode_image(image)
        assert (started.model.encode_image(image) - expected).norm() <= 1e-5 * expected.norm()


def test_a_run_of_ones_own_at_another_resolution_and_context(tmp_path):
    first = task(None)
    checkpoint = {"state_dict": first.state_dict()}
    write_description(checkpoint, first, None)
    write_checkpoint(checkpoint, tmp_path / "first.ckpt")
    second = task(tmp_path / "first.ckpt", image_size=128, context_length=32)
    with pytest.warns(UserWarning, match="interpolated") as caught:
        second.start_from_weights()
    said = [str(one.message) for one in caught]
    assert any("17 image position embeddings were interpolated to 65" in line for line in said)
    assert any("77 text position embeddings were interpolated to 32" in line for line in said)
    fitted = second.model.image_encoder.position_embedding
    assert torch.equal(fitted[0], first.model.image_encoder.position_embedding[0]), "the class token stays"
    with pytest.warns(UserWarning, match="interpolated"):
        loaded = clip_lightning.load(tmp_path / "first.ckpt", image_size=128, context_length=32)
    assert torch.equal(loaded.model.image_encoder.position_embedding, fitted)
    assert loaded.tokenizer.context_length == 32
    assert loaded.transform(torch.zeros(3, 9, 9, dtype=torch.uint8).permute(1, 2, 0).numpy()).shape == (3, 128, 128)


def test_another_architecture_is_named(archives):
    with pytest.raises(ValueError, match=r"this is a ViT/16 of 64 pixels.*you asked for a ViT/32 of 64") as caught:
        task(archives["vit"], patch_size=32).start_from_weights()
    assert "2 weights do not fit: image_encoder.position_embedding is (17, 128), not (5, 128)" in str(caught.value)


def test_another_activation_is_refused(archives):
    with pytest.raises(ValueError, match="was trained with quick_gelu True, and the model has quick_gelu False"):
        task(archives["vit"], quick_gelu=False).start_from_weights()


def test_an_activation_that_nobody_knows_is_said(open_clip_folders, tmp_path):
    weights = torch.load(open_clip_folders["vit", True] / "open_clip_pytorch_model.bin", weights_only=True)
    torch.save(weights, tmp_path / "bare.pt")
    with pytest.warns(UserWarning, match="does not say its activation, taken as configured: quick_gelu is True"):
        task(tmp_path / "bare.pt").start_from_weights()
