"""Predicts captions word by word: the paper's language model."""

from torch import Tensor

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextEncoder
from clip_lightning.models.caption_decoder import CaptionDecoder
from clip_lightning.objectives.base import Scorer
from clip_lightning.objectives.caption_scoring import CaptionScorer
from clip_lightning.objectives.prediction import PredictionObjective
from clip_lightning.text import Tokenizer


class Captioning(PredictionObjective):
    """Each token of a caption is predicted from the image and the tokens before it, by a causal transformer.

    The loss is the cross-entropy of the true tokens w_1 to w_T of each caption, start and end among them, behind the
    true tokens before them (teacher forcing),

        L = - sum_i sum_t log p(w_it | image i, w_i1 ... w_i,t-1) / sum_i T_i,

    in nats a token, over the tokens of all processes. The paper's figure 2 has such a model as VirTex; here the image
    tower's pooled features are the image, as for every other objective, and not its feature map.

    Args:
        width: Channels of each token.
        depth: Number of transformer layers.
        num_heads: Attention heads; must divide ``width``.
        prefix_length: Tokens that the image features become.
        dropout: Probability, 0-1, of zeroing a channel of what a layer adds.
        prompts_per_class: How many of the prompts of a class are scored, at least 1. The transformer sees each with
            each image, so 80 templates would cost 80 times as much as one; a warning says what is left out.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``, or a size or probability is out of its range.

    Source: Desai and Johnson 2021 (arXiv 2006.06666), section 3, in one direction; Radford et al. 2021 (arXiv
        2103.00020), section 2.3 and figure 2.
    """

    decoder: CaptionDecoder

    def __init__(
        self,
        width: int = 512,
        depth: int = 6,
        num_heads: int = 8,
        prefix_length: int = 4,
        dropout: float = 0.0,
        prompts_per_class: int = 1,
    ) -> None:
        super().__init__()
        if prompts_per_class < 1:
            raise ValueError(f"prompts_per_class {prompts_per_class} must be 1 at least")
        self.sizes = {"width": width, "depth": depth, "num_heads": num_heads, "prefix_length": prefix_length}
        self.dropout = dropout
        self.prompts_per_class = prompts_per_class

    def make_head(self, feature_dim: int, text_encoder: TextEncoder) -> None:
        """The transformer that predicts."""
        sizes = feature_dim, text_encoder.vocab_size, text_encoder.context_length
        self.decoder = CaptionDecoder(*sizes, **self.sizes, dropout=self.dropout)

    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """The loss of each caption, and its number of tokens."""
        features = model.encode_image(model.normalize(batch.image))
        losses: Tensor = -self.decoder(features, batch.text, batch.length)
        return {"losses": losses, "weights": batch.length.to(losses.dtype)}

    def scorer(self, model: CLIP, tokenizer: Tokenizer) -> Scorer:
        """Scores classes by how probable their prompts are."""
        return CaptionScorer(self.decoder, tokenizer, self.prompts_per_class)
