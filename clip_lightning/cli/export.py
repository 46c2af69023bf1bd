"""``export``: a trained model as a folder that another library loads."""

import sys
from collections.abc import Sequence
from pathlib import Path

from clip_lightning.averages import kind_of_metric
from clip_lightning.cli.trained import VerbParser, add_activation_option, add_checkpoint_options, quick_gelu_of
from clip_lightning.interchange.export import TARGETS, export
from clip_lightning.interchange.export.model_card import RunFacts
from clip_lightning.interchange.parts import read_parts
from clip_lightning.results import read_results
from clip_lightning.tracking.provenance import describe_git, read_starts
from clip_lightning.tracking.run_folder import RunFolder

_WHAT = """Writes a model as a folder that another library loads offline, with its tokeniser, its preprocessing and a
model card. The model may come from a run, or be anything that clip_lightning.load reads.

  python -m clip_lightning export --checkpoint runs/NAME/TIME/checkpoints/best.ckpt --to open_clip --output DIR
"""


def main(arguments: Sequence[str]) -> int:
    """Exports.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    options = _parser().parse(arguments)
    parts = read_parts(
        options.checkpoint,
        allow_modules=options.allow_module,
        image_size=options.image_size,
        context_length=options.context_length,
        quick_gelu=quick_gelu_of(options),
        weights=options.weights,
    )
    for said in parts.said:
        print(f"{options.checkpoint}: {said}", file=sys.stderr)
    export(parts, options.to, options.output, facts_of(Path(options.checkpoint), parts.card.get("weights", "raw")))
    for file in sorted(options.output.iterdir()):
        print(f"{file.name}  {file.stat().st_size:,} bytes")
    print(options.output)
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("export", _WHAT)
    add_checkpoint_options(parser, "a checkpoint, or a file, folder or name from elsewhere")
    parser.add_argument("--to", required=True, choices=TARGETS, help="for which library")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--image_size", type=int, help="another size, in pixels: position embeddings are interpolated")
    parser.add_argument("--context_length", type=int, help="another context, in tokens, likewise")
    add_activation_option(parser)
    return parser


def facts_of(checkpoint: Path, kind: str = "raw") -> RunFacts:
    """What the run folder around a checkpoint says of it; nothing where there is none.

    Args:
        checkpoint: A file, such as RUN/checkpoints/best.ckpt.
        kind: Which of its weights are exported.

    Raises:
        ValueError: If the folder's results or provenance are of another format.
    """
    folder = RunFolder(checkpoint.parent.parent)
    if checkpoint.parent != folder.checkpoints:
        return RunFacts()
    origin = []
    if folder.provenance.is_file():
        start = read_starts(folder.provenance)[-1]
        origin = [f"command: `{start['command']}`", f"started {start['date']}, {describe_git(start['git'])}"]
    if not folder.results.is_file():
        return RunFacts(origin=origin)
    best = folder.checkpoints / "best.ckpt"
    is_best = best.is_file() and best.samefile(checkpoint)
    note = "" if is_best else "The figures are of the run's best checkpoint, which may be another than this one."
    results = read_results(folder.results)
    if others := sorted({kind_of_metric(row.name) for row in results} - {kind}):
        note = f"The figures are of the run's {others[0]} weights, and these are its {kind} ones. {note}".rstrip()
    return RunFacts(results, note, origin)
