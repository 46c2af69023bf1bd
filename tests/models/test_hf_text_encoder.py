"""Text models of transformers as towers, against what transformers returns; nothing is downloaded."""

import pytest
import torch
import transformers
from open_clip.hf_model import ClsPooler, MeanPooler
from transformers.modeling_outputs import BaseModelOutput

from clip_lightning.models import CLIP, HFTextEncoder
from clip_lightning.spec import build, spec_of

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONFIGS = {
    "bert": {"model_type": "bert", "vocab_size": 30, "max_position_embeddings": 12, **SIZES},
    "roberta": {"model_type": "roberta", "vocab_size": 30, "max_position_embeddings": 14, "pad_token_id": 1, **SIZES},
    "distilbert": {"model_type": "distilbert", "vocab_size": 30, "max_position_embeddings": 12, "dim": 16,
                   "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "gpt2": {"model_type": "gpt2", "vocab_size": 30, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2},
    "t5": {"model_type": "t5", "vocab_size": 30, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2,
           "num_heads": 2},
}  # fmt: skip


VIT = {
    "model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip


def tower_of(kind, pooling="mean", **changes):
    return HFTextEncoder(
        **{"context_length": 10, "vocab_size": 30, "config": CONFIGS[kind], "pooling": pooling} | changes
    )


def texts():
    """Three texts; what follows their ends is padding in none of the models."""
    return torch.randint(3, 30, (3, 10)), torch.tensor([4, 10, 7])


def hidden_alone(tower, text, length):
    """Tokens after transformers' last layer, each text by itself, without any padding."""
    return [tower.model(input_ids=row[None, :end]).last_hidden_state[0] for row, end in zip(text, length, strict=True)]


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_texts_in_a_batch_are_as_transformers_has_them_alone(kind):
    text, length = texts()
    expected = {
        "mean": lambda hidden: hidden.mean(dim=0),
        "max": lambda hidden: hidden.amax(dim=0),
        "cls": lambda hidden: hidden[0],
        "last": lambda hidden: hidden[-1],
    }
    tower = tower_of(kind).eval()
    hidden = hidden_alone(tower, text, length)
    for pooling, of in expected.items():
        tower.pooling = pooling
        torch.testing.assert_close(tower(text, length), torch.stack([of(row) for row in hidden]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_poolers_are_open_clips():
    text, length = texts()
    tower = tower_of("bert").eval()
    mask = torch.arange(10) < length[:, None]
    output = tower.model(input_ids=text, attention_mask=mask.long())
    torch.testing.assert_close(tower(text, length), MeanPooler()(output, mask))
    tower.pooling = "cls"
    plain = BaseModelOutput(last_hidden_state=output.last_hidden_state)
    torch.testing.assert_close(tower(text, length), ClsPooler()(plain, mask))


@torch.no_grad()
def test_the_models_own_pooling_layer_is_transformers():
    text, length = texts()
    tower = tower_of("bert", "pooler").eval()
    mask = (torch.arange(10) < length[:, None]).long()
    torch.testing.assert_close(tower(text, length), tower.model(text, mask).pooler_output)
    assert tower_of("bert").model.pooler is None, "a layer that is not used would wait for gradients"
    with pytest.raises(ValueError, match="gpt2 model has no pooling layer; use pooling"):
        tower_of("gpt2", "pooler")


@pytest.mark.parametrize("pretrained", [True, False])
@torch.no_grad()
def test_a_folder_gives_the_weights_and_a_checkpoint_needs_none(pretrained, tmp_path):
    model = transformers.BertModel(transformers.BertConfig(**{k: v for k, v in CONFIGS["bert"].items() if k[0] != "m"}))
    model.save_pretrained(tmp_path)
    tower = HFTextEncoder(10, 30, name=str(tmp_path), pretrained=pretrained, pooling="cls").eval()
    text, length = texts()
    expected = model.eval()(text, (torch.arange(10) < length[:, None]).long()).last_hidden_state[:, 0]
    assert torch.allclose(tower(text, length), expected, atol=1e-5) is pretrained
    described = spec_of(tower)
    assert str(tmp_path) not in str(described)
    rebuilt = build(described).eval()
    rebuilt.load_state_dict(tower.state_dict())
    assert torch.equal(rebuilt(text, length), tower(text, length))
    assert spec_of(rebuilt) == described


def test_a_description_cannot_choose_what_runs():
    unsafe = {"auto_map": {"AutoModel": "evil--evil.Evil"}, "_attn_implementation": "evil/kernel", "use_kernels": True}
    tower = tower_of("bert", config={**CONFIGS["bert"], **unsafe})
    assert "evil" not in str(spec_of(tower)) + str(tower.model.config)
    assert type(tower.model) is transformers.BertModel


@torch.no_grad()
def test_lengths_are_read_off_the_padding():
    model = CLIP(image_tower(), tower_of("roberta"), embed_dim=4).eval()
    text, length = texts()
    text[torch.arange(10) >= length[:, None]] = 1
    torch.testing.assert_close(model.encode_text(text), model.encode_text(text, length))
    with pytest.raises(ValueError, match="names no padding"):
        tower_of("gpt2").lengths(text)


def image_tower():
    from clip_lightning.models import VisionTransformer

    return VisionTransformer(16, 8, 8, 1, 1)


def test_blocks_are_the_layers():
    for kind in CONFIGS:
        assert len(tower_of(kind).blocks()) == 2, kind


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"context_length": 13}, "context_length 13 is more than the text model's 12"),
        ({"vocab_size": 31}, "vocab_size 31 is more than the 30 ids"),
        ({"config": {"model_type": "brt"}}, "no text model this config: .*brt"),
        ({"config": None}, "either name"),
        ({"config": None, "name": "/nowhere/at/all"}, "no text model '/nowhere/at/all'"),
        ({"pretrained": True}, "either name"),
        ({"pooling": "foo"}, "pooling 'foo' is none of 'mean', 'max', 'cls', 'pooler', 'last'"),
        ({"context_length": 0}, "context_length 0 is not above 0"),
        ({"config": VIT}, "a vit model takes no texts"),
        ({"config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1]}}, "no texts"),
    ],
)
def test_what_does_not_fit_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        tower_of("bert", **arguments)


def test_places_behind_the_padding_are_counted_as_roberta_does():
    with pytest.raises(ValueError, match="context_length 13 is more than the text model's 12"):
        tower_of("roberta", context_length=13)
    text = torch.randint(3, 30, (1, 12))
    assert tower_of("roberta", context_length=12)(text, torch.tensor([12])).shape == (1, 16)
