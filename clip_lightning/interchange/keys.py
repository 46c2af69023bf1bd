"""What the tensors of the paper's towers are called elsewhere; each table is read in both directions."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Layout:
    """Names and forms of the tensors in another library.

    Args:
        pairs: Beginnings or parts of names, ours and theirs; ``#`` stands for a number. Each name is put together of
            the pairs that fit it one after another, so that a layer's parts are said once.
        transposed: Our names of the projections that are stored as what a row of features is multiplied with from the
            right.
        split: Whether queries, keys and values of the transformers have a tensor each.
    """

    pairs: tuple[tuple[str, str], ...]
    transposed: tuple[str, ...]
    split: bool

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors under their names."""
        tensors = _split(tensors) if self.split else tensors
        named = {name: tensor.mT if name in self.transposed else tensor for name, tensor in tensors.items()}
        return {_renamed(name, self.pairs): tensor.contiguous() for name, tensor in named.items()}

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors under our names; a name that is in no table stays as it is."""
        back = [(theirs, ours) for ours, theirs in self.pairs]
        named = {_renamed(name, back): tensor for name, tensor in tensors.items()}
        # One that is no matrix cannot be turned, and is refused where the model's shapes are known.
        turned = {
            name: tensor.mT if name in self.transposed and tensor.ndim == 2 else tensor
            for name, tensor in named.items()
        }
        joined = _join(turned) if self.split else turned
        return {name: tensor.contiguous() for name, tensor in joined.items()}


def _renamed(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """A name with the first pair that is all of it, where ``#`` is any number and ``*`` the rest of the name."""
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\#", r"(\d+)").replace(r"\*", "(.*)")
        if found := re.fullmatch(pattern, name):
            groups = iter(found.groups())
            return re.sub(r"[#*]", lambda _: next(groups), new)  # noqa: B023
    return name


def _split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values in a tensor each."""
    parts: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        before, found, kind = name.partition("in_projection.")
        if found:
            chunks = zip(_PARTS, tensor.chunk(3), strict=True)
            parts |= {f"{before}{part}.{kind}": chunk for part, chunk in chunks}
        else:
            parts[name] = tensor
    return parts


def _join(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values in one tensor, where all three are there and fit each other."""
    joined = dict(tensors)
    for name in tensors:
        before, found, kind = name.partition("layers.")
        if not found or ".attention.query." not in kind:
            continue
        names = [before + found + kind.replace(".query.", f".{part}.") for part in _PARTS]
        shapes = {joined[part].shape if part in joined else None for part in names}
        if len(shapes) == 1 and shapes.isdisjoint({None, torch.Size()}):
            whole = torch.cat([joined.pop(part) for part in names])
            joined[before + found + kind.replace(".query.", ".in_projection.")] = whole
    return joined


def _layers(ours: str, theirs: str, parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of what is in every layer of a transformer."""
    return [(f"{ours}.layers.#.{mine}*", f"{theirs}.#.{other}*") for mine, other in parts]


_OPENAI_LAYER = (
    ("attention_norm.", "ln_1."),
    ("attention.in_projection.", "attn.in_proj_"),
    ("attention.out_projection.", "attn.out_proj."),
    ("mlp_norm.", "ln_2."),
    ("mlp.expand.", "mlp.c_fc."),
    ("mlp.contract.", "mlp.c_proj."),
)

_OPENAI_RESNET = (
    ("image_encoder.stem.conv#.*", "visual.conv#.*"),
    ("image_encoder.stem.norm#.*", "visual.bn#.*"),
    *(
        (f"image_encoder.stages.{stage}.#.{ours}*", f"visual.layer{stage + 1}.#.{theirs}*")
        for stage in range(4)
        for ours, theirs in (
            *((f"conv{number}.", f"conv{number}.") for number in (1, 2, 3)),
            *((f"norm{number}.", f"bn{number}.") for number in (1, 2, 3)),
            ("shortcut.conv.", "downsample.0."),
            ("shortcut.norm.", "downsample.1."),
        )
    ),
    ("image_encoder.attention_pool.position_embedding", "visual.attnpool.positional_embedding"),
    *(
        (f"image_encoder.attention_pool.{ours}.*", f"visual.attnpool.{theirs}.*")
        for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out_projection", "c_proj"))
    ),
)

OPENAI = Layout(
    pairs=(
        ("image_projection.weight", "visual.proj"),
        ("text_projection.weight", "text_projection"),
        ("image_encoder.patch_embedding.*", "visual.conv1.*"),
        ("image_encoder.class_token", "visual.class_embedding"),
        ("image_encoder.position_embedding", "visual.positional_embedding"),
        ("image_encoder.embedding_norm.*", "visual.ln_pre.*"),
        ("image_encoder.output_norm.*", "visual.ln_post.*"),
        *_layers("image_encoder", "visual.transformer.resblocks", _OPENAI_LAYER),
        ("text_encoder.token_embedding.*", "token_embedding.*"),
        ("text_encoder.position_embedding", "positional_embedding"),
        ("text_encoder.output_norm.*", "ln_final.*"),
        *_layers("text_encoder", "transformer.resblocks", _OPENAI_LAYER),
    ),
    transposed=("image_projection.weight", "text_projection.weight"),
    split=False,
)
"""OpenAI's names, for a model with a Vision Transformer; open_clip has the same.

Source: openai/CLIP, clip/model.py.
"""

OPENAI_RESNET = Layout((*_OPENAI_RESNET, *OPENAI.pairs), transposed=OPENAI.transposed, split=False)
"""OpenAI's names, for a model with a ResNet, whose first convolution is called as the other's patches are."""

_OPEN_CLIP_TIMM = (
    ("image_encoder.model.*", "visual.trunk.*"),
    ("image_projection.weight", "visual.head.proj.weight"),
    ("image_projection.expand.*", "visual.head.mlp.fc1.*"),
    ("image_projection.contract.*", "visual.head.mlp.fc2.*"),
)

OPEN_CLIP_TIMM = Layout((*_OPEN_CLIP_TIMM, *OPENAI.pairs), transposed=("text_projection.weight",), split=False)
"""open_clip's names, for a model whose image tower is timm's.

Source: open_clip, timm_model.py.
"""

_TRANSFORMERS_LAYER = (
    ("attention_norm.", "layer_norm1."),
    ("attention.query.", "self_attn.q_proj."),
    ("attention.key.", "self_attn.k_proj."),
    ("attention.value.", "self_attn.v_proj."),
    ("attention.out_projection.", "self_attn.out_proj."),
    ("mlp_norm.", "layer_norm2."),
    ("mlp.expand.", "mlp.fc1."),
    ("mlp.contract.", "mlp.fc2."),
)

TRANSFORMERS = Layout(
    pairs=(
        ("image_projection.weight", "visual_projection.weight"),
        ("image_encoder.patch_embedding.*", "vision_model.embeddings.patch_embedding.*"),
        ("image_encoder.class_token", "vision_model.embeddings.class_embedding"),
        ("image_encoder.position_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("image_encoder.embedding_norm.*", "vision_model.pre_layrnorm.*"),
        ("image_encoder.output_norm.*", "vision_model.post_layernorm.*"),
        *_layers("image_encoder", "vision_model.encoder.layers", _TRANSFORMERS_LAYER),
        ("text_encoder.token_embedding.*", "text_model.embeddings.token_embedding.*"),
        ("text_encoder.position_embedding", "text_model.embeddings.position_embedding.weight"),
        ("text_encoder.output_norm.*", "text_model.final_layer_norm.*"),
        *_layers("text_encoder", "text_model.encoder.layers", _TRANSFORMERS_LAYER),
    ),
    transposed=(),
    split=True,
)
"""The names of the transformers library, whose projections lie as ours do.

Source: transformers, models/clip/modeling_clip.py.
"""
