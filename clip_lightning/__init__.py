"""Train and study CLIP (Radford et al. 2021, arXiv 2103.00020) with Lightning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_lightning.interchange import Pretrained, load

__version__ = "0.1.0"
__all__ = ["Pretrained", "load"]


def __getattr__(name: str) -> Any:
    # On demand, so that `import clip_lightning`, which every part does, costs nothing.
    if name in __all__:
        from clip_lightning import interchange

        return getattr(interchange, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
