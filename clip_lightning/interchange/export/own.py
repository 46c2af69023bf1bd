"""One safetensors file with everything that ``clip_lightning.load`` needs."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from clip_lightning.checkpoint import FORMAT, KEY
from clip_lightning.interchange.export.hugging_face import write_image_processor
from clip_lightning.interchange.export.tokenizer_files import write_tokenizer
from clip_lightning.interchange.parts import Parts
from clip_lightning.interchange.sources import OWN_WEIGHTS
from clip_lightning.spec import spec_of

TASK = "clip_lightning.task.CLIPTask"


def write_safetensors(parts: Parts, folder: Path) -> None:
    """Writes weights in this package's names, and how their parts are built; any model can be written so.

    Args:
        parts: The model.
        folder: Where the files go; it exists.
    """
    trained = nn.ModuleDict({"model": parts.model, "objective": parts.objective})
    arguments = spec_of(parts.model)["init_args"]
    arguments |= {"tokenizer": spec_of(parts.tokenizer), "objective": spec_of(parts.objective)}
    description = {
        "format": FORMAT,
        "task": {"class_path": TASK, "init_args": arguments},
        "config": spec_of(parts.card.get("config")),
        "samples_seen": parts.card.get("samples_seen"),
        "weights": parts.card.get("weights", "raw"),
    }
    # Tensors that share memory would be written once, and be missed when they are read.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in trained.state_dict().items()}
    save_file(tensors, folder / OWN_WEIGHTS, metadata={"format": "pt", KEY: json.dumps(description)})
    write_image_processor(parts.model.pixels, folder)
    write_tokenizer(parts.tokenizer, folder)
