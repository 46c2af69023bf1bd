"""The same model in open_clip, an independent implementation, with the same random weights."""

import re
from collections import OrderedDict

import open_clip
import torch

from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer, VisionTransformer

CONTEXT_LENGTH, VOCAB_SIZE, EMBED_DIM = 12, 50, 24
TEXT = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "width": 32, "heads": 4, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 48, "head_width": 16, "layers": 3, "mlp_ratio": 3.0}
RESNET = {"image_size": 64, "layers": (1, 2, 1, 1), "width": 8, "head_width": 64}

# Patterns of our names, and open_clip's names for the same tensors.
RENAMES = OrderedDict(
    {
        r"^logit_scale$": r"logit_scale",
        r"^image_projection\.weight$": r"visual.proj",
        r"^text_projection\.weight$": r"text_projection",
        r"^text_encoder\.token_embedding": r"token_embedding",
        r"^text_encoder\.position_embedding": r"positional_embedding",
        r"^text_encoder\.output_norm": r"ln_final",
        r"^text_encoder\.layers": r"transformer.resblocks",
        r"^image_encoder\.patch_embedding": r"visual.conv1",
        r"^image_encoder\.class_token": r"visual.class_embedding",
        r"^image_encoder\.position_embedding": r"visual.positional_embedding",
        r"^image_encoder\.embedding_norm": r"visual.ln_pre",
        r"^image_encoder\.output_norm": r"visual.ln_post",
        r"^image_encoder\.layers": r"visual.transformer.resblocks",
        r"\.attention_norm\.": r".ln_1.",
        r"\.mlp_norm\.": r".ln_2.",
        r"\.attention\.in_projection\.": r".attn.in_proj_",
        r"\.attention\.out_projection\.": r".attn.out_proj.",
        r"\.mlp\.expand\.": r".mlp.c_fc.",
        r"\.mlp\.contract\.": r".mlp.c_proj.",
        r"^image_encoder\.stem\.": r"visual.",
        r"^image_encoder\.stages\.(\d+)": lambda match: f"visual.layer{int(match[1]) + 1}",
        r"\.shortcut\.conv\.": r".downsample.0.",
        r"\.shortcut\.norm\.": r".downsample.1.",
        r"\.norm(\d)\.": r".bn\1.",
        r"^image_encoder\.attention_pool\.position_embedding": r"visual.attnpool.positional_embedding",
        r"^image_encoder\.attention_pool\.(q|k|v)[a-z]+\.": r"visual.attnpool.\1_proj.",
        r"^image_encoder\.attention_pool\.out_projection\.": r"visual.attnpool.c_proj.",
    }
)


def peer_name(name: str) -> str:
    for pattern, replacement in RENAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def to_peer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under open_clip's names; it keeps its projections transposed."""
    return {
        peer_name(name): tensor.mT if name in ("image_projection.weight", "text_projection.weight") else tensor
        for name, tensor in tensors.items()
    }


def models(tower: str, quick_gelu: bool = False):
    """Our model and open_clip's, each with its own fresh weights."""
    text = TextTransformer(CONTEXT_LENGTH, VOCAB_SIZE, width=32, depth=2, num_heads=4, quick_gelu=quick_gelu)
    if tower == "vit":
        image = VisionTransformer(32, 8, width=48, depth=3, num_heads=3, mlp_ratio=3.0, quick_gelu=quick_gelu)
    else:
        image = ModifiedResNet(64, (1, 2, 1, 1), output_dim=EMBED_DIM, width=8)
    ours = CLIP(image, text, embed_dim=EMBED_DIM, image_projection=tower == "vit")
    theirs = open_clip.CLIP(EMBED_DIM, VIT if tower == "vit" else RESNET, TEXT, quick_gelu=quick_gelu)
    return ours, theirs


def randomize(model: torch.nn.Module) -> None:
    """Gives gains, biases and running statistics values too, which a fresh model has at 0 or 1."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.02, 0.1)  # small, so that activations do not shrink from block to block
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor), alpha=0.3)


def pairs(size: int, dtype: torch.dtype = torch.float32):
    """Normalised pixels and texts of several lengths that end at the largest id."""
    image = torch.randn(4, 3, size, size, dtype=dtype)
    text = torch.randint(1, VOCAB_SIZE - 1, (4, CONTEXT_LENGTH))
    for row, length in enumerate((3, CONTEXT_LENGTH, 7, 2)):
        text[row, length - 1] = VOCAB_SIZE - 1
        text[row, length:] = 0
    return image, text
