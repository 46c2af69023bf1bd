"""Any image model of the timm library as a tower."""

import difflib
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_lightning.models.base import ImageEncoder, Pixels


class TimmImageEncoder(ImageEncoder):
    """An image model of timm without its classifier, with the pooling and the normalisation that it was made for.

    Args:
        name: Name in ``timm.list_models()``, with or without the tag of its weights.
        pretrained: Whether it starts from timm's weights, which are downloaded. A checkpoint brings its own weights, so
            a model that is built again from its specification starts without them.
        image_size: Side of the square input, in pixels; that of timm's weights by default.

    Raises:
        ValueError: If timm has no such model, or the model does not take images of this size.
    """

    def __init__(self, name: str, pretrained: bool = False, image_size: int | None = None) -> None:
        import timm  # costs a second, and no other tower needs it

        settings = _settings(name)
        resized = {"img_size": image_size} if image_size and settings.fixed_input_size else {}
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, **resized)
        data = timm.data.resolve_model_data_config(model)
        size = image_size or data["input_size"][-1]
        super().__init__(image_size=size, output_dim=_output_dim(model, name, size), pixels=_pixels(data, size))
        self.model = model
        self._init_args["pretrained"] = False

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """What timm's classifier would see."""
        # Convolutions keep this layout, in which they are faster, as in ``ModifiedResNet``.
        pooled: Tensor = self.model(image.contiguous(memory_format=torch.channels_last))
        return pooled


def _settings(name: str) -> Any:
    """Timm's description of a model's weights.

    Raises:
        ValueError: If timm has no such model or no such weights, with the nearest names.
    """
    import timm

    base, _, tag = name.partition(".")
    known = timm.list_models()
    if base in known and (not tag or timm.is_model_pretrained(name)):
        return timm.get_pretrained_cfg(name)
    nearest = difflib.get_close_matches(name, known + timm.list_pretrained(), n=5)
    raise ValueError(f"timm has no model {name!r}; nearest: {', '.join(nearest) or 'none, see timm.list_models()'}")


def _output_dim(model: nn.Module, name: str, size: int) -> int:
    """Channels that the model returns, measured, because timm has no attribute that holds for all its models.

    Raises:
        ValueError: If it fails on images of this size.
    """
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(f"timm's {name!r} does not take images of {size} pixels, give another size: {error}") from None
    model.train()
    assert output.ndim == 2, f"timm's {name!r} returned {tuple(output.shape)} in place of one vector an image"
    return int(output.shape[1])


def _pixels(data: dict[str, Any], size: int) -> Pixels:
    """What the model's weights expect of images."""
    resize: Literal["shortest", "squash"] = "squash" if data["crop_mode"] == "squash" else "shortest"
    return Pixels(size, tuple(data["mean"]), tuple(data["std"]), data["interpolation"], resize)
