"""Any image model of the timm library as a tower."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_lightning.models.base import ImageEncoder, Pixels
from clip_lightning.models.layers import check_positive, check_probabilities
from clip_lightning.models.modified_resnet import AttentionPool
from clip_lightning.offline import offline_if_unreachable
from clip_lightning.refusal import first_line

Pooling = Literal["own", "average", "cls", "attention"]


class TimmImageEncoder(ImageEncoder):
    """An image model of timm, as a rule without its classifier, with the normalisation that it was made for.

    Args:
        name: Name in ``timm.list_models()``, with or without the tag of its weights.
        pretrained: Whether it starts from timm's weights, which are downloaded. A checkpoint brings its own weights, so
            a model that is built again from its specification starts without them.
        image_size: Side of the square input, in pixels; that of timm's weights by default.
        pooling: How positions become one vector: as the model's own classifier would see it ("own"), by their mean
            without class and register tokens ("average"), by the class token ("cls"), or by an attention pool as in the
            paper's ResNets ("attention").
        drop_path: Probability, 0-1, that the last layer adds nothing to a sample; the model's own by default.
        patch_dropout: Share of the patches, 0-1, that each image loses in training; for Vision Transformers.
        pixels: Size and normalisation of the input, if not those that the model was made for.
        projection_dim: Channels of the output where the model keeps its last layer, the classifier, as a projection of
            its own, so that ``CLIP`` needs none; left out by default.

    Raises:
        ValueError: If a value is out of its range, timm has no such model, or the model does not take images of this
            size, or cannot be pooled, projected or thinned out in this way.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        image_size: int | None = None,
        pooling: Pooling = "own",
        drop_path: float | None = None,
        patch_dropout: float = 0.0,
        pixels: Pixels | None = None,
        projection_dim: int | None = None,
    ) -> None:
        _check_values(pooling, drop_path, patch_dropout, projection_dim)
        import timm  # costs a second, and no other tower needs it

        settings = _settings(name)
        options: dict[str, Any] = {"num_classes": projection_dim or 0}
        options |= {"img_size": image_size} if image_size and settings.fixed_input_size else {}
        options |= {} if drop_path is None else {"drop_path_rate": drop_path}
        options |= {"patch_drop_rate": patch_dropout} if patch_dropout else {}
        model: Any = _create_pretrained(name, options) if pretrained else _create(name, False, options)
        data = timm.data.resolve_model_data_config(model)
        size = image_size or data["input_size"][-1]
        _check_patch(model, name, size)
        if pooling != "own":
            model.reset_classifier(0, "")
        shape = _output_shape(model, name, size)
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        channels = shape[-1] if len(shape) != 4 or channels_last else shape[1]
        super().__init__(image_size=size, output_dim=channels, pixels=pixels or _pixels(data, size))
        self.model = model
        self.pooling = pooling
        self.channels_last = channels_last
        self.prefix_tokens = int(getattr(model, "num_prefix_tokens", 0)) if len(shape) == 3 else 0
        _check_pooling(name, pooling, shape, self.prefix_tokens)
        if pooling == "attention":
            if patch_dropout:
                raise ValueError(
                    f"pooling 'attention' needs all patches, but patch_dropout is {patch_dropout}; use 'cls'"
                )
            positions = _tokens(torch.empty(shape, device="meta"), channels_last).shape[1] - self.prefix_tokens
            self.attention_pool = AttentionPool(positions, channels, _num_heads(channels), channels)
        self._block_names = tuple(_block_names(model))
        self._init_args["pretrained"] = False

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """The model's output, pooled."""
        # Convolutions keep this layout, in which they are faster, as in ``ModifiedResNet``.
        output: Tensor = self.model(image.contiguous(memory_format=torch.channels_last))
        if self.pooling == "own":
            return output
        tokens = _tokens(output, self.channels_last)
        if self.pooling == "cls":
            return tokens[:, 0]
        patches = tokens[:, self.prefix_tokens :]
        if self.pooling == "average":
            return patches.mean(dim=1)
        pooled: Tensor = self.attention_pool(patches.mT[..., None])
        return pooled

    def blocks(self) -> Sequence[nn.Module]:
        """The layers as timm divides the model for learning rates that differ by layer, or else its stages.

        Raises:
            ValueError: If timm does not divide the model at all.
        """
        if not self._block_names:
            raise ValueError(
                f"timm does not divide {self._init_args['name']!r} into layers, so none can be treated apart; leave "
                "locking of a part, layer decay, gradient checkpointing and LoRA out, or take another model"
            )
        return tuple(self.model.get_submodule(name) for name in self._block_names)


def own_pooling(name: str) -> str | None:
    """What timm calls the pooling that a model has of its own; None if it does not tell.

    Args:
        name: As ``TimmImageEncoder`` takes it.

    Raises:
        ValueError: If timm has no such model, with the nearest names.
    """
    from timm.layers import SelectAdaptivePool2d

    _settings(name)
    with torch.device("meta"):  # Nothing of it is used but its structure.
        model = _create(name, False, {"num_classes": 0})
    pool = getattr(model, "global_pool", None)
    pools = (module.pool_type for module in model.modules() if isinstance(module, SelectAdaptivePool2d))
    return pool if isinstance(pool, str) else next(pools, None)


def _check_values(pooling: str, drop_path: float | None, patch_dropout: float, projection_dim: int | None) -> None:
    """Refuses what no model of timm has a meaning for.

    Raises:
        ValueError: If a value is out of its range, or two do not go together.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling {pooling!r} is none of {', '.join(map(repr, get_args(Pooling)))}")
    check_probabilities(drop_path=drop_path or 0.0, patch_dropout=patch_dropout)
    if projection_dim is None:
        return
    check_positive(projection_dim=projection_dim)
    if pooling != "own":
        raise ValueError(
            f"projection_dim {projection_dim} asks for the model's own last layer, which stands behind its own "
            f"pooling; leave pooling {pooling!r} or projection_dim out"
        )


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


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    """The model, without its classifier where none is asked for.

    Raises:
        ValueError: If it does not know one of the options.
    """
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (AssertionError, TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items() if (key, value) != ("num_classes", 0))
        raise ValueError(f"timm's {name!r} cannot be made with {given or 'its defaults'}: {error}") from None


def _create_pretrained(name: str, options: dict[str, Any]) -> Any:
    """The model with timm's weights.

    Raises:
        ValueError: If it does not know one of the options, or its weights cannot be had.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with offline_if_unreachable() as reason:
            return _create(name, True, options)
    except (OSError, RuntimeError, HfHubHTTPError) as error:
        raise ValueError(
            f"the weights of timm's {name!r} are not on this machine and cannot be fetched: "
            f"{reason or first_line(error)}"
        ) from None


def _check_patch(model: nn.Module, name: str, size: int) -> None:
    """Refuses a size that would leave a part of a patch.

    Raises:
        ValueError: With both numbers.
    """
    from timm.layers import PatchEmbed

    embed = getattr(model, "patch_embed", None)
    if not isinstance(embed, PatchEmbed) or embed.dynamic_img_pad:
        return
    patch = embed.patch_size[0]
    if size % patch:
        raise ValueError(f"patch_size {patch} of timm's {name!r} does not divide image_size {size}; change the latter")


def _output_shape(model: nn.Module, name: str, size: int) -> torch.Size:
    """Shape of what the model returns, measured, because timm has no attribute that holds for all its models.

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
    shape: torch.Size = output.shape
    return shape


def _check_pooling(name: str, pooling: Pooling, shape: torch.Size, prefix_tokens: int) -> None:
    """Refuses a pooling of what the model does not have.

    Raises:
        ValueError: With the poolings that it allows.
    """
    if pooling == "own":
        assert len(shape) == 2, f"timm's {name!r} returned {tuple(shape)} in place of one vector an image"
    elif len(shape) == 2:
        raise ValueError(f"timm's {name!r} returns one vector, so pooling {pooling!r} has no positions; use 'own'")
    elif pooling == "cls" and not prefix_tokens:
        raise ValueError(f"timm's {name!r} has no class token; use pooling 'own', 'average' or 'attention'")


def _tokens(output: Tensor, channels_last: bool) -> Float[Tensor, "batch tokens channels"]:
    """Positions of a feature map, or tokens as they are."""
    if output.ndim == 3:
        return output
    return output.flatten(1, 2) if channels_last else output.flatten(2).mT


def _num_heads(channels: int) -> int:
    """One head for about 64 channels, as in CLIP, that divides them."""
    return next(heads for heads in range(max(1, channels // 64), 0, -1) if channels % heads == 0)


def _pixels(data: dict[str, Any], size: int) -> Pixels:
    """What the model's weights expect of images."""
    resize: Literal["shortest", "squash"] = "squash" if data["crop_mode"] == "squash" else "shortest"
    return Pixels(size, tuple(data["mean"]), tuple(data["std"]), data["interpolation"], resize)


def _block_names(model: Any) -> Iterator[str]:
    """The largest modules whose parameters all are in one of timm's layers, without the stem and the head.

    A model that timm does not divide has its stages, if they are called one after another, and else none.
    """
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        stages = getattr(model, "stages", None)
        # A list of modules would not say that each is called, and once.
        yield from (f"stages.{name}" for name, _ in stages.named_children()) if type(stages) is nn.Sequential else ()
        return
    layer = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layer.values())
    queue = [name for name, _ in model.named_children()]
    while queue:
        name = queue.pop(0)
        module = model.get_submodule(name)
        layers = {layer[f"{name}.{own}"] for own, _ in module.named_parameters()}
        if len(layers) > 1:
            queue[:0] = [f"{name}.{child}" for child, _ in module.named_children()]
        elif layers and min(layers) > 0 and not _is_head(name, module, is_last=layers == {last}):
            yield name


def _is_head(name: str, module: nn.Module, is_last: bool) -> bool:
    """Whether a module stands behind the layers: timm counts a final norm or convolution to the last layer."""
    is_numbered = name[-1].isdigit() and any(True for child in module.children() for _ in child.parameters())
    return "." not in name and is_last and not is_numbered
