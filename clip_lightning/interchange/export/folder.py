"""An exported model is a folder that is there whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from clip_lightning.files import part_of
from clip_lightning.interchange.export.graphs import write_onnx, write_torch_export
from clip_lightning.interchange.export.hugging_face import write_transformers
from clip_lightning.interchange.export.model_card import RunFacts, model_card
from clip_lightning.interchange.export.open_clip import write_open_clip
from clip_lightning.interchange.export.own import write_safetensors
from clip_lightning.interchange.parts import Parts

TARGETS: dict[str, Callable[[Parts, Path], None]] = {
    "open_clip": write_open_clip,
    "transformers": write_transformers,
    "safetensors": write_safetensors,
    "onnx": write_onnx,
    "torch_export": write_torch_export,
}
"""What writes the folder of each library."""


def export(parts: Parts, target: str, folder: Path, facts: RunFacts) -> None:
    """Writes a model for another library, with its tokeniser, its preprocessing and a model card.

    Args:
        parts: The model, on the CPU.
        target: A key of ``TARGETS``.
        folder: What to make; it may exist if it is empty.
        facts: What is known of the run, for the model card.

    Raises:
        ValueError: If the folder has content, or the library has no place for the model.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"output {str(folder)!r} exists already, and is no empty folder; name another, or remove it")
    part = part_of(folder)
    if part.exists():  # of an export that was killed
        shutil.rmtree(part)
    try:
        part.mkdir(parents=True)
        TARGETS[target](parts, part)
        (part / "README.md").write_text(model_card(parts, target, facts), encoding="utf-8")
        for file in part.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
