"""Weights that a training starts from: of a run of one's own, or from elsewhere."""

from torch import nn

from clip_lightning.checkpoint import load_weights
from clip_lightning.interchange.foreign import Foreign, start_tensors
from clip_lightning.interchange.sources import read_source
from clip_lightning.models import CLIP
from clip_lightning.models.positions import fit_positions


def start_from(task: nn.Module, model: CLIP, path: str) -> list[str]:
    """Loads weights into a task, as it is configured: positions are interpolated to its sizes.

    A checkpoint of a run gives all weights of the task; weights from elsewhere those of its model, and what the
    objective has of its own starts anew.

    Args:
        task: What is to be trained.
        model: Its model, which the task holds as ``model``.
        path: What ``clip_lightning.load`` reads but ``timm:`` names, which ``TimmImageEncoder`` starts from by itself.

    Returns:
        What the user is to know of it.

    Raises:
        ValueError: If there are no such weights, or they are of another model.
    """
    source = read_source(path)
    if isinstance(source, Foreign):
        tensors, said = start_tensors(source, model)
        model.load_state_dict(tensors)
        return said
    tensors, said = fit_positions(source["state_dict"], task.state_dict(), prefix="model.")
    load_weights(task, {**source, "state_dict": tensors}, path)
    return said
