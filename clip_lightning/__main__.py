"""Picks the verb with the standard library alone, so that help needs no torch."""

import difflib
import importlib
import os
import select
import sys
from collections.abc import Sequence

VERBS = {
    "fit": ("fit.main", "train a model, evaluate it each epoch, track the run"),
    "validate": ("stored_run.validate", "give the figures of a run's checkpoint on its validation sets again"),
    "test": ("stored_run.test", "give the figures of a run's checkpoint on its test sets"),
    "evaluate": ("evaluate.main", "measure trained models on labelled data, and compare them"),
    "ablate": ("ablate.main", "compare variants over seeds: run what a study's file asks for"),
    "report": ("report.main", "write a study's answer, with intervals"),
    "reproduce": ("reproduce.main", "do a run again, and say what is equal and what is not"),
    "data": ("data.main", "show what a model will really see of its data"),
    "classify": ("classify.main", "say which of some classes images show, by the classes' names alone"),
    "embed": ("embed.main", "write the features of many images"),
    "predict": ("predict.main", "write the features of many images by Lightning's trainer"),
    "search": ("search.main", "find images by a text or an image among those that were embedded"),
    "summary": ("summary.main", "tell what a configured model costs: parameters, operations, memory"),
    "tune": ("tune.main", "find the micro-batch that fits into memory, and how many workers feed it"),
    "interpolate": ("interpolate.main", "move a fine-tuned model back towards the one that it started from"),
    "export": ("export.main", "write a model for open_clip, transformers, ONNX Runtime or PyTorch"),
    "runs": ("runs.main", "list the runs that there are, show one, remove what is no longer needed"),
    "sync": ("sync.main", "deliver what a run has recorded and the tracking server has not"),
}
"""Of each verb the function in ``cli/`` that does it, and what it does."""

USAGE = """usage: python -m clip_lightning VERB [--config FILE ...] [--key value ...]

{verbs}

Each verb has its own --help. The options follow the verb; later ones win:
  python -m clip_lightning fit --config configs/quickstart.yaml
  python -m clip_lightning fit --config configs/quickstart.yaml --config configs/image_encoder/small_resnet.yaml
  python -m clip_lightning runs list
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: Command line after the program's name; that of the process by default.

    Returns:
        Exit code: 0, or 2 for a mistake in the input, or 141 where nobody reads on what is printed, as with ``head``.
    """
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # Python would write the rest once more when it ends, and tell of the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _run(arguments: Sequence[str] | None) -> int:
    """Help, or the verb's function, which is imported only then."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        print(USAGE.format(verbs="\n".join(f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items())))
        return 0
    if arguments[0] == "--version":
        from clip_lightning import __version__

        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"clip_lightning: {_wrong_verb(verb, rest)}", file=sys.stderr)
        return 2
    # As `python -m` does: a class_path may lead to the user's own file in the working directory.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    from clip_lightning.cli.errors import run_verb

    def do(given: Sequence[str]) -> int:
        module, _, function = VERBS[verb][0].partition(".")
        return int(getattr(importlib.import_module(f"clip_lightning.cli.{module}"), function)(given))

    return run_verb(verb, do, rest)


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that was closed at its other end; another one may be broken."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _wrong_verb(verb: str, rest: Sequence[str]) -> str:
    if verb.startswith("-"):
        given = next((argument for argument in rest if argument in VERBS), "fit")
        return f"{verb} stands before the verb; write: python -m clip_lightning {given} {verb} ..."
    near = difflib.get_close_matches(verb, VERBS, n=1)
    return f"{verb!r} is no verb; " + (f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(VERBS)}")


if __name__ == "__main__":
    sys.exit(main())
