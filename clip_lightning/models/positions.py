"""Position embeddings for another image size or context than the one that they were trained with."""

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Size, Tensor, cat
from torch.nn import functional as F

_MOST_TOKENS = 16  # class and register tokens; the most that timm's models have is 9

_GRIDS = ("image_encoder.position_embedding", "image_encoder.attention_pool.position_embedding")
_TIMM = "image_encoder.model.pos_embed"
_CONTEXT = "text_encoder.position_embedding"


def resize_grid(embedding: Float[Tensor, "positions channels"], positions: int) -> Float[Tensor, "more channels"]:
    """Interpolates the positions of a square grid, bicubic with antialiasing; the first, of no patch, stays as it is.

    Args:
        embedding: One row for the class token or the pooled query, then the grid row by row.
        positions: Rows that are wanted: one more than a square number.

    Returns:
        That many rows, in the precision of the embedding.

    Raises:
        ValueError: If one of the numbers of rows is not a square number and one.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 2.5 (336 pixels); bicubic as open_clip does it.
    """
    old, new = (math.isqrt(max(rows - 1, 0)) for rows in (len(embedding), positions))
    for rows, side in ((len(embedding), old), (positions, new)):
        if side**2 + 1 != rows:
            raise ValueError(f"{rows} position embeddings are no square grid and one more; they cannot be resized")
    if old == new:
        return embedding
    grid = embedding[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    return cat([embedding[:1], grid[0].flatten(1).mT.to(embedding.dtype)])


def resize_context(embedding: Float[Tensor, "positions channels"], positions: int) -> Float[Tensor, "more channels"]:
    """Interpolates the positions of a text linearly.

    Args:
        embedding: One row for each token's place.
        positions: Rows that are wanted.

    Returns:
        That many rows, in the precision of the embedding.

    Source: linear as open_clip does it.
    """
    if len(embedding) == positions:
        return embedding
    line = F.interpolate(embedding.float().mT[None], positions, mode="linear", align_corners=False)
    return line[0].mT.to(embedding.dtype)


def resize_timm(embedding: Float[Tensor, "1 positions channels"], positions: int) -> Float[Tensor, "1 more channels"]:
    """Interpolates the positions of a square grid in a model of timm, as timm does it.

    Args:
        embedding: As many rows as the model has class and register tokens with a place, then the grid row by row.
        positions: Rows that are wanted.

    Returns:
        That many rows, in the precision of the embedding.

    Raises:
        ValueError: If the rows less those of tokens are no square numbers.
    """
    from timm.layers import resample_abs_pos_embed

    rows = embedding.shape[1], positions
    for tokens in range(_MOST_TOKENS + 1):
        sides = [math.isqrt(max(number - tokens, 0)) for number in rows]
        if all(side and side**2 + tokens == number for side, number in zip(sides, rows, strict=True)):
            resized: Tensor = resample_abs_pos_embed(embedding, [sides[1], sides[1]], num_prefix_tokens=tokens)
            return resized
    raise ValueError(f"{rows[0]} position embeddings of timm's model are no square grid; they cannot be resized")


def fit_positions(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str = ""
) -> tuple[dict[str, Tensor], list[str]]:
    """Resizes the position embeddings of the paper's towers to the numbers that a model has.

    Where any other tensor differs, it is another model, and nothing is resized.

    Args:
        given: Tensors of a ``CLIP`` by name.
        wanted: Those of the model that is to take them.
        prefix: What stands before the names in both.

    Returns:
        The tensors, and for each that was interpolated what to say of it.
    """
    resize = {prefix + name: resize_grid for name in _GRIDS}
    resize |= {prefix + _TIMM: resize_timm, prefix + _CONTEXT: resize_context}
    differing = {name for name in given.keys() | wanted.keys() if _shape(given, name) != _shape(wanted, name)}
    fitted, said = dict(given), []
    for name in sorted(differing if differing <= resize.keys() else ()):
        # Rows are the last dimension but one: timm has one of size 1 before it.
        if name in given and name in wanted and _without_rows(given[name]) == _without_rows(wanted[name]):
            old, new = given[name].shape[-2], wanted[name].shape[-2]
            fitted[name] = resize[name](given[name], new)
            kind = "text" if name.endswith(_CONTEXT) else "image"
            said.append(f"{old} {kind} position embeddings were interpolated to {new}")
    return fitted, said


def _without_rows(tensor: Tensor) -> tuple[int, ...]:
    return (*tensor.shape[:-2], tensor.shape[-1])


def _shape(tensors: Mapping[str, Tensor], name: str) -> Size | None:
    return tensors[name].shape if name in tensors else None
