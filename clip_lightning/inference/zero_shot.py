"""The zero-shot classifier: class names and templates to one vector a class."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from clip_lightning.models import CLIP
from clip_lightning.objectives.scoring import class_embeds
from clip_lightning.text import Tokenizer, fill_templates


def cut_prompts(tokenizer: Tokenizer, class_names: Sequence[Sequence[str]], prompts: Sequence[Sequence[str]]) -> int:
    """How many prompts are longer than the context, so that the model does not see their end.

    Args:
        tokenizer: The model's.
        class_names: The names of each class.
        prompts: The prompts of each class.

    Returns:
        Number of prompts, those that several classes share counted once.

    Raises:
        ValueError: If two classes have the same tokens, so that they would always be equally probable.
    """
    texts = list(dict.fromkeys(prompt for own in prompts for prompt in own))
    rows = dict(zip(texts, map(tuple, tokenizer(texts).tolist()), strict=True))
    # Only a text that fills the context can be longer.
    cut = {text for text, row in rows.items() if row[-1] == tokenizer.eos_id and tokenizer.cuts(text)}
    first_of: dict[frozenset[tuple[int, ...]], int] = {}
    for label, own in enumerate(prompts):
        first = first_of.setdefault(frozenset(rows[prompt] for prompt in own), label)
        if first != label:
            remedy = "give other names"
            if not cut.isdisjoint(own):
                remedy = f"what is beyond {tokenizer.context_length} tokens is cut, so shorten the templates"
            raise ValueError(
                f"classes {class_names[first][0]!r} and {class_names[label][0]!r} have prompts of the same tokens, "
                f"which cannot be told apart: {remedy}"
            )
    return len(cut)


def zero_shot_classifier(
    model: CLIP, tokenizer: Tokenizer, class_names: Sequence[str | Sequence[str]], templates: Sequence[str]
) -> Float[Tensor, "classes embed_dim"]:
    """Embeds each class as the mean over its names and the templates, normalised before and after.

    Args:
        model: A trained model.
        tokenizer: The one that it was trained with.
        class_names: One name or several a class.
        templates: Sentences with a ``{}`` each.

    Returns:
        Rows of unit length; ``image_embeds @ rows.T`` are the cosine similarities.

    Raises:
        ValueError: If a template has no ``{}``, or a class no name.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4.

    Example:
        >>> classes = zero_shot_classifier(model, tokenizer, ["dog", ["cat", "kitten"]], ["a photo of a {}."])
        >>> (image_embeds @ classes.T).argmax(dim=-1)
    """
    return class_embeds(model, tokenizer, fill_templates(class_names, templates))
