"""Published figures, and when one of ours may be set beside them. No torch."""

from clip_lightning.reference.comparison import Reference, compare
from clip_lightning.reference.published import Published, published, published_models

__all__ = ["Published", "Reference", "compare", "published", "published_models"]
