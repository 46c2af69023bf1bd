"""Any text model of the transformers library as a tower."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clip_lightning.models.base import TextEncoder
from clip_lightning.models.layers import check_positive
from clip_lightning.offline import offline_if_unreachable
from clip_lightning.refusal import first_line

Pooling = Literal["mean", "max", "cls", "pooler", "last"]

_LEFT_OUT = frozenset(
    {"auto_map", "attn_implementation", "experts_implementation", "quantization_config", "use_kernels"}
    | {"architectures", "dtype", "torch_dtype", "id2label", "label2id", "transformers_version", "use_cache"}
)
"""Settings by which a model's description could have code fetched and run, and those that are none of a text tower."""


class HFTextEncoder(TextEncoder):
    """A text model of transformers, or the encoder of one that also has a decoder.

    Args:
        context_length: Longest text, in tokens.
        vocab_size: Number of token ids of the tokeniser; the model may have more.
        name: Folder of a model, or its name on the Hugging Face hub; not together with ``config``.
        config: Description of a model as plain data with its "model_type", as in its ``config.json``. A checkpoint
            holds this, and needs neither folder nor network.
        pretrained: Whether it starts from the weights of ``name`` and not from random ones.
        pooling: How tokens become one vector: by their mean or maximum, as the first token ("cls"), by the model's own
            layer on the first token ("pooler"), or as the token that ends the text ("last").

    Raises:
        ValueError: If a value is out of its range, if transformers is not installed, if not exactly one of ``name`` and
            ``config`` is given or there is no such text model, if the tokeniser has more ids or the context more tokens
            than the model, or if it has no pooling layer of its own.

    Source: the poolers of open_clip.
    """

    def __init__(
        self,
        context_length: int,
        vocab_size: int,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        pretrained: bool = False,
        pooling: Pooling = "mean",
    ) -> None:
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling {pooling!r} is none of {', '.join(map(repr, get_args(Pooling)))}")
        check_positive(context_length=context_length, vocab_size=vocab_size)
        settings = _settings(name, config, pretrained)
        model = _model(settings, name if pretrained else None, pooling)
        super().__init__(context_length=context_length, vocab_size=vocab_size, output_dim=_width(settings))
        self.model = model
        self.pooling = pooling
        self.pad_id: int | None = settings.pad_token_id
        self._init_args |= {"name": None, "config": _plain(settings.to_diff_dict()), "pretrained": False}
        self._init_args["config"]["model_type"] = settings.model_type
        _check_sizes(model, context_length, vocab_size)

    def forward(
        self, text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch output_dim"]:
        """Tokens after the last layer, pooled; what follows the end of a text is not seen.

        Raises:
            ValueError: If the text is longer than the context.
        """
        tokens = text.shape[1]
        if tokens > self.context_length:
            raise ValueError(f"text of {tokens} tokens, but context_length is {self.context_length}; cut it")
        mask = torch.arange(tokens, device=text.device) < length[:, None]
        output = self.model(input_ids=text, attention_mask=mask.long())
        if self.pooling == "pooler":
            pooled: Tensor = output.pooler_output
            return pooled
        return pool(output.last_hidden_state, mask, self.pooling)

    def lengths(self, text: Int[Tensor, "batch tokens"]) -> Int[Tensor, "batch"]:
        """Tokens of each text up to and with its end, which is the last that is no padding.

        Raises:
            ValueError: If the model names no padding.
        """
        if self.pad_id is None:
            raise ValueError("the text model names no padding, so its texts have no visible end; give their length")
        places = torch.arange(1, text.shape[1] + 1, device=text.device)
        return (places * (text != self.pad_id)).amax(dim=1)

    def blocks(self) -> Sequence[nn.Module]:
        """The layers: the longest list of modules that the model has."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        return max((tuple(modules) for modules in lists), key=len, default=())


def pool(
    tokens: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"], pooling: Pooling
) -> Float[Tensor, "batch width"]:
    """One vector for each text.

    Args:
        tokens: What the model returned.
        mask: Which tokens belong to the text; the first ones.
        pooling: "mean", "max", "cls" or "last".
    """
    inside = mask[..., None]
    if pooling == "mean":
        return (tokens * inside).sum(dim=1) / inside.sum(dim=1)
    if pooling == "max":
        return tokens.masked_fill(~inside, -torch.inf).amax(dim=1)
    if pooling == "cls":
        return tokens[:, 0]
    assert pooling == "last", pooling
    rows = torch.arange(len(tokens), device=tokens.device)
    return tokens[rows, mask.sum(dim=1) - 1]


def _settings(name: str | None, config: Mapping[str, Any] | None, pretrained: bool) -> Any:
    """The model's description.

    Raises:
        ValueError: If it is not to be had.
    """
    try:
        from transformers import AutoConfig
    except ModuleNotFoundError:
        raise ValueError("HFTextEncoder needs transformers: pip install 'clip-lightning[hf]'") from None
    if (name is None) == (config is None) or (pretrained and name is None):
        raise ValueError("give either name (a folder or a model of the hub, for its weights too) or config, its sizes")
    reason = ""
    try:
        if name is not None:
            with offline_if_unreachable(name) as reason:
                config = AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
        assert config is not None
        plain = _plain(config)
        return AutoConfig.for_model(plain.pop("model_type", None), **plain)
    except (OSError, ValueError, TypeError) as error:
        what = repr(name) if name is not None else "this config"
        raise ValueError(f"transformers has no text model {what}: {reason or first_line(error)}") from None


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A description without notes on files, and without what is left out."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if isinstance(key, str) and not key.startswith("_") and key not in _LEFT_OUT
    }


def _model(settings: Any, name: str | None, pooling: Pooling) -> nn.Module:
    """The text model, with random weights or those of a name.

    Raises:
        ValueError: If its weights are not to be had, it takes no texts, or it has no pooling layer though it
            is to be used.
    """
    import transformers

    auto: Any = transformers.AutoModel

    settings.use_cache = False  # keys and values of earlier tokens serve those who write texts
    try:
        if name is None:
            whole = auto.from_config(settings)
        else:
            with offline_if_unreachable(name):
                whole = auto.from_pretrained(name, config=settings)
    except (OSError, ValueError) as error:
        raise ValueError(f"transformers cannot build {name or settings.model_type!r}: {first_line(error)}") from None
    model: Any = whole.encoder if settings.is_encoder_decoder else whole
    if _token_ids(model) is None:
        raise ValueError(f"a {settings.model_type} model takes no texts; give a text model, such as bert or t5")
    if pooling == "pooler":
        if getattr(model, "pooler", None) is None:
            raise ValueError(f"a {settings.model_type} model has no pooling layer; use pooling 'cls' or 'mean'")
    elif hasattr(model, "pooler"):
        model.pooler = None  # its weights would never see a gradient
    trained: nn.Module = model.float().train()
    return trained


def _token_ids(model: Any) -> int | None:
    """Number of token ids that a model has embeddings for; None if it takes none."""
    try:
        return getattr(model.get_input_embeddings(), "num_embeddings", None)
    except (AttributeError, NotImplementedError):
        return None


def _width(settings: Any) -> int:
    """Channels of a token after the last layer."""
    text = settings.get_text_config()
    return int(getattr(text, "hidden_size", None) or text.d_model)


def _check_sizes(model: Any, context_length: int, vocab_size: int) -> None:
    """Refuses ids and places that the model has no embedding for.

    Raises:
        ValueError: With both numbers.
    """
    ids = _token_ids(model)
    assert ids is not None
    if vocab_size > ids:
        raise ValueError(f"vocab_size {vocab_size} is more than the {ids} ids of the text model; use its own tokenizer")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in ("position_embeddings", "wpe"):
            # Models that give the padding a place, as RoBERTa does, count from behind it.
            places = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if context_length > places:
                raise ValueError(f"context_length {context_length} is more than the text model's {places}; lower it")
