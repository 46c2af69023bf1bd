"""Files with weights in OpenAI's layout, which open_clip has too: archives, plain state dicts, open_clip's training."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clip_lightning.interchange.archive import Content
from clip_lightning.interchange.foreign import Foreign
from clip_lightning.interchange.keys import OPENAI, OPENAI_RESNET, Layout

ARCHIVE = "OpenAI's archive"
"""Format of the weights that OpenAI released."""

_SIZES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives hold beside the weights, and no other library does (openai/CLIP, clip/model.py)."""

_COMPILED = "_orig_mod."
"""What ``torch.compile`` puts before the names of what is in a module."""

# An archive does not tell a causal mask, which OpenAI's code keeps as an attribute, from a weight.


def read_openai(content: Content, path: str) -> Foreign:
    """Takes weights in OpenAI's layout.

    Args:
        content: A file.
        path: Where it is, for messages.

    Returns:
        The weights; with QuickGELU if they are as OpenAI released them, and with an unknown activation otherwise.

    Raises:
        ValueError: If they have another layout.
    """
    tensors = state_dict_of(content.data)
    if any(name.startswith("visual.trunk.") for name in tensors):
        raise ValueError(
            f"{path!r} holds weights of open_clip whose image tower is timm's, and does not say which model of timm it "
            "is; put open_clip_config.json beside it"
        )
    if "visual.conv1.weight" not in tensors or "token_embedding.weight" not in tensors:
        raise ValueError(
            f"{path!r} is in no known layout (clip_lightning's, OpenAI's, open_clip's); name the folder if its "
            f"configuration lies beside it. Its first tensors: {', '.join(list(tensors)[:10]) or 'none'}"
        )
    is_openais = all(name in tensors for name in _SIZES)
    weights = {
        name: tensor for name, tensor in tensors.items() if name not in _SIZES and not name.endswith("attn_mask")
    }
    name = ARCHIVE if content.container == "torchscript" else "state dict in OpenAI's layout"
    return Foreign(path, name, layout_of(weights).to_ours(weights), quick_gelu=True if is_openais else None)


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """OpenAI's names, of the image tower that these tensors are of."""
    return OPENAI_RESNET if "visual.layer1.0.conv1.weight" in tensors else OPENAI


def state_dict_of(data: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in what was saved: alone or under "state_dict", of parallel or compiled modules, with a text tower.

    Args:
        data: What a file holds.

    Returns:
        Tensors with OpenAI's names, if they are open_clip's or OpenAI's.
    """
    found = data["state_dict"] if isinstance(data.get("state_dict"), Mapping) else data
    tensors = {str(name).replace(_COMPILED, ""): value for name, value in found.items() if isinstance(value, Tensor)}
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    if "text.token_embedding.weight" in tensors:  # open_clip's models whose text tower is a module of its own
        tensors = {name.removeprefix("text."): value for name, value in tensors.items()}
    return tensors
