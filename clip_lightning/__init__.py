"""Train and study CLIP (Radford et al. 2021, arXiv 2103.00020) with Lightning."""

__version__ = "0.1.0"
