"""Any model that can be loaded, as a teacher."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clip_lightning.batch import Batch
from clip_lightning.interchange.pretrained import Pretrained, load
from clip_lightning.models import Pixels
from clip_lightning.objectives import Teacher
from clip_lightning.text import Tokenizer


class PretrainedTeacher(Teacher):
    """A teacher from what ``clip_lightning.load`` reads; it is read when it is first asked.

    Args:
        path: A checkpoint of a run, or a file, folder or name from elsewhere, with both towers. A model with an encoder
            of one's own needs a ``Teacher`` of one's own, since a configuration may not say whom to trust.
        quick_gelu: Whether the activation is ``QuickGELU``: for files that do not say it.
    """

    def __init__(self, path: str, quick_gelu: bool | None = None) -> None:
        self.path = path
        self.quick_gelu = quick_gelu

    @functools.cached_property
    def _loaded(self) -> Pretrained:
        """The model and what belongs to it.

        Raises:
            ValueError: If there is none, or it has no text tower.
        """
        try:
            loaded = load(self.path, quick_gelu=self.quick_gelu)
        except ValueError as error:
            raise ValueError(
                f"teacher {self.path!r} cannot be loaded: {error}; give what is there by "
                "model.objective.init_args.teacher.init_args.path"
            ) from None
        if loaded.model.text_encoder is None:
            raise ValueError(f"teacher {self.path!r} has no text tower, so it cannot say which texts fit; give another")
        loaded.model.requires_grad_(False)
        return loaded

    @property
    def pixels(self) -> Pixels:
        """Size and normalisation of its images."""
        return self._loaded.model.pixels

    @property
    def tokenizer(self) -> Tokenizer:
        """The one that it was trained with."""
        return self._loaded.tokenizer

    @functools.cached_property
    def scale(self) -> float:
        """Its factor on cosine similarities."""
        return self._loaded.model.logit_scale.exp().item()

    @torch.no_grad()
    def embeds(self, batch: Batch) -> tuple[Float[Tensor, "batch embed_dim"], Float[Tensor, "batch embed_dim"]]:
        """Embeddings of images and texts, of unit length."""
        model = self._loaded.model.to(batch.image.device)
        image_features, text_features = model(model.normalize(batch.image), batch.text, batch.length)
        return F.normalize(image_features.float(), dim=1), F.normalize(text_features.float(), dim=1)

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which another process reads for itself."""
        return {name: value for name, value in vars(self).items() if name not in ("_loaded", "scale")}
