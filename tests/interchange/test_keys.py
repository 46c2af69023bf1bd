"""The names of all nine models of the paper are open_clip's and transformers'."""

import re

import open_clip
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from clip_lightning.interchange.foreign import Foreign, build_model
from clip_lightning.interchange.keys import OPENAI, OPENAI_RESNET, TRANSFORMERS
from clip_lightning.models.recognition import describe

NAMES = ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"]


def of_open_clip(name):
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(name))


@pytest.mark.parametrize("name", NAMES)
def test_all_nine_are_recognised_by_their_tensors(name):
    theirs = of_open_clip(name).state_dict()
    layout = OPENAI_RESNET if name.startswith("RN") else OPENAI
    ours = layout.to_ours(theirs)
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    called = re.sub(r"-(\d+)(-336)?$", r"/\1", name)
    assert describe(ours).startswith(f"a {called} of {size} pixels with a text tower of 12 layers of")
    # Nothing is computed: the model itself is on the meta device too.
    with torch.device("meta"):
        model, said = build_model(
            Foreign(name, "test", ours, True), image_size=None, context_length=None, quick_gelu=None
        )
    assert said == []
    back = layout.to_theirs(model.state_dict())
    shapes = ({name: tensor.shape for name, tensor in tensors.items()} for tensors in (back, theirs))
    assert next(shapes) == next(shapes)
    heads = open_clip.get_model_config(name)["text_cfg"]["heads"]
    assert model.text_encoder.layers[0].attention.num_heads == heads


def test_transformers_names_are_those_of_its_default_model():
    with torch.device("meta"):
        theirs = CLIPModel(CLIPConfig()).state_dict()
    ours = TRANSFORMERS.to_ours({name: tensor for name, tensor in theirs.items() if not name.endswith("position_ids")})
    assert describe(ours).startswith("a ViT-B/32 of 224 pixels with a text tower of 12 layers of 512, 77 tokens")
    back = TRANSFORMERS.to_theirs(ours)
    assert back.keys() == {name for name in theirs if not name.endswith("position_ids")}


def test_unknown_names_stay():
    strange = {"visual.attn_pool.query": torch.zeros(2), "vision_model.head.weight": torch.zeros(2)}
    for layout in (OPENAI, OPENAI_RESNET, TRANSFORMERS):
        assert layout.to_ours(strange).keys() == strange.keys()


def test_queries_without_keys_are_not_joined():
    half = {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)}
    assert list(TRANSFORMERS.to_ours(half)) == ["text_encoder.layers.0.attention.query.weight"]
