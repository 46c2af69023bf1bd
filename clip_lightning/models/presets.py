"""The paper's nine models, each as a function that builds it with fresh weights.

All of them have the activation of OpenAI's released weights, ``QuickGELU``, wherever a transformer has one: the text
tower of each model, and the image tower of the Vision Transformers. Other libraries' models of the same names may have
the exact GELU, which gives other features from the same weights.

Operations count a multiply-add as 2. Those of the ResNets are the published ones; here they are fewer by
``positions * channels * (2 * channels + 2 * embed_dim + 4 * (positions + 1))``, since the attention pool computes the
one output that is used, and OpenAI's code one for each position.

The optimiser settings that belong to each are in ``configs/model/``, in a file of the same name.

Source: Radford et al. 2021 (arXiv 2103.00020), tables 18-20; QuickGELU: OpenAI's released code; parameters and
operations: ``docs/model_profile.csv`` of open_clip.
"""

from collections.abc import Sequence

from clip_lightning.models.clip import CLIP
from clip_lightning.models.modified_resnet import ModifiedResNet
from clip_lightning.models.text_transformer import TextTransformer
from clip_lightning.models.vit import VisionTransformer

_CONTEXT_LENGTH, _VOCAB_SIZE, _TEXT_DEPTH = 77, 49408, 12
_HEAD_WIDTH = 64


def rn50() -> CLIP:
    """RN50: 102.0 million parameters, 12.2 GFLOPs an image of 224 pixels."""
    return _resnet((3, 4, 6, 3), image_size=224, width=64, embed_dim=1024, text_width=512)


def rn101() -> CLIP:
    """RN101: 119.7 million parameters, 19.5 GFLOPs an image of 224 pixels."""
    return _resnet((3, 4, 23, 3), image_size=224, width=64, embed_dim=512, text_width=512)


def rn50x4() -> CLIP:
    """RN50x4: 178.3 million parameters, 42.6 GFLOPs an image of 288 pixels."""
    return _resnet((4, 6, 10, 6), image_size=288, width=80, embed_dim=640, text_width=640)


def rn50x16() -> CLIP:
    """RN50x16: 291.0 million parameters, 149.4 GFLOPs an image of 384 pixels."""
    return _resnet((6, 8, 18, 8), image_size=384, width=96, embed_dim=768, text_width=768)


def rn50x64() -> CLIP:
    """RN50x64: 623.3 million parameters, 529.1 GFLOPs an image of 448 pixels."""
    return _resnet((3, 15, 36, 10), image_size=448, width=128, embed_dim=1024, text_width=1024)


def vit_b_32() -> CLIP:
    """ViT-B/32: 151.3 million parameters, 8.8 GFLOPs an image of 224 pixels."""
    return _vit(image_size=224, patch_size=32, width=768, depth=12, embed_dim=512, text_width=512)


def vit_b_16() -> CLIP:
    """ViT-B/16: 149.6 million parameters, 35.1 GFLOPs an image of 224 pixels."""
    return _vit(image_size=224, patch_size=16, width=768, depth=12, embed_dim=512, text_width=512)


def vit_l_14() -> CLIP:
    """ViT-L/14: 427.6 million parameters, 162.0 GFLOPs an image of 224 pixels."""
    return _vit(image_size=224, patch_size=14, width=1024, depth=24, embed_dim=768, text_width=768)


def vit_l_14_336() -> CLIP:
    """ViT-L/14@336px: 427.9 million parameters, 381.9 GFLOPs an image of 336 pixels.

    The paper trained it for one epoch from the weights of ``vit_l_14``, with interpolated position embeddings.
    """
    return _vit(image_size=336, patch_size=14, width=1024, depth=24, embed_dim=768, text_width=768)


def _resnet(blocks: Sequence[int], *, image_size: int, width: int, embed_dim: int, text_width: int) -> CLIP:
    """A model whose image tower projects into the shared space by its attention pool."""
    image_encoder = ModifiedResNet(image_size, blocks, output_dim=embed_dim, width=width)
    return CLIP(image_encoder, _text_encoder(text_width), embed_dim, image_projection=False)


def _vit(*, image_size: int, patch_size: int, width: int, depth: int, embed_dim: int, text_width: int) -> CLIP:
    image_encoder = VisionTransformer(image_size, patch_size, width, depth, width // _HEAD_WIDTH, quick_gelu=True)
    return CLIP(image_encoder, _text_encoder(text_width), embed_dim)


def _text_encoder(width: int) -> TextTransformer:
    return TextTransformer(
        _CONTEXT_LENGTH, _VOCAB_SIZE, width, _TEXT_DEPTH, num_heads=width // _HEAD_WIDTH, quick_gelu=True
    )
