"""The part of a model's description that other libraries have a place for."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from clip_lightning.interchange.parts import Parts
from clip_lightning.models import ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.models.layers import QuickGELU
from clip_lightning.models.recognition import resnet_sizes, text_sizes, vit_sizes
from clip_lightning.text import CLIPTokenizer


@dataclass(frozen=True)
class PaperText:
    """The paper's text tower, with CLIP's vocabulary.

    Args:
        sizes: As the tower's constructor takes them.
        heads: Attention heads.
        quick_gelu: Whether the activation is ``QuickGELU``.
        tokenizer: CLIP's.
    """

    sizes: dict[str, Any]
    heads: int
    quick_gelu: bool
    tokenizer: CLIPTokenizer


@dataclass(frozen=True)
class PaperImage:
    """One of the paper's image towers.

    Args:
        sizes: As the tower's constructor takes them.
        heads: Attention heads of the tower, or of its pool.
    """

    sizes: dict[str, Any]
    heads: int

    @property
    def is_vit(self) -> bool:
        """Whether it is a Vision Transformer."""
        return "patch_size" in self.sizes


def paper_text(parts: Parts, target: str) -> PaperText:
    """What a model's text tower is, if another library can have it.

    Args:
        parts: The model.
        target: The library, for the message.

    Returns:
        The description.

    Raises:
        ValueError: If it is a tower or a vocabulary that the library has no place for.
    """
    # Exactly these classes: what derives from them may compute something else.
    text = parts.model.text_encoder
    if text is None:
        raise refusal("missing text encoder", target)
    if type(text) is not TextTransformer:
        raise refusal(f"text encoder {type(text).__name__}", target)
    if type(parts.tokenizer) is not CLIPTokenizer:
        raise refusal(f"tokeniser {type(parts.tokenizer).__name__}", target)
    sizes = text_sizes(parts.model.state_dict())
    assert sizes is not None
    return PaperText(sizes, _heads(text), _has_quick_gelu(text), parts.tokenizer)


def paper_image(parts: Parts, text: PaperText, target: str) -> PaperImage:
    """What a model's image tower is, if another library can have it.

    Args:
        parts: The model.
        text: Its text tower, which has the same activation in other libraries.
        target: The library, for the message.

    Returns:
        The description.

    Raises:
        ValueError: If it is a tower that the library has no place for.
    """
    image, tensors = parts.model.image_encoder, parts.model.state_dict()
    is_projected = "image_projection.weight" in tensors
    if type(image) is VisionTransformer:
        sizes = vit_sizes(tensors)
        if sizes is None or not is_projected or _has_quick_gelu(image) != text.quick_gelu:
            raise refusal("projection or pair of activations", target)
        return PaperImage(sizes, _heads(image))
    if type(image) is not ModifiedResNet:
        raise refusal(f"image encoder {type(image).__name__}", target)
    sizes = resnet_sizes(tensors)
    if sizes is None or parts.model.image_projection is not None or len(sizes["blocks"]) != 4:
        raise refusal("ResNet of another number of stages than four, or a projection behind it", target)
    return PaperImage(sizes, image.attention_pool.num_heads)


def _heads(tower: Any) -> int:
    return int(tower.layers[0].attention.num_heads)


def _has_quick_gelu(tower: nn.Module) -> bool:
    return any(isinstance(module, QuickGELU) for module in tower.modules())


def refusal(what: str, target: str) -> ValueError:
    """Says that a library has no place for a part.

    Args:
        what: The part.
        target: The library.
    """
    return ValueError(f"{target} has no place for this model's {what}; safetensors, onnx and torch_export have")
