"""Weights that a training starts from: of a run of one's own, or from elsewhere."""

from torch import nn

from clip_lightning.checkpoint import build_described, check_weights
from clip_lightning.interchange.configuration import check_layers
from clip_lightning.interchange.foreign import Foreign
from clip_lightning.interchange.parts import merged_tensors
from clip_lightning.interchange.settings import (
    check_settings,
    settings_of_description,
    settings_of_foreign,
    taken_as_configured,
)
from clip_lightning.interchange.sources import read_source
from clip_lightning.models import CLIP
from clip_lightning.models.positions import fit_positions


def start_from(task: nn.Module, model: CLIP, path: str) -> list[str]:
    """Loads weights into a task, as it is configured: positions are interpolated to its sizes.

    A checkpoint of a run gives all weights of the task, its adapters merged; weights from elsewhere those of its model,
    and what the objective has of its own starts anew.

    Args:
        task: What is to be trained.
        model: Its model, which the task holds as ``model``.
        path: What ``clip_lightning.load`` reads but ``timm:`` names, which ``TimmImageEncoder`` starts from by itself.

    Returns:
        What the user is to know of it.

    Raises:
        ValueError: If there are no such weights, they are of another model, or were trained with other activations or
            heads than it has.
    """
    source = read_source(path)
    if isinstance(source, Foreign):
        return _start_from_elsewhere(source, model)
    # The classes of the model that is here already are trusted.
    modules = {type(part).__module__ for part in (model.image_encoder, model.text_encoder)}
    merged = merged_tensors(source, path, modules)
    tensors, said = fit_positions(merged, task.state_dict(), prefix="model.")
    check_weights(task.state_dict(), tensors, path)
    found = build_described(source, path, settings_of_description)
    said += check_settings(found, model, path)
    task.load_state_dict(tensors)
    return said


def _start_from_elsewhere(foreign: Foreign, model: CLIP) -> list[str]:
    """Loads foreign weights into a model, once they are known to be of such a one.

    Raises:
        ValueError: If they are not.
    """
    check_layers(foreign.tensors, foreign.path)
    tensors, said = fit_positions(foreign.tensors, model.state_dict())
    check_weights(model.state_dict(), tensors, foreign.path)
    said += check_settings(settings_of_foreign(foreign, model), model, foreign.path)
    if foreign.quick_gelu is None:
        said += taken_as_configured(model)
    model.load_state_dict(tensors)
    return said
