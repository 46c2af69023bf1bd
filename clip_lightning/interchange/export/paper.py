"""The part of a model's description that other libraries have a place for."""

from dataclasses import dataclass
from typing import Any

from clip_lightning.interchange.parts import Parts
from clip_lightning.models import ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.models.layers import QuickGELU
from clip_lightning.models.recognition import resnet_sizes, text_sizes, vit_sizes
from clip_lightning.text import CLIPTokenizer


@dataclass(frozen=True)
class PaperModel:
    """A model of the paper's architecture, which OpenAI, open_clip and transformers share.

    Args:
        image: Sizes of the image tower, as its constructor takes them.
        text: Sizes of the text tower, likewise.
        image_heads: Attention heads of the image tower, or of its pool.
        text_heads: Attention heads of the text tower.
        quick_gelu: Whether the activation is ``QuickGELU``.
        tokenizer: CLIP's.
    """

    image: dict[str, Any]
    text: dict[str, Any]
    image_heads: int
    text_heads: int
    quick_gelu: bool
    tokenizer: CLIPTokenizer

    @property
    def is_vit(self) -> bool:
        """Whether the image tower is a Vision Transformer."""
        return "patch_size" in self.image


def paper_model(parts: Parts, target: str) -> PaperModel:
    """What a model is, if another library can have it.

    Args:
        parts: The model.
        target: The library, for the message.

    Returns:
        The description.

    Raises:
        ValueError: If the model has a tower or a vocabulary that the library has no place for.
    """
    model, image, text = parts.model, parts.model.image_encoder, parts.model.text_encoder
    # Exactly these classes: what derives from them may compute something else.
    if type(image) not in (VisionTransformer, ModifiedResNet):
        raise _refusal(f"image encoder {type(image).__name__}", target)
    if type(text) is not TextTransformer:
        raise _refusal(f"text encoder {type(text).__name__}", target)
    if type(parts.tokenizer) is not CLIPTokenizer:
        raise _refusal(f"tokeniser {type(parts.tokenizer).__name__}", target)
    tensors = model.state_dict()
    sizes, words = vit_sizes(tensors) or resnet_sizes(tensors), text_sizes(tensors)
    quick = [
        any(isinstance(module, QuickGELU) for module in tower.modules())
        for tower in ((image, text) if isinstance(image, VisionTransformer) else (text,))
    ]
    is_linear = "image_projection.weight" in tensors if isinstance(image, VisionTransformer) else True
    if sizes is None or words is None or not is_linear or len(set(quick)) > 1:
        raise _refusal("projection or pair of activations", target)
    if isinstance(image, ModifiedResNet) and ("image_projection.weight" in tensors or len(sizes["blocks"]) != 4):
        raise _refusal("ResNet of another number of stages than four, or a projection behind it", target)
    heads = image.attention_pool.num_heads if isinstance(image, ModifiedResNet) else _heads(image)
    return PaperModel(sizes, words, heads, _heads(text), quick[0], parts.tokenizer)


def _heads(tower: Any) -> int:
    return int(tower.layers[0].attention.num_heads)


def _refusal(what: str, target: str) -> ValueError:
    return ValueError(f"{target} has no place for this model's {what}; safetensors, onnx and torch_export have")
