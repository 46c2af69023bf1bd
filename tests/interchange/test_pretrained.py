"""A checkpoint is loaded by itself, and nothing in it runs."""

import copy
import functools
import os
import pickle

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

import clip_lightning
from clip_lightning.data import ShapeScenes
from clip_lightning.datamodules import ImageTextDataModule
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.models import TextTransformer, VisionTransformer
from clip_lightning.optim import WarmupCosine
from clip_lightning.spec import spec_of
from clip_lightning.task import CLIPTask
from clip_lightning.text import BPETokenizer


def new_task(**changes):
    """A task as a notebook builds it."""
    tokenizer = BPETokenizer(vocab_size=300, context_length=24, corpus=ShapeScenes(size=32))
    parts = {
        "image_encoder": VisionTransformer(image_size=32, patch_size=16, width=16, depth=1, num_heads=2),
        "text_encoder": TextTransformer(context_length=24, vocab_size=300, width=16, depth=1, num_heads=2),
        "tokenizer": tokenizer,
        "embed_dim": 8,
        "schedule": WarmupCosine(1),
    }
    return CLIPTask(**{**parts, **changes})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint that no command line had a part in."""
    folder = tmp_path_factory.mktemp("notebook")
    task = new_task(optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, ImageTextDataModule([ShapeScenes(size=32)], batch_size=8))
    trainer.save_checkpoint(folder / "one.ckpt")
    return folder / "one.ckpt", task


def test_load_gives_the_trained_model_and_what_belongs_to_it(checkpoint):
    path, task = checkpoint
    pretrained = clip_lightning.load(path)
    assert not pretrained.model.training
    texts = ["a red circle", "two small blue stars"]
    tokens = pretrained.tokenizer(texts)
    assert torch.equal(tokens, task.tokenizer(texts))
    scene = ShapeScenes("val").read(0).image
    image = pretrained.transform(scene)[None]
    assert torch.equal(image, torch.from_numpy(scene).permute(2, 0, 1)[None])
    task.model.eval()
    with torch.no_grad():
        for model in (task.model, pretrained.model):
            features = model.encode_image(model.normalize(image)), model.encode_text(tokens)
            if model is task.model:
                expected = features
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(features, expected, strict=True))
        classes = zero_shot_classifier(
            pretrained.model, pretrained.tokenizer, [["red circle"], ["blue star"]], ["a {}"]
        )
        scores = pretrained.scorer.classes([["a red circle"], ["a blue star"]])(features[0])
        embed = torch.nn.functional.normalize(features[0], dim=1)
        torch.testing.assert_close(scores, pretrained.model.logit_scale.exp() * embed @ classes.T)


def test_a_path_a_file_pixels_and_pillow_give_the_same_square(checkpoint, tmp_path):
    transform = clip_lightning.load(checkpoint[0]).transform
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = transform(pixels)
    assert expected.shape == (3, 32, 32)
    for image in (
        tmp_path / "x.png",
        str(tmp_path / "x.png"),
        (tmp_path / "x.png").read_bytes(),
        Image.fromarray(pixels),
    ):
        assert torch.equal(transform(image), expected)
    with pytest.raises(ValueError, match=r"uint8 \[height, width, 3\] of numpy, and no tensor"):
        transform(torch.from_numpy(pixels))


def test_a_transparent_pillow_image_lies_over_white(checkpoint):
    transform = clip_lightning.load(checkpoint[0]).transform
    assert transform(Image.new("RGBA", (40, 40), (9, 9, 9, 0))).min() == 255


def test_a_task_loads_reloads_and_saves_again(checkpoint, tmp_path):
    path, task = checkpoint
    again = CLIPTask.load_from_checkpoint(path)
    assert spec_of(again) == spec_of(task)
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(again, ImageTextDataModule([ShapeScenes(size=32)], batch_size=8))
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    assert isinstance(trainer.optimizers[0], torch.optim.SGD)
    assert spec_of(CLIPTask.load_from_checkpoint(tmp_path / "two.ckpt")) == spec_of(task)


def changed(checkpoint, tmp_path, change):
    content = torch.load(checkpoint[0], weights_only=True)
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    return tmp_path / "changed.ckpt"


class Payload:
    """What a pickle runs when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("payload-has-run",)


def test_code_in_a_file_is_refused_before_it_runs(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = changed(checkpoint, tmp_path, lambda content: content.update(extra=Payload()))
    with pytest.raises(ValueError, match="more than tensors and plain data"):
        clip_lightning.load(path)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"plain\.pkl"):
        clip_lightning.load(tmp_path / "plain.pkl")
    assert not (tmp_path / "payload-has-run").exists()


@pytest.mark.parametrize("class_path", ["subprocess.Popen", "os.mkdir", "torch.nn.Linear", "examples.mixer.Mixer"])
def test_a_file_cannot_name_any_class(checkpoint, tmp_path, class_path):
    def change(content):
        content["clip_lightning"]["task"]["init_args"]["image_encoder"] = {"class_path": class_path, "init_args": {}}

    with pytest.raises(ValueError, match=class_path.replace(".", r"\.")):
        clip_lightning.load(changed(checkpoint, tmp_path, change))


def test_other_weights_and_files_are_refused(checkpoint, tmp_path):
    def rename(content):
        content["state_dict"]["model.more"] = content["state_dict"].pop("model.logit_scale")

    with pytest.raises(ValueError, match=r"2 weights do not fit: missing model\.logit_scale; unknown model\.more"):
        clip_lightning.load(changed(checkpoint, tmp_path, rename))
    with pytest.raises(ValueError, match="in no known layout"):
        clip_lightning.load(changed(checkpoint, tmp_path, lambda content: content.pop("clip_lightning")))
    with pytest.raises(ValueError, match="format 99"):
        clip_lightning.load(changed(checkpoint, tmp_path, lambda content: content["clip_lightning"].update(format=99)))
    whole = checkpoint[0].read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        clip_lightning.load(tmp_path / "torn.ckpt")
    with pytest.raises(ValueError, match="does not exist"):
        clip_lightning.load(tmp_path / "nowhere.ckpt")


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"text_encoder\.vocab_size is 299, but BPETokenizer has 300"):
        new_task(text_encoder=TextTransformer(context_length=24, vocab_size=299, width=16, depth=1, num_heads=2))


def test_a_copy_of_a_task_describes_itself_alike():
    task = new_task()
    assert spec_of(copy.deepcopy(task)) == spec_of(task)
