"""Training starts from weights of one's own or from elsewhere, at the sizes that are configured."""

import open_clip
import pytest
import torch
from released import EMBED_DIM, MEAN, STD, TEXT, VISION

import clip_lightning
from clip_lightning.checkpoint import write_checkpoint, write_description
from clip_lightning.models import LoRA, ModifiedResNet, Pixels, TextTransformer, VisionTransformer
from clip_lightning.task import CLIPTask
from clip_lightning.text import CLIPTokenizer


def task(weights, image_size=64, patch_size=16, quick_gelu=True, context_length=77, heads=2, image=None, **more):
    sizes = {**VISION["vit"], "image_size": image_size, "patch_size": patch_size}
    depth = sizes.pop("layers")
    return CLIPTask(
        VisionTransformer(**sizes, depth=depth, num_heads=heads, **{"quick_gelu": quick_gelu, **(image or {})}),
        TextTransformer(context_length, TEXT["vocab_size"], 64, 2, 1, quick_gelu=quick_gelu),
        CLIPTokenizer(context_length),
        embed_dim=EMBED_DIM,
        weights=None if weights is None else str(weights),
        **more,
    )


def save(task, path):
    """A checkpoint of a task."""
    checkpoint = {"state_dict": task.state_dict()}
    write_description(checkpoint, task, None)
    write_checkpoint(checkpoint, path)
    return path


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


def test_the_papers_second_stage_starts_at_another_resolution(open_clip_folders, capsys):
    started = task(open_clip_folders["vit", True], image_size=96)
    started.start_from_weights()
    assert "17 image position embeddings were interpolated to 37\n" in capsys.readouterr().out
    reference = open_clip.create_model(f"local-dir:{open_clip_folders['vit', True]}", force_image_size=96).eval()
    image = torch.randn(2, 3, 96, 96)
    started.model.eval()
    with torch.no_grad():
        expected = reference.encode_image(image)
        assert (started.model.encode_image(image) - expected).norm() <= 1e-5 * expected.norm()


def test_a_run_of_ones_own_at_another_resolution_and_context(tmp_path, capsys):
    first = task(None)
    save(first, tmp_path / "first.ckpt")
    second = task(tmp_path / "first.ckpt", image_size=128, context_length=32)
    second.start_from_weights()
    assert capsys.readouterr().out.splitlines() == [
        f"weights     {tmp_path / 'first.ckpt'}: 17 image position embeddings were interpolated to 65",
        f"weights     {tmp_path / 'first.ckpt'}: 77 text position embeddings were interpolated to 32",
    ]
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


def test_an_activation_that_nobody_knows_is_said(open_clip_folders, tmp_path, capsys):
    weights = torch.load(open_clip_folders["vit", True] / "open_clip_pytorch_model.bin", weights_only=True)
    torch.save(weights, tmp_path / "bare.pt")
    task(tmp_path / "bare.pt", heads=4).start_from_weights()
    said = capsys.readouterr().out
    assert "does not say its activation, taken as configured: quick_gelu is True\n" in said
    assert "does not say its heads, taken as configured: image_encoder.num_heads is 4;" in said


def test_a_tower_with_another_activation_is_refused_beside_one_that_fits(open_clip_folders):
    started = task(open_clip_folders["vit", True])
    started.model.text_encoder.layers[1].mlp.activation = torch.nn.GELU()
    with pytest.raises(ValueError, match="the model has quick_gelu False in its text_encoder; set") as caught:
        started.start_from_weights()
    assert str(caught.value).endswith("; set model.text_encoder.init_args.quick_gelu to True")


def test_other_heads_of_a_folder_are_refused(open_clip_folders, transformers_folders, archives):
    for path in (open_clip_folders["vit", True], transformers_folders["quick_gelu"], archives["vit"]):
        with pytest.raises(ValueError, match="was trained with num_heads 2, and the model has num_heads 4") as caught:
            task(path, heads=4).start_from_weights()
        assert str(caught.value).endswith("; set model.image_encoder.init_args.num_heads to 2")


def test_other_activations_and_heads_of_a_run_of_ones_own_are_refused(tmp_path):
    save(task(None, heads=4), tmp_path / "first.ckpt")
    with pytest.raises(ValueError, match=r"set model\.image_encoder\.init_args\.quick_gelu to True") as caught:
        task(tmp_path / "first.ckpt", heads=8, quick_gelu=False).start_from_weights()
    assert "was trained with num_heads 4, and the model has num_heads 8 in its image_encoder" in str(caught.value)
    assert "model.text_encoder.init_args.quick_gelu to True" in str(caught.value)
    task(tmp_path / "first.ckpt", heads=4).start_from_weights()


def test_a_resnets_heads_are_compared_where_they_follow_from_its_width(tmp_path):
    def resnet(heads, weights=None):
        return CLIPTask(
            ModifiedResNet(64, (1, 2, 1, 1), output_dim=EMBED_DIM, width=16, num_heads=heads),
            TextTransformer(77, TEXT["vocab_size"], 64, 2, 1), CLIPTokenizer(), image_projection=False, weights=weights,
        )  # fmt: skip

    path = str(save(resnet(None), tmp_path / "resnet.ckpt"))
    with pytest.raises(ValueError, match="trained with num_heads 8, and the model has num_heads 4"):
        resnet(4, path).start_from_weights()
    resnet(8, path).start_from_weights()


def test_other_pixels_are_said(open_clip_folders, tmp_path, capsys):
    task(open_clip_folders["vit", True]).start_from_weights()
    said = capsys.readouterr().out
    assert "trained with pixels of mean (0.5, 0.4, 0.3), and the model has (0.48145466, 0.4578275, 0.40821073)" in said
    pixels = Pixels(64, MEAN, STD, "bicubic", "shortest")
    task(open_clip_folders["vit", True], image={"pixels": pixels}).start_from_weights()
    assert capsys.readouterr().out == ""
    path = save(task(None), tmp_path / "own.ckpt")
    task(path, image={"pixels": Pixels(64, interpolation="bilinear")}).start_from_weights()
    assert "pixels of interpolation bicubic, and the model has bilinear" in capsys.readouterr().out
    task(path).start_from_weights()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("adapts", [False, True])
def test_a_run_of_adapters_is_merged(tmp_path, adapts):
    torch.manual_seed(0)
    adapted = task(None, image_lora=LoRA(rank=2), text_lora=LoRA(rank=2, alpha=4))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                parameter.normal_(std=0.2)
    path = save(adapted, tmp_path / "adapted.ckpt")
    started = task(path, image_lora=LoRA(rank=3) if adapts else None)
    fresh = started.model.image_encoder.position_embedding.clone()
    started.start_from_weights()
    assert not torch.equal(started.model.image_encoder.position_embedding, fresh)
    image, text = torch.randn(2, 3, 64, 64), CLIPTokenizer()(["a cat", "a red dog"])
    loaded = clip_lightning.load(path).model
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        for model in (adapted.model.eval(), started.model.eval(), loaded):
            features = torch.cat([model.encode_image(image), model.encode_text(text)])
            expected = features if model is adapted.model else expected
            torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert any("lora" in name for name in started.state_dict()) == adapts


def test_an_activation_is_not_given_twice(tmp_path):
    path = save(task(None), tmp_path / "own.ckpt")
    assert clip_lightning.load(path, quick_gelu=True).card["format"] == "clip_lightning"
    with pytest.raises(ValueError, match=r"own\.ckpt' says that quick_gelu is True, but False was asked for"):
        clip_lightning.load(path, quick_gelu=False)
    with pytest.raises(ValueError, match="quick_gelu 'false' is neither True nor False"):
        clip_lightning.load(path, quick_gelu="false")
