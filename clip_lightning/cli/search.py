"""Finds images among those that were embedded, by a text or by an image."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.cli.errors import UserError
from clip_lightning.cli.trained import VerbParser, add_model_options, check_file, cut_line, open_model, quick_gelu_of
from clip_lightning.data import Damaged
from clip_lightning.data.folder_files import is_image
from clip_lightning.data.manifest import read_image
from clip_lightning.inference.feature_folder import FeatureFolder, weights_hash
from clip_lightning.inference.search import FeatureIndex, Hit
from clip_lightning.inference.thumbnails import open_image, thumbnail
from clip_lightning.interchange import Pretrained
from clip_lightning.objectives.scoring import evaluating
from clip_lightning.text import text_lengths

_WHAT = """Prints the images that are most like a text or an image, with their cosine similarity. The model is the one
that made the features; the index is kept beside them, and built anew when they change.

  python -m clip_lightning search --index features --query "a red apple" --sheet hits.png
  python -m clip_lightning search --index features --query photos/apple.jpg
"""


class Query(NamedTuple):
    """What is looked for.

    Args:
        text: The text, or the path of the image.
        image: The image's bytes, if it is one.
    """

    text: str
    image: bytes | None


def main(arguments: Sequence[str]) -> int:
    """Searches.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If an option is not accepted, or the checkpoint of the features is missing or has changed.
    """
    options = _parser().parse(arguments)
    check_file("--sheet", options.sheet, (".png",))
    if options.top < 1:
        raise UserError(f"--top {options.top} must be 1 at least")
    query = read_query(options.query)
    folder = FeatureFolder.open(Path(options.index))
    index = FeatureIndex(folder)
    if index.was_built:
        kind = "exact" if index.is_exact else "approximate, HNSW"
        print(f"built an index of {folder.path} ({kind})", file=sys.stderr)
    hits = index.nearest(_embed(_model_of(folder, options), query), options.top)
    print("\n".join(table(hits)))
    if options.sheet is not None:
        _draw(options.sheet, query, hits, folder)
        print(options.sheet)
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("search", _WHAT)
    parser.add_argument("--index", required=True, help="folder that embed has written")
    parser.add_argument("--query", required=True, help="a text, or the path of an image")
    parser.add_argument("--top", type=int, default=10, help="how many images (%(default)s)")
    parser.add_argument("--sheet", type=Path, help="picture to write, .png: the images that were found")
    add_model_options(parser, "where the model is that made the features, if it was moved", is_required=False)
    return parser


def read_query(given: str) -> Query:
    """A text, or the image at a path.

    Raises:
        UserError: If it is blank, or looks like the path of an image but is none.
    """
    if not given.strip():
        raise UserError(f"--query {given!r} is blank; give a text or the path of an image")
    try:
        is_there = Path(given).is_file()
    except OSError:  # a text that is too long for a path
        is_there = False
    if not is_there:
        if is_image(given):
            raise UserError(f"--query {given!r}: there is no such image")
        return Query(given, None)
    try:
        content = read_image(Path(given))
        thumbnail(content, 1)
    except Damaged as error:
        raise UserError(f"--query {given!r} cannot be read: {error}") from None
    return Query(given, content)


def _model_of(folder: FeatureFolder, options: argparse.Namespace) -> Pretrained:
    """The model that made the features.

    Raises:
        UserError: If it is not where it was, or is another by now.
    """
    made_by = folder.description.checkpoint
    if options.checkpoint is None:
        if Path(made_by).is_absolute() and not Path(made_by).exists():
            raise UserError(
                f"{folder.path} was made by {made_by}, which is no longer there; say where it is now by --checkpoint"
            )
        options.checkpoint = made_by
    activation = folder.description.quick_gelu
    if options.quick_gelu is not None and quick_gelu_of(options) != activation:
        made = folder.description.activation
        raise UserError(f"{folder.path} was made {made}, and --quick_gelu {options.quick_gelu} is given; leave it out")
    options.quick_gelu = None if activation is None else str(activation).lower()
    pretrained = open_model(options)
    weights = weights_hash(pretrained.model)
    if weights != folder.description.weights:
        raise UserError(
            f"{options.checkpoint} has other weights ({weights[:12]}) than the model that made {folder.path} "
            f"({folder.description.weights[:12]}); give that one by --checkpoint, and --weights as to embed, or embed "
            "the images again"
        )
    return pretrained


def _embed(pretrained: Pretrained, query: Query) -> Float[NDArray, "channels"]:
    """Features of the query, of any length.

    Raises:
        UserError: If the model takes no texts.
    """
    model = pretrained.model
    device = model.logit_scale.device
    with evaluating(model):
        if query.image is not None:
            features = model.encode_image(model.normalize(pretrained.transform(query.image)[None].to(device)))
        elif model.text_encoder is None:
            raise UserError("the model has no text tower; search by the path of an image")
        else:
            if pretrained.tokenizer.cuts(query.text):
                print(cut_line("query", 1, pretrained.tokenizer), file=sys.stderr)
            text = pretrained.tokenizer([query.text]).to(device)
            features = model.encode_text(text, text_lengths(text, pretrained.tokenizer.eos_id))
    values: NDArray = features[0].to(torch.float32).cpu().numpy()
    return values


def table(hits: Sequence[Hit]) -> list[str]:
    """A line for each image, under a headline: rank, similarity, path, and the key of one in a shard."""
    rank = len(str(len(hits)))
    lines = [f"{'':{rank}}  similarity  image"]
    return lines + [
        f"{number:{rank}}  {hit.similarity:10.4f}  {_place(hit)}" for number, hit in enumerate(hits, start=1)
    ]


def _place(hit: Hit) -> str:
    return f"{hit.path}:{hit.key}" if hit.path.lower().endswith(".tar") else hit.path


def _draw(path: Path, query: Query, hits: Sequence[Hit], folder: FeatureFolder) -> None:
    """Draws the images that were found, behind the query if it is one."""
    # matplotlib takes a second to import: only a sheet that is asked for pays for it.
    from clip_lightning.reports.figures import save
    from clip_lightning.reports.photos import Line, Photo, photo_sheet

    photos = []
    if query.image is not None:
        photos.append(Photo(thumbnail(query.image), query.text, [Line("the query")], is_marked=True))
    for number, hit in enumerate(hits, start=1):
        try:
            image: Any = thumbnail(open_image(Path(hit.path), hit.key))
        except Damaged as error:
            image = str(error)
        photos.append(Photo(image, hit.key, [Line(f"{number}", f"similarity {hit.similarity:.3f}")]))
    wanted = f"“{query.text}”" if query.image is None else "an image"
    many = f"{folder.description.count:,}"
    facts = [("among", f"{many} images in {folder.path}"), ("model", folder.description.checkpoint)]
    save(photo_sheet(photos, f"The {len(hits)} images nearest to {wanted}", facts), path)
