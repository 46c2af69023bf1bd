"""Zero-shot scores of a contrastive model: classes are compared with images in the shared space."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clip_lightning.models import CLIP
from clip_lightning.text import Tokenizer, text_lengths


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Turns dropout and gradients off, and puts each module back into the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def class_embeds(
    model: CLIP, tokenizer: Tokenizer, prompts: list[list[str]], batch_size: int = 256
) -> Float[Tensor, "classes embed_dim"]:
    """Embeds each class as the mean of its prompts' embeds, normalised before and after.

    A prompt that several classes share is encoded once, and one that a class repeats counts once.

    Args:
        model: Its text tower is used, in evaluation mode, without gradients.
        tokenizer: The one that the model was trained with.
        prompts: At least one prompt a class.
        batch_size: Prompts encoded at once.

    Returns:
        Rows of unit length in float32, on the model's device.

    Raises:
        ValueError: If a class has no prompt.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4.
    """
    empty = [label for label, own in enumerate(prompts) if not own]
    if empty or not prompts:
        raise ValueError(f"classes without a prompt: {empty or 'all'}; give each class at least one")
    row = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompt for own in prompts for prompt in own))}
    embeds = text_embeds(model, tokenizer, list(row), batch_size)
    means = [embeds[[row[prompt] for prompt in dict.fromkeys(own)]].mean(dim=0) for own in prompts]
    return F.normalize(torch.stack(means), dim=-1)


def text_embeds(
    model: CLIP, tokenizer: Tokenizer, texts: list[str], batch_size: int = 256
) -> Float[Tensor, "texts embed_dim"]:
    """Text features of unit length; texts of like length go together, so that little padding is computed.

    Args:
        model: Its text tower is used, in evaluation mode, without gradients.
        tokenizer: The one that the model was trained with.
        texts: At least one.
        batch_size: Texts encoded at once.

    Returns:
        Rows in float32, on the model's device.

    Raises:
        ValueError: If the model has no text tower.
    """
    device = model.logit_scale.device
    text = tokenizer(texts)
    length = text_lengths(text, tokenizer.eos_id)
    order = length.argsort(stable=True)
    parts = []
    with evaluating(model):
        for rows in torch.split(order, batch_size):
            part = text[rows, : int(length[rows].max())].to(device)
            parts.append(F.normalize(model.encode_text(part, length[rows].to(device)).float(), dim=-1))
    return torch.cat(parts)[order.argsort().to(device)]


class ContrastiveScorer:
    """Scores classes by the scaled cosine similarity of an image's and a class's embed.

    Args:
        model: A trained model; it is used in evaluation mode and left in the mode it was in.
        tokenizer: The one that it was trained with.
    """

    kind: Literal["pooled", "features"] = "features"

    def __init__(self, model: CLIP, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def classes(
        self, prompts: list[list[str]]
    ) -> Callable[[Float[Tensor, "batch embed_dim"]], Float[Tensor, "batch classes"]]:
        """Embeds the classes once, and returns the function from image features to scaled similarities."""
        scaled = self.model.logit_scale.detach().float().exp() * class_embeds(self.model, self.tokenizer, prompts)

        def scores(rows: Float[Tensor, "batch embed_dim"]) -> Float[Tensor, "batch classes"]:
            # Half precision would tie classes that are nearly alike.
            with torch.autocast(scaled.device.type, enabled=False):
                product: Tensor = F.normalize(rows.to(scaled), dim=-1) @ scaled.T
            return product

        return scores

    def text_embeds(self, texts: Sequence[str]) -> Float[Tensor, "texts embed_dim"]:
        """Text features of unit length, in float32; a text that is given twice is encoded once.

        Raises:
            ValueError: If the model has no text tower.
        """
        row = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        return text_embeds(self.model, self.tokenizer, list(row))[[row[text] for text in texts]]
