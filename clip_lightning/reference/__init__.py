"""Published figures, and when one of ours may be set beside them. No torch."""

from clip_lightning.reference.comparison import Reference, compare
from clip_lightning.reference.published import Published, published

__all__ = ["Published", "Reference", "compare", "published"]
